"""Flags as data: a flag is its spellings, how its value is read, and what it sets.

Knows no engine. `read` turns a command line into settings without touching anything, so it can be done
before a heavy library is loaded; `apply` then writes the settings into the library's parameter object.
"""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Setter = Callable[[Any, Any, Any], None]
"""(parameter object, module that holds its enumerations, value)"""

Reader = Callable[[str], Any]
"""Text to value; raises ValueError with half a sentence that says what is wanted."""

HINT_CUTOFF: Final = 0.6  # how alike two flags must be for one to be proposed; below, the hints mislead


class FlagError(Exception):
    """The command line is wrong; the message is one or two lines for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: `reader` is None when it takes no value, and `implied` is then its value.

    With `bare` the value may be left out; a following word is taken only if it is one of `bare`.
    """

    names: tuple[str, ...]
    about: str
    setter: Setter | None
    reader: Reader | None = None
    metavar: str = ""
    implied: Any = None
    bare: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The spelling used to speak of it: the longest."""
        return max(self.names, key=len)


@dataclass(frozen=True, slots=True)
class Words:
    """Words of the command line and the members of an enumeration of the library they stand for."""

    enum: str
    members: Mapping[str, str]

    def member(self, native: Any, word: str) -> Any:
        """The member `word` stands for; AttributeError if this version of the library lacks it."""
        return getattr(getattr(native, self.enum), self.members[word])


@dataclass(frozen=True, slots=True)
class Group:
    """Flags shown together in the help."""

    title: str
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One flag as it was given."""

    flag: Flag
    value: Any


def spellings(groups: Iterable[Group]) -> dict[str, Flag]:
    """Every spelling and its flag; two flags of one spelling are a mistake in the table."""
    table: dict[str, Flag] = {}
    for group in groups:
        for flag in group.flags:
            for name in flag.names:
                if name in table:
                    raise ValueError(f"{name} is in the table twice")
                table[name] = flag
    return table


def read(argv: Sequence[str], groups: Iterable[Group]) -> list[Setting]:
    """The settings `argv` asks for, in its order; raises FlagError for the first that is wrong.

    Besides `--flag value` it takes `--flag=value`.
    """
    table = spellings(groups)
    settings: list[Setting] = []
    words = iter_words(argv, table)
    pending = next(words, None)
    while pending is not None:
        flag = table.get(pending)
        if flag is None:
            raise FlagError(_unknown(pending, table))
        name, pending = pending, next(words, None)
        if flag.reader is None:
            settings.append(Setting(flag, flag.implied))
            continue
        if flag.bare and pending not in flag.bare:
            settings.append(Setting(flag, flag.implied))
            continue
        if pending is None:
            raise FlagError(f"error: {name} needs a value ({flag.metavar})")
        try:
            settings.append(Setting(flag, flag.reader(pending)))
        except ValueError as wrong:
            raise FlagError(f"error: invalid value for {name}: '{pending}' ({wrong})") from None
        pending = next(words, None)
    return settings


def iter_words(argv: Sequence[str], table: Mapping[str, Flag]) -> Iterator[str]:
    """The words of a command line, `--flag=value` taken apart where `--flag` takes a value."""
    for word in argv:
        name, equals, value = word.partition("=")
        if equals and name.startswith("--") and name in table and table[name].reader is not None:
            yield name
            yield value
        else:
            yield word


def _unknown(word: str, table: Mapping[str, Flag]) -> str:
    message = f"error: invalid argument: {word}"
    name = word.partition("=")[0].replace("_", "-")
    if name in table:
        return f"{message}\ndid you mean {name}?"
    bare = {known.lstrip("-"): known for known in table if known.startswith("--")}
    near = difflib.get_close_matches(name.lstrip("-"), bare, 1, HINT_CUTOFF)
    if near:
        return f"{message}\ndid you mean {bare[near[0]]}?"
    return f"{message}\n--help lists what this engine takes"


def apply(settings: Iterable[Setting], params: Any, native: Any) -> None:
    """Write `settings` into `params`; raises FlagError for what the library refuses."""
    for setting in settings:
        if setting.flag.setter is None:
            continue
        try:
            setting.flag.setter(params, native, setting.value)
        except (ValueError, TypeError, OverflowError, AttributeError) as refused:
            shown = "" if setting.flag.reader is None else f" {setting.value!r}"
            raise FlagError(f"error: {setting.flag.name}{shown} was refused: {refused}") from None


def help_text(usage: str, groups: Iterable[Group], width: int = 100) -> str:
    """What `--help` prints."""
    indent = " " * 8
    lines = [usage]
    for group in groups:
        lines += ["", f"{group.title}:"]
        for flag in group.flags:
            value = f" {flag.metavar}" if flag.metavar else ""
            lines.append(f"  {', '.join(flag.names)}{value}")
            lines += textwrap.wrap(flag.about, width, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines) + "\n"


# ---- what values are -------------------------------------------------------------------------------------


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number is wanted") from None


def real(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number is wanted") from None


def file_text(text: str) -> str:
    """The text of the file named."""
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failed:
        reason = failed.strerror if isinstance(failed, OSError) else "it is not UTF-8 text"
        raise ValueError(f"cannot be read: {reason}") from None


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("a JSON object is wanted")
    return value


def comma_list(text: str) -> list[str]:
    """Words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def one_of(words: Iterable[str]) -> Reader:
    """One word of a few."""
    allowed = tuple(words)

    def reader(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return reader


# ---- what flags set --------------------------------------------------------------------------------------


def to(path: str) -> Setter:
    """Set the attribute at a dotted path."""

    def setter(params: Any, native: Any, value: Any) -> None:
        assign(params, path, value)

    return setter


def assign(params: Any, path: str, value: Any) -> None:
    """Set the attribute of `params` at a dotted path."""
    *parents, last = path.split(".")
    for parent in parents:
        params = getattr(params, parent)
    setattr(params, last, value)


def special(
    names: str,
    setter: Setter | None,
    about: str,
    reader: Reader | None = None,
    *,
    metavar: str = "",
    implied: Any = None,
    bare: tuple[str, ...] = (),
) -> Flag:
    """A flag with a setter of its own. Here and below, `names` are the spellings with blanks between."""
    return Flag(tuple(names.split()), about, setter, reader, metavar=metavar, implied=implied, bare=bare)


def switch(names: str, path: str, about: str, *, value: Any = True) -> Flag:
    """A flag without a value that sets `path` to `value`."""
    return special(names, to(path), about, implied=value)


def pair(names: str, path: str, about: str) -> tuple[Flag, Flag]:
    """A yes-or-no setting: `--x` and `--no-x`; for `-x` both `-nox` and `-no-x`, as llama-server has both."""
    opposites = []
    for name in names.split():
        word = name.lstrip("-")
        opposites += [f"--no-{word}"] if name.startswith("--") else [f"-no{word}", f"-no-{word}"]
    return (switch(names, path, about), switch(" ".join(opposites), path, "The opposite.", value=False))


def number(names: str, path: str, about: str, reader: Reader = whole) -> Flag:
    """A flag that sets `path` to a number."""
    return special(names, to(path), about, reader, metavar="X" if reader is real else "N")


def text(names: str, path: str, about: str, metavar: str = "TEXT", reader: Reader = str) -> Flag:
    """A flag that sets `path` to a text, or to what `reader` makes of it."""
    return special(names, to(path), about, reader, metavar=metavar)


def choice(names: str, path: str, about: str, words: Words) -> Flag:
    """A flag whose words stand for the members of one of the library's enumerations."""

    def setter(params: Any, native: Any, value: str) -> None:
        assign(params, path, words.member(native, value))

    return special(names, setter, about, one_of(words.members), metavar="|".join(words.members))
