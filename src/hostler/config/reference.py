"""The reference of all keys as Markdown, from the table that the parser reads by."""

from __future__ import annotations

from collections.abc import Iterator

from hostler.config.keys import ROOT
from hostler.config.kinds import (
    Anything,
    Duration,
    Flag,
    Key,
    Kind,
    ListOf,
    Macros,
    MapOf,
    Nullable,
    OneOf,
    Section,
    Text,
    Whole,
)

HEAD = "| key | value | default | meaning |\n|---|---|---|---|\n"


def reference() -> str:
    """One row for each key, with its path; `<name>` in a path is a name of the user's choice."""
    return HEAD + "".join(_rows(ROOT, ""))


def paths() -> list[str]:
    """The path of every key that is not an older spelling."""
    return [row.split("`")[1] for row in _rows(ROOT, "")]


def _rows(section: Section, prefix: str) -> Iterator[str]:
    for key in section.keys:
        if key.hidden:
            continue
        path = f"{prefix}{key.name}"
        note = " *(ours)*" if key.ours else ""
        yield f"| `{path}` | {_words(key.kind)} | {_default(key)} | {_cell(key.doc)}{note} |\n"
        for inner, step in _inside(key.kind):
            yield from _rows(inner, f"{path}{step}.")


def _inside(kind: Kind) -> Iterator[tuple[Section, str]]:
    match kind:
        case Section():
            yield kind, ""
        case Nullable():
            yield from _inside(kind.kind)
        case MapOf():
            for section, step in _inside(kind.value):
                yield section, f".<{kind.name.strip('<>')}>{step}"
        case ListOf():
            for section, step in _inside(kind.item):
                yield section, f"[]{step}"
        case OneOf():
            for one in kind.kinds:
                yield from _inside(one)
        case _:
            return


def _words(kind: Kind) -> str:
    match kind:
        case Text():
            return "text"
        case Whole():
            return "whole number"
        case Flag():
            return "true or false"
        case Duration():
            return "duration"
        case ListOf():
            return f"list of {_words(kind.item)}"
        case MapOf():
            return f"{kind.name.strip('<>')} → {_words(kind.value)}"
        case Section() | Macros():
            return "mapping"
        case Nullable():
            return _words(kind.kind)
        case OneOf():
            return " or ".join(dict.fromkeys(_words(one) for one in kind.kinds))
        case Anything():
            return "anything"


def _default(key: Key) -> str:
    if key.shown:
        return _cell(key.shown)
    if key.required:
        return "required"
    if isinstance(key.default, bool):
        return "`true`" if key.default else "`false`"
    if isinstance(key.default, tuple) and key.default:
        return ", ".join(f"`{_cell(str(item))}`" for item in key.default)
    if key.default is None or key.default in ("", (), {}):
        return "–"
    return f"`{key.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
