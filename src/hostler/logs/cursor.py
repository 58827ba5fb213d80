"""Where a reader is in a stream, and what it gets from there. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostler.errors import ClientError

# An epoch is printable and holds no colon; 19 digits hold any position a process lives to write.
_CURSOR = re.compile(r"([!-9;-~]{1,64}):([0-9]{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one stream: which incarnation of the store, and how many bytes into the stream.

    Its text form is `epoch:position`; a client keeps it as it came and hands it back to go on from there.
    """

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.position}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """From the text form; ClientError when it is none."""
        match = _CURSOR.fullmatch(text.strip())
        if match is None:
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise ClientError(
                f"{shown!r} is not a log cursor. A cursor looks like 'a1b2c3d4:1234' (epoch:position); "
                "use one as the log stream gave it, or leave it out to start with the oldest bytes held.",
                param="cursor",
            )
        return cls(match[1], int(match[2]))


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read gives.

    `missed` bytes were lost directly before `data`; `cursor` is the place after `data`. `data` is empty only
    when `missed` is not 0: the loss is reported at once, not with the next byte that happens to come.
    """

    data: bytes
    missed: int
    cursor: Cursor
