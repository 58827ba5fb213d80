"""Macros: `${name}` in values, from `macros:` of the file and of each model.

The order of declaration matters: expansion walks from the last macro to the first, once each, so a macro can
use those declared before it. A value that is exactly `${name}` takes the macro's value with its type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hostler.config.nodes import Map, Node, Scalar, Seq, is_null, join
from hostler.config.problems import Report
from hostler.config.scalars import Timestamp, go_text

REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_-]+)\}")
RESERVED = ("PID", "PORT", "MODEL_ID")
MAX_NAME = 63

_NAME = re.compile(r"[a-zA-Z0-9_-]+")

MAX_TEXT = 1024 * 1024
"""Characters of one expanded value. Operating systems take command lines of at most two megabytes."""
MAX_TOTAL = 64 * 1024 * 1024
"""Characters that all expansions of one configuration may produce."""

GAVE_UP = "…"
"""Stands for a value beyond a bound."""


class Macro(NamedTuple):
    """A declared macro; `order` grows with the declaration, MODEL_ID comes before all."""

    order: int
    value: Scalar


Scope = Mapping[str, Macro]


class TooLong(Exception):
    """Expansion would go beyond a bound."""


def declared(node: Node | None, path: str, owner: str, report: Report) -> dict[str, Scalar]:
    """The macros of one `macros:` block, in order; `owner` goes before what is said of reserved names."""
    if node is None or is_null(node):
        return {}
    if not isinstance(node, Map):
        report.error(node.mark, path, "macros must be a mapping", "write each as `name: value`")
        return {}
    macros: dict[str, Scalar] = {}
    for name, value in node.items.items():
        problem, hint = _problem(name, value, owner)
        if problem:
            report.error(node.keys[name], join(path, name), problem, hint)
        elif isinstance(value, Scalar):
            macros[name] = value
    return macros


def _problem(name: str, value: Node, owner: str) -> tuple[str, str]:
    if len(name) > MAX_NAME:
        return f"the macro name exceeds maximum length of {MAX_NAME} characters", ""
    if not _NAME.fullmatch(name):
        return f"macro name '{name}' contains invalid characters", "use letters, digits, `_` and `-`"
    if name in RESERVED:
        return f"{owner}macro name '{name}' is reserved", "Hostler sets it itself; choose another name"
    if not isinstance(value, Scalar) or value.value is None or isinstance(value.value, Timestamp):
        return (
            f"macro '{name}' must be a scalar type",
            "a text, a number or true/false; put quotes around a date",
        )
    if isinstance(value.value, str) and f"${{{name}}}" in value.value:
        return f"macro '{name}' contains self-reference", "a macro can use only macros declared before it"
    return "", ""


def scope(macros: Mapping[str, Scalar]) -> dict[str, Macro]:
    """Macros that may be used together, in their order."""
    return {name: Macro(order, value) for order, (name, value) in enumerate(macros.items(), start=1)}


def model_scope(shared: Scope, own: Mapping[str, Scalar], model_id: Scalar) -> dict[str, Macro]:
    """Those of a model: MODEL_ID, the file's, its own; its own replace the file's where those stand."""
    result = {"MODEL_ID": Macro(0, model_id), **shared}
    last = len(shared)
    for name, value in own.items():
        if name in shared:
            result[name] = Macro(shared[name].order, value)
        else:
            last += 1
            result[name] = Macro(last, value)
    return result


class Expander:
    """Expands trees and bounds how much comes out of it. One per parse."""

    __slots__ = ("_report", "_total")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._total = 0

    def node(self, node: Node, macros: Scope, path: str) -> Node:
        """The tree with macros of the scope replaced; the same object where nothing changes."""
        if isinstance(node, Scalar):
            return self.scalar(node, macros, path) if "${" in node.text else node
        if isinstance(node, Seq):
            items = [self.node(item, macros, f"{path}[{i}]") for i, item in enumerate(node.items)]
            return node if items == node.items else Seq(node.mark, items)
        new = {k: self.node(v, macros, f"{path}.{k}" if path else k) for k, v in node.items.items()}
        if new == node.items:  # nodes are equal only to themselves
            return node
        copy = node.copy()
        copy.items = new
        return copy

    def scalar(self, node: Scalar, macros: Scope, path: str) -> Scalar:
        """One value; what is beyond a bound is reported and left alone."""
        value = node.value
        if not isinstance(value, str):
            return node
        try:
            return self._expand(node, value, macros)
        except TooLong as error:
            self._report.error(node.mark, path, str(error))
            return Scalar(node.mark, GAVE_UP)

    def keys(self, node: Map, macros: Scope, path: str) -> Map:
        """A mapping with its keys expanded (one place only: `setParamsByID`)."""
        if not any("${" in key for key in node.items):
            return node
        result = Map(node.mark)
        for key, value in node.items.items():
            mark = node.keys[key]
            new = self.scalar(Scalar(mark, key), macros, path)
            text = go_text(new.value)
            if text in result.items:
                self._report.error(
                    mark,
                    join(path, key),
                    f'two keys resolve to the same value "{text}"',
                    "remove one of them",
                )
            else:
                result.put(text, mark, value)
        return result

    def _expand(self, node: Scalar, text: str, macros: Scope) -> Scalar:
        limit = 1 << 60
        changed = False
        while True:
            best: Macro | None = None
            name = ""
            for found in REFERENCE.findall(text):
                macro = macros.get(found)
                if macro is not None and macro.order < limit and (best is None or macro.order > best.order):
                    best, name = macro, found
            if best is None:
                return Scalar(node.mark, text) if changed else node
            reference = f"${{{name}}}"
            value = best.value.value
            if text == reference and not isinstance(value, str):
                return best.value.at(node.mark)
            text = self._replace(text, reference, best.value.inline)
            limit, changed = best.order, True

    def _replace(self, text: str, reference: str, value: str) -> str:
        length = len(text) + text.count(reference) * (len(value) - len(reference))
        if length > MAX_TEXT:
            raise TooLong(f"macros expand this to more than {MAX_TEXT} characters")
        self._total += length
        if self._total > MAX_TOTAL:
            raise TooLong(f"macros expand the configuration to more than {MAX_TOTAL} characters")
        return text.replace(reference, value)


def references(node: Node, path: str = "") -> Iterator[tuple[str, Scalar, str]]:
    """Every `${name}` that is still there: path, scalar, name. Keys are not looked at."""
    if isinstance(node, Scalar):
        if "${" in node.text and isinstance(node.value, str):
            for name in dict.fromkeys(REFERENCE.findall(node.value)):
                yield path, node, name
    elif isinstance(node, Seq):
        for index, item in enumerate(node.items):
            yield from references(item, f"{path}[{index}]")
    else:
        for key, item in node.items.items():
            yield from references(item, f"{path}.{key}" if path else key)


def unknown_hint(name: str, macros: Mapping[str, object], report: Report) -> str:
    """What to do about a reference that nothing stands behind."""
    if name in macros:
        return "it is declared later; a macro can use only macros declared before it"
    if name in {"MODEL_ID", "PORT"}:
        return f"${{{name}}} exists inside models only"
    if name == "PID":
        return "${PID} exists in cmdStop only"
    return report.did_you_mean(name, [*macros, *RESERVED]) or "declare it under `macros:`"
