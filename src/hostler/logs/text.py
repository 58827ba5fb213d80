"""Log bytes as text: the raw stream with its gaps marked, and the last lines of it for people. Pure.

The raw text is byte exact. Only where bytes were missed it holds one line of our own, at a line's start:

- `[hostler] gap: N bytes missed\\n` after a newline, or before anything else;
- `\\n[hostler] gap: N bytes missed (line cut)\\n` after an unfinished line; the first newline is ours.

After the marker the stream goes on with the next byte there is, most likely in the middle of a line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.logs.cursor import Chunk

_GAP = re.compile(
    rb"\n\[hostler\] gap: (\d+) bytes missed \(line cut\)\n|^\[hostler\] gap: (\d+) bytes missed\n",
    re.MULTILINE,
)


class TextStream:
    """Renders the chunks of one follower, in order, as raw text."""

    __slots__ = ("_line_open",)

    def __init__(self) -> None:
        self._line_open = False

    def render(self, chunk: Chunk) -> bytes:
        """The bytes of `chunk`, after a line that says how many were missed before them if any were."""
        data = chunk.data
        if chunk.missed:
            data = gap_line(chunk.missed, line_cut=self._line_open) + data
        if data:
            self._line_open = not data.endswith(b"\n")
        return data


def gap_line(missed: int, *, line_cut: bool) -> bytes:
    """The marker for `missed` bytes; `line_cut` when the byte delivered before it was not a newline."""
    if line_cut:
        return b"\n[hostler] gap: %d bytes missed (line cut)\n" % missed
    return b"[hostler] gap: %d bytes missed\n" % missed


def strip_gaps(text: bytes) -> tuple[bytes, int]:
    """The inverse of `TextStream`, for a client that accounts for each byte: `(bytes, missed in all)`.

    `text` is a whole stream from its first byte on. An engine that prints such a line itself cannot be told
    apart from us; who must be sure reads the stream in a framed format instead.
    """
    missed = sum(int(match[1] or match[2]) for match in _GAP.finditer(text))
    return _GAP.sub(b"", text), missed


def last_lines(data: bytes, count: int) -> list[str]:
    """The last `count` lines of `data` as people saw them, without line ends.

    A line that is not finished counts. Of a progress line that rewrites itself with carriage returns only
    the last state is given. What is not UTF-8 is replaced.
    """
    if count < 1 or not data:
        return []
    body = data[:-1] if data.endswith(b"\n") else data
    lines = body.rsplit(b"\n", count)[-count:]
    return [line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for line in lines]
