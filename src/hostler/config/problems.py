"""What is wrong with a configuration: where, which key, what, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, NamedTuple

from hostler.errors import ConfigError

MAX_PROBLEMS = 1000
"""More than anyone reads; keeps a hostile file from filling memory with complaints."""

MAX_COMPARISONS = 50_000
"""Names compared for hints in one parse: about a second's worth, for files that are wrong everywhere."""


class Mark(NamedTuple):
    """A place in a source; lines and columns count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to say about a configuration."""

    severity: Literal["error", "warning"]
    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = (
            f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " * bool(self.file)
        )
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{path}{self.message}{hint}"

    def cleaned(self, clean: Callable[[str], str]) -> Problem:
        """The same problem with its texts changed by `clean`."""
        return replace(self, path=clean(self.path), message=clean(self.message), hint=clean(self.hint))

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


class ConfigProblems(ConfigError):
    """A configuration that cannot be used; `problems` has the errors and the warnings, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.errors)
        noun = "error" if count == 1 else "errors"
        lines = [f"{count} {noun} in the configuration:", *(f"  {problem}" for problem in self.errors)]
        super().__init__("\n".join(lines))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Only what keeps the configuration from being used."""
        return tuple(p for p in self.problems if p.severity == "error")


class Report:
    """Collects problems while a configuration is read. One per parse; not shared."""

    __slots__ = ("_comparisons", "dropped", "failed", "problems")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.dropped = 0
        self.failed = False
        self._comparisons = 0

    def error(self, mark: Mark, path: str, message: str, hint: str = "") -> None:
        """The configuration cannot be used because of this."""
        self.failed = True
        self._add(Problem("error", mark.file, mark.line, mark.column, path, message, hint))

    def warn(self, mark: Mark, path: str, message: str, hint: str = "") -> None:
        """Worth knowing; the configuration works."""
        self._add(Problem("warning", mark.file, mark.line, mark.column, path, message, hint))

    def has_error_at(self, mark: Mark) -> bool:
        """Whether something is known to be wrong at a place."""
        return any(p.severity == "error" and (p.file, p.line, p.column) == mark for p in self.problems)

    def did_you_mean(self, name: str, known: Collection[str]) -> str:
        """A hint that names the nearest known name, empty when nothing is near."""
        self._comparisons += len(known)
        found = nearest(name, known) if self._comparisons <= MAX_COMPARISONS else None
        return f"did you mean `{found}`?" if found is not None else ""

    def finish(self, files: Sequence[str], clean: Callable[[str], str]) -> list[Problem]:
        """Everything, in the order in which a reader meets it; `clean` takes secrets out of a text."""
        order = {name: index for index, name in enumerate(files)}
        found = sorted(
            (problem.cleaned(clean) for problem in self.problems),
            key=lambda p: (order.get(p.file, len(order)), p.line, p.column),
        )
        unique = list(dict.fromkeys(found))
        if self.dropped:
            unique.append(Problem("warning", "", 0, 0, "", f"{self.dropped} more problems are not shown"))
        return unique

    def _add(self, problem: Problem) -> None:
        # An error always finds room while there are warnings to give up, so the list is never without one.
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
            return
        self.dropped += 1
        if problem.severity == "error":
            spare = next((i for i, p in enumerate(self.problems) if p.severity == "warning"), None)
            if spare is not None:
                self.problems[spare] = problem


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant."""
    plain = {_plain(k): k for k in known}
    if (same := plain.get(_plain(name))) is not None:
        return same
    close = get_close_matches(_plain(name), plain, n=1, cutoff=0.75 if len(name) > 4 else 0.6)
    return plain[close[0]] if close else None


def did_you_mean(name: str, names: Collection[str]) -> str:
    """The end of a message when one of `names`, perhaps without its owner in front, was meant."""
    short = {known.rpartition("/")[2]: known for known in names}
    found = nearest(name, names) or short.get(name)
    return f"; did you mean {found!r}?" if found is not None else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower() or name
