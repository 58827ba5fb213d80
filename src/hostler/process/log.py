"""What a run needs of a log, whatever keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Log(Protocol):
    """Where the engine's output goes; its positions only grow."""

    @property
    def end(self) -> int:
        """The position of the next byte."""
        ...

    def write(self, data: bytes, /) -> None:
        """Take the bytes; never waits."""
        ...

    def take(self, data: bytes, stream: str, /) -> None:
        """The same, of `stdout` or `stderr`."""
        ...

    def event(self, kind: str, info: Mapping[str, Any], /) -> None:
        """Note a `start` or an `exit` among them."""
        ...

    def tail(self, lines: int, since: int = 0) -> list[str]:
        """The last lines, none from before `since`."""
        ...

    def begin_run(self, number: int) -> None:
        """What comes now belongs to this run."""
        ...

    def end_run(self, number: int) -> None:
        """The process of this run has ended and its output has been taken."""
        ...

    def mark(self) -> str:
        """A cursor to what comes next."""
        ...
