"""What people see: tables, durations, and one line that is rewritten in place. Pure but for `StatusLine`."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

FRAMES = "|/-\\"  # plain ASCII: a log line may be shown in any locale
ERASE = "\r\x1b[K"

# Escape sequences, then what is left of control characters: an engine's output is not trusted on a terminal.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` without colours, cursor movements and control characters; tabs become spaces."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\t", " ")))


def only_colours(text: str) -> str:
    """`text` with its colours, which end with it, and without everything else that `plain` takes away."""
    parts = _COLOUR.split(text)
    shown = "".join(part if at % 2 else plain(part) for at, part in enumerate(parts))
    return f"{shown}\x1b[0m" if len(parts) > 1 else shown


def coloured(stream: TextIO) -> bool:
    """Whether colours may be written to `stream`: a terminal that knows them, and nobody who wants none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def size(count: int | None) -> str:
    """Short for a table: 0, 640 B, 12.3 MB, 1.4 GB; `-` when unknown."""
    if count is None:
        return "-"
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Short for a table: 0.4s, 12s, 3m05s, 2h10m, 4d03h; `-` when unknown."""
    if seconds is None or seconds < 0:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """Columns two spaces apart; those named in `right` are set flush right. Ends with a newline."""
    cells = [tuple(header), *(tuple(plain(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines) + "\n"


class StatusLine:
    """One line at the bottom of a terminal, rewritten with each `show` and gone after `clear`."""

    def __init__(self, stream: TextIO, *, columns: int | None = None) -> None:
        self._stream = stream
        self._columns = columns
        self._frame = 0

    def show(self, text: str) -> None:
        """Replace the line; what does not fit on it is cut, so it never wraps."""
        columns = self._columns or shutil.get_terminal_size().columns
        frame = FRAMES[self._frame % len(FRAMES)]
        self._frame += 1
        self._stream.write(f"{ERASE}{frame} {plain(text)}"[: len(ERASE) + max(columns - 1, 1)])
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        self._stream.write(ERASE)
        self._stream.flush()
