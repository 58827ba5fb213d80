"""Nodes → Python values by the description of keys, with a place and a path for everything that is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hostler.config.env import unseal
from hostler.config.keys import owners_of
from hostler.config.kinds import (
    Anything,
    Duration,
    Flag,
    Kind,
    ListOf,
    Macros,
    MapOf,
    Nullable,
    OneOf,
    Section,
    Text,
    Whole,
    parse_duration,
)
from hostler.config.macros import REFERENCE
from hostler.config.nodes import Map, Node, Scalar, Seq, describe, is_null
from hostler.config.problems import Mark, Report
from hostler.config.scalars import bool_word, resolve

_FAILED: Any = object()
"""Stands for a value that could not be read; the key keeps its default."""

_INT_MAX = 2**63 - 1

FREE = ("x-", "_", ".")
"""How top-level keys begin that are the user's own, for anchors; nothing is said about them."""


class Fields(dict[str, Any]):
    """The values of a section by the names of their keys, defaults included, and where each one stands."""

    __slots__ = ("failed", "node", "path")

    def __init__(self, values: Mapping[str, Any], node: Map | None, path: str, mark: Mark) -> None:
        super().__init__(values)
        self.node = node if node is not None else Map(mark)
        self.path = path
        self.failed: frozenset[str] = frozenset()
        """Keys whose value could not be read, which has been said; they have their defaults."""

    def given(self, key: str) -> bool:
        """Whether the file says something about the key."""
        return not is_null(self.node.items.get(key))

    def mark(self, key: str, item: int | str | None = None) -> Mark:
        """The place of a key's value, or of one item of it; the section's own place when it is absent."""
        node = self.node.items.get(key)
        if node is None:
            return self.node.mark
        if isinstance(item, int) and isinstance(node, Seq) and item < len(node.items):
            return node.items[item].mark
        if isinstance(item, str) and isinstance(node, Map) and item in node.keys:
            return node.keys[item]
        return node.mark

    def at(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key


class Decoder:
    """Reads values; problems go to the report. One per parse."""

    __slots__ = ("_report",)

    def __init__(self, report: Report) -> None:
        self._report = report

    def section(self, section: Section, node: Node | None, path: str, mark: Mark) -> Fields:
        """A mapping with fixed keys; unknown ones are warned about."""
        fields = Fields(section.defaults, node if isinstance(node, Map) else None, path, mark)
        for key in section.keys:
            if isinstance(key.kind, Section) and (not fields.given(key.name)):
                fields[key.name] = Fields(key.kind.defaults, None, fields.at(key.name), fields.node.mark)
                self._fill(key.kind, fields[key.name])
        if node is None or is_null(node):
            return fields
        if not isinstance(node, Map):
            self._wrong(node, path, "a mapping of keys to values")
            return fields
        prefix = f"{path}." if path else ""
        for name, item in node.items.items():
            known = section.by_name.get(name)
            if known is None:
                if not (name in node.shared or (path == "" and name.startswith(FREE))):
                    self._unknown(section, name, node.keys[name], path)
            elif not _absent(known.kind, item) or isinstance(known.kind, Nullable):
                value = self.value(known.kind, item, prefix + name)
                if value is not _FAILED:
                    fields[name] = value
                else:
                    fields.failed |= {name}
        return fields

    def _fill(self, section: Section, fields: Fields) -> None:
        for key in section.keys:
            if isinstance(key.kind, Section):
                inner = Fields(key.kind.defaults, None, fields.at(key.name), fields.node.mark)
                self._fill(key.kind, inner)
                fields[key.name] = inner

    def value(self, kind: Kind, node: Node, path: str) -> Any:
        """A value of some kind, or `_FAILED`."""
        match kind:
            case Text():
                return self._text(kind, node, path)
            case Whole():
                return self._whole(kind, node, path)
            case Flag():
                return self._flag(node, path)
            case Duration():
                return self._duration(kind, node, path)
            case Section():
                return self.section(kind, node, path, node.mark)
            case ListOf():
                return self._list(kind, node, path)
            case MapOf():
                return self._map(kind, node, path)
            case OneOf():
                return self._one_of(kind, node, path)
            case Nullable():
                return None if _absent(kind.kind, node) else self.value(kind.kind, node, path)
            case Anything():
                return untyped(node)
            case Macros():
                return {}

    def _text(self, kind: Text, node: Node, path: str) -> Any:
        if not isinstance(node, Scalar):
            return self._wrong(node, path, "text")
        text = unseal(node.text)
        if not kind.choices:
            return text
        word = text.strip().lower() if kind.folded else text
        if word in kind.choices:
            return word
        allowed = ", ".join(choice for choice in kind.choices if choice)
        hint = self._report.did_you_mean(word, kind.choices)
        if kind.strict:
            self._report.error(node.mark, path, f"must be one of: {allowed}", hint)
        else:
            self._report.warn(node.mark, path, f"is none of {allowed}; the default is used", hint)
        return _FAILED

    def _whole(self, kind: Whole, node: Node, path: str) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, float) and not math.isnan(value) and abs(value) <= _INT_MAX:
            if value != int(value):
                self._report.warn(node.mark, path, f"the fraction is dropped: {int(value)} is used")
            value = int(value)
        elif isinstance(value, float):
            self._report.error(node.mark, path, "the number is too large")
            return _FAILED
        if isinstance(value, bool) or not isinstance(value, int):
            hint = (
                "remove the quotes"
                if isinstance(value, str) and value.strip().isdigit() and len(value) < 20
                else ""
            )
            return self._wrong(node, path, "a whole number", hint)
        if not -_INT_MAX - 1 <= value <= _INT_MAX:
            self._report.error(node.mark, path, "the number is too large")
            return _FAILED
        if kind.enforced and kind.minimum is not None and value < kind.minimum:
            self._report.error(node.mark, path, kind.below or f"must be >= {kind.minimum}")
            return _FAILED
        if kind.maximum is not None and value > kind.maximum:
            self._report.error(node.mark, path, f"must be <= {kind.maximum}")
            return _FAILED
        if kind.floor is not None and value < kind.floor:
            self._report.warn(node.mark, path, f"{value} is raised to {kind.floor}, the smallest value")
            return kind.floor
        return value

    def _flag(self, node: Node, path: str) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, str):
            word = bool_word(value)
            value = value if word is None else word
        if isinstance(value, bool):
            return value
        quoted = isinstance(value, str) and value.strip().lower() in {"true", "false"}
        return self._wrong(node, path, "true or false", "remove the quotes" if quoted else "")

    def _duration(self, kind: Duration, node: Node, path: str) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if kind.number and isinstance(value, int | float) and not isinstance(value, bool):
            if 0 <= value < math.inf:
                return float(value)
            self._report.error(node.mark, path, "must be >= 0")
            return _FAILED
        seconds = parse_duration(value) if isinstance(value, str) else None
        if seconds is None or (kind.number and seconds < 0):
            hint = "a number needs a unit: 15s" if not kind.number else "seconds, or such as 90s"
            return self._wrong(node, path, "a duration such as 15s or 1h30m", hint)
        return seconds

    def _list(self, kind: ListOf, node: Node, path: str) -> Any:
        if not isinstance(node, Seq):
            hint = "write it as a list: [a, b]" if isinstance(node, Scalar) else "begin each item with `- `"
            return self._wrong(node, path, "a list", hint)
        items: list[Any] = []
        for index, item in enumerate(node.items):
            if is_null(item) and isinstance(kind.item, Text | OneOf) and not _is_choice(kind.item):
                items.append("")
                continue
            value = self.value(kind.item, item, f"{path}[{index}]")
            items.append("" if value is _FAILED else value)
        return tuple(items)

    def _map(self, kind: MapOf, node: Node, path: str) -> Any:
        if not isinstance(node, Map):
            return self._wrong(node, path, f"a mapping of {kind.name} to a value")
        result: dict[str, Any] = {}
        for key, item in node.items.items():
            name = unseal(key)
            if is_null(item) and not isinstance(kind.value, Section | Nullable | Anything):
                result[name] = _nothing_of(kind.value)
                continue
            value = self.value(kind.value, item, f"{path}.{name}")
            if value is not _FAILED:
                result[name] = value
        return result

    def _one_of(self, kind: OneOf, node: Node, path: str) -> Any:
        for one in kind.kinds:
            if _fits(one, node):
                return self.value(one, node, path)
        return self._wrong(node, path, " or ".join(_noun(one) for one in kind.kinds))

    def _wrong(self, node: Node, path: str, wanted: str, hint: str = "") -> Any:
        if isinstance(node, Scalar) and REFERENCE.search(node.text) and self._report.has_error_at(node.mark):
            return _FAILED  # a macro that nothing declares, which has been said
        self._report.error(node.mark, path, f"expected {wanted}, found {describe(node)}", hint)
        return _FAILED

    def _unknown(self, section: Section, name: str, mark: Mark, path: str) -> None:
        known = [key.name for key in section.keys if not key.hidden]
        hint = self._report.did_you_mean(name, known)
        if not hint:
            places = [owner for owner in owners_of(name) if owner != path]
            hint = f"`{name}` belongs in {places[0]}" if places else ""
        self._report.warn(mark, f"{path}.{name}" if path else name, "unknown key, ignored", hint)


def _absent(kind: Kind, node: Node) -> bool:
    """Whether nothing is said. A variable that holds `null` is a word for a text, nothing for all others."""
    if is_null(node):
        return True
    if isinstance(kind, Text | Anything | OneOf) or not isinstance(node, Scalar) or not node.substituted:
        return False
    return resolve(node.text.strip()) is None


def untyped(node: Node) -> Any:
    """The value of a tree nobody described: JSON's types; dates and what JSON cannot say stay text."""
    if isinstance(node, Scalar):
        value = node.value
        if isinstance(value, str):
            return unseal(str(value))
        if isinstance(value, float) and not math.isfinite(value):
            return unseal(node.text)
        return value
    if isinstance(node, Seq):
        return [untyped(item) for item in node.items]
    return {unseal(key): untyped(item) for key, item in node.items.items()}


def _is_choice(kind: Kind) -> bool:
    return isinstance(kind, Text) and bool(kind.choices)


def _nothing_of(kind: Kind) -> Any:
    """What an empty value of a mapping is, as in Go: the zero of its kind."""
    match kind:
        case Text():
            return ""
        case MapOf():
            return {}
        case Whole():
            return 0
        case _:
            return None


def _fits(kind: Kind, node: Node) -> bool:
    if isinstance(kind, ListOf):
        return isinstance(node, Seq)
    if isinstance(kind, Section | MapOf):
        return isinstance(node, Map)
    return isinstance(node, Scalar)


def _noun(kind: Kind) -> str:
    if isinstance(kind, ListOf):
        return "a list"
    return "a mapping" if isinstance(kind, Section | MapOf) else "text"
