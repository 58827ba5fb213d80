"""The kinds of values a key can have. The parser, the JSON schema and the reference are made from these."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_SECONDS = 9_223_372_036.0
"""What fits into Go's durations; 292 years."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text; any scalar is taken as it is spelled. `folded` choices ignore case and surrounding space."""

    choices: tuple[str, ...] = ()
    folded: bool = False
    strict: bool = True
    """Whether another word than `choices` is an error; otherwise it is the default, with a warning."""
    secret: bool = False
    pattern: str = ""
    """For the schema only; the parser's own message says more."""
    filled: bool = False
    """For the schema only: empty is wrong."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number. Below `minimum` it is an error with the text `below`; below `floor` it is raised.

    Where `enforced` is off, the minimum is for the schema, and the parser checks it where the key counts.
    """

    minimum: int | None = None
    maximum: int | None = None
    below: str = ""
    floor: int | None = None
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false; also the older words yes/no, on/off, y/n."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time as text with units (`1m30s`); a bare number of seconds where `number` says so."""

    number: bool = False


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    item: Kind
    minimum: int = 0


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping with names of the user's choice; `name` is how the reference writes such a name."""

    value: Kind
    name: str = "name"
    key_pattern: str = ""
    minimum: int = 0


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever YAML can say; kept as it is."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Alternatives that differ in shape: text, list or mapping."""

    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Macros:
    """A block of macros."""


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value, or nothing with a meaning of its own."""

    kind: Kind


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A mapping with fixed keys. `rules` are for the schema: what must be right between several keys."""

    keys: tuple[Key, ...]
    rules: tuple[dict[str, Any], ...] = ()
    by_name: dict[str, Key] = field(init=False, compare=False, hash=False, repr=False)
    defaults: dict[str, Any] = field(init=False, compare=False, hash=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {key.name: key for key in self.keys})
        object.__setattr__(self, "defaults", {key.name: key.default for key in self.keys})


Kind = Text | Whole | Flag | Duration | ListOf | MapOf | Anything | OneOf | Macros | Nullable | Section


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it takes, what it is when absent, what it does.

    `shown` is the default as the reference writes it where the value alone does not say it.
    """

    name: str
    kind: Kind
    doc: str
    default: Any = None
    shown: str = ""
    ours: bool = False
    required: bool = False
    hidden: bool = False
    """An older spelling: read, in the schema, but not advertised."""
    unchecked: bool = False
    """Only its shape is fixed; whether it is right depends on another key."""


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration such as `1h30m`; None when it is not one."""
    if text in {"0", "+0", "-0"}:
        return 0.0
    if len(text) > 200 or not _DURATION.fullmatch(text):
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > MAX_SECONDS:
        return None
    return -seconds if text.startswith("-") else seconds
