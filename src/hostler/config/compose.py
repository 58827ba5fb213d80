"""YAML text → nodes. Never raises: whatever is wrong goes to the report.

Built on parser events, not on PyYAML's composer: that one recurses without a bound, resolves scalars by
YAML 1.1 and cannot tell where a key was given twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml import events as ev

from hostler.config.env import Environment, prepare, readable, seal, seal_sealer
from hostler.config.nodes import Map, Node, Scalar, Seq, height_of, join, size_of
from hostler.config.problems import Mark, Report
from hostler.config.scalars import resolve_tagged

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 100
"""Levels of nesting; real files have about ten. Everything after this may recurse."""
MAX_ALIASED = 400_000
"""Nodes that aliases may add; the point from which yaml.v3 begins to refuse, too."""
MAX_CHARS = 32 * 1024 * 1024
"""Ten thousand models with long commands are a tenth of this."""

LITERAL_TAG = "!literal"
"""Of our own: in front of a text in which `${...}` means nothing."""

_STR_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_MERGE_TAG = "tag:yaml.org,2002:merge"


class _Stop(Exception):
    """The document cannot be read further; the reason is in the report."""


def compose(name: str, text: str, env: Environment, report: Report) -> Node | None:
    """The first document of `text`; None when it is empty or broken (then the report has failed)."""
    if len(text) > MAX_CHARS:
        report.error(Mark(name), "", f"the file is larger than {MAX_CHARS // 1024 // 1024} MiB")
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        report.error(Mark(name, line, 1), "", "a character here is not valid Unicode")
        return None
    prepared = prepare(text.removeprefix("\ufeff"))
    try:
        return _Composer(name, prepared, env, report).document()
    except yaml.YAMLError as error:
        _syntax_error(name, prepared, error, report)
    except _Stop:
        pass
    return None


def _syntax_error(name: str, text: str, error: yaml.YAMLError, report: Report) -> None:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None)
    if what is None:  # a character that YAML does not allow at all
        position = getattr(error, "position", 0)
        before = text[: position if isinstance(position, int) else 0]
        at = Mark(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.error(at, "", "not valid YAML: a control character is not allowed here")
        return
    at = Mark(name, mark.line + 1, mark.column + 1) if mark is not None else Mark(name)
    context = getattr(error, "context", None)
    said = readable(f"{what} {context}" if context else str(what))
    report.error(at, "", f"not valid YAML: {said}", _syntax_hint(text, at, said))


def _syntax_hint(text: str, at: Mark, said: str) -> str:
    lines = text.split("\n")
    line = lines[at.line - 1] if 0 < at.line <= len(lines) else ""
    if line[: len(line) - len(line.lstrip())].count("\t"):
        return "indent with spaces, YAML does not allow tabs"
    if "${" in line and "expected ','" in said:
        return 'put quotes around macros inside [ ] and { }: "${name}"'
    if "mapping values" in said:
        return "put quotes around a value that contains `: `"
    if "unknown escape" in said:
        return "a backslash is special between double quotes; use single quotes"
    return ""


class _Composer:
    """Reads one document. `path` is where it is, for messages."""

    def __init__(self, name: str, text: str, env: Environment, report: Report) -> None:
        self.name = name
        self.env = env
        self.report = report
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=Loader))
        self.anchors: dict[str, Node | None] = {}  # None while the anchored node is still being read
        self.path: list[str] = []
        self.owners: dict[str, str] = {}  # the top-level key in which an anchor stands
        self.shared: set[str] = set()
        self.aliased = 0

    def document(self) -> Node | None:
        next(self.events)  # the start of the stream
        if isinstance(next(self.events), ev.StreamEndEvent):
            return None
        node = self.node(next(self.events), 1)
        if isinstance(node, Map):
            node.shared = self.shared
        next(self.events)  # the end of the document
        try:
            after = next(self.events)
        except yaml.YAMLError:
            after = ev.DocumentStartEvent()
        if isinstance(after, ev.DocumentStartEvent):
            where = self.mark(after) if after.start_mark else Mark(self.name)
            self.report.warn(
                where, "", "only the first document of a file is read", "remove what follows `---`"
            )
        return node

    def mark(self, event: Any) -> Mark:
        start = event.start_mark
        return Mark(self.name, start.line + 1, start.column + 1)

    def where(self) -> str:
        path = "".join(p if p.startswith("[") else f".{p}" for p in self.path[:10]).removeprefix(".")
        return path if len(self.path) <= 10 else f"{path}…"

    def stop(self, mark: Mark, message: str) -> _Stop:
        self.report.error(mark, self.where(), message)
        return _Stop()

    def node(self, event: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.stop(self.mark(event), f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, ev.AliasEvent):
            return self.alias(event, depth)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None
            self.owners[anchor] = self.path[0] if self.path else ""
        node: Node
        if isinstance(event, ev.ScalarEvent):
            node = self.scalar(event)
        elif isinstance(event, ev.SequenceStartEvent):
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def alias(self, event: Any, depth: int) -> Node:
        mark = self.mark(event)
        if event.anchor not in self.anchors:
            raise self.stop(mark, "this alias refers to an anchor that is not defined above it in this file")
        node = self.anchors[event.anchor]
        if node is None:
            raise self.stop(mark, "this alias refers to the very value it is part of")
        self.shared.add(self.owners[event.anchor])
        self.count_alias(size_of(node), mark)
        if depth + height_of(node) > MAX_DEPTH:
            raise self.stop(mark, f"aliases nest values more than {MAX_DEPTH} levels deep")
        return node

    def count_alias(self, size: int, mark: Mark) -> None:
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            raise self.stop(mark, f"aliases blow the file up to more than {MAX_ALIASED} values")

    def scalar(self, event: Any) -> Scalar:
        mark = self.mark(event)
        text, substituted = event.value, False
        if event.tag == LITERAL_TAG:
            return Scalar(mark, seal(readable(text)))
        text = seal_sealer(text)
        if "\ue000" in text:
            text, substituted = self.env.substitute(text, mark, self.where())
        if event.tag is None:
            return Scalar(mark, text, plain=event.implicit[0], substituted=substituted)
        if event.tag in _STR_TAGS:
            return Scalar(mark, text)
        try:
            value = resolve_tagged(event.tag, text, event.implicit[0])
        except ValueError as error:
            self.report.error(mark, self.where(), f"the value {error}")
            return Scalar(mark, text)
        spelling = value if isinstance(value, str) else text
        return Scalar.of(mark, spelling, value)

    def sequence(self, event: Any, depth: int) -> Seq:
        seq = Seq(self.mark(event), [])
        flow = bool(event.flow_style)
        while not isinstance(event := next(self.events), ev.SequenceEndEvent):
            self.path.append(f"[{len(seq.items)}]")
            item = self.node(event, depth + 1)
            self.path.pop()
            # `[${env.A}]` with an empty A is an empty list, as if the value had been typed there.
            if (
                flow
                and isinstance(item, Scalar)
                and item.substituted
                and item.plain
                and not item.text.strip()
            ):
                continue
            seq.items.append(item)
            seq.size += size_of(item)
            seq.height = max(seq.height, height_of(item) + 1)
        return seq

    def mapping(self, event: Any, depth: int) -> Map:
        result = Map(self.mark(event))
        merges: list[tuple[Mark, Node]] = []
        while not isinstance(event := next(self.events), ev.MappingEndEvent):
            key = self.key(event, depth)
            if key is None:
                self.node(next(self.events), depth + 1)
                continue
            is_merge = key.text == "<<" and self.is_merge(event)
            self.path.append(readable(key.text))
            value = self.node(next(self.events), depth + 1)
            if is_merge:
                if merges:
                    self.report.error(
                        key.mark, self.where(), "`<<` is given twice", "use a list: << : [*a, *b]"
                    )
                merges.append((key.mark, value))
            elif key.text in result.items:
                first = result.keys[key.text].line
                self.report.error(key.mark, self.where(), f"the key is given twice (first in line {first})")
            else:
                result.put(key.text, key.mark, value)
                result.size += 1 + size_of(value)
                result.height = max(result.height, height_of(value) + 1)
            self.path.pop()
        for mark, value in merges:
            self.merge(result, value, mark)
        return result

    def is_merge(self, event: Any) -> bool:
        if not isinstance(event, ev.ScalarEvent):
            return False
        return bool(event.tag is None and event.implicit[0]) or event.tag in {"!", _MERGE_TAG}

    def key(self, event: Any, depth: int) -> Scalar | None:
        node = self.node(event, depth + 1)
        if isinstance(node, Scalar):
            return node
        self.report.error(self.mark(event), self.where(), "a key must be a plain word, not a list or mapping")
        return None

    def merge(self, result: Map, value: Node, mark: Mark) -> None:
        """`<<`: keys of the given mappings where there are none yet; the first mapping that has one wins."""
        for source in value.items if isinstance(value, Seq) else [value]:
            if not isinstance(source, Map):
                self.report.error(
                    mark,
                    join(self.where(), "<<"),
                    "`<<` takes a mapping or a list of mappings",
                    "use an alias: *name",
                )
                continue
            self.count_alias(len(source.items), mark)
            for key, item in source.items.items():
                if key not in result.items:
                    result.put(key, source.keys[key], item)
                    result.merged.add(key)
                    result.size += 1 + size_of(item)
                    result.height = max(result.height, height_of(item) + 1)
