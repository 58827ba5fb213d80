"""The ends of something that passes by, in bounded memory. Pure."""

from __future__ import annotations

# Of the line in which the tail begins: what kind of thing it is stands at its start. Shorter than any tail.
LINE_START = 512


class Ends:
    """The first `head` and the last `tail` bytes of what is fed; all of it while that is at most `tail`.

    `trim` is due when `data` holds more than `cut` bytes. After `parts`, `line` is the start of the line in
    which the tail begins, at most LINE_START bytes.
    """

    __slots__ = ("_head", "_tail", "cut", "data", "first", "line")

    def __init__(self, head: int, tail: int) -> None:
        self._head = head
        self._tail = tail
        self.cut = tail + tail // 2  # trimmed in larger steps: a copy every few kilobytes
        self.data = bytearray()
        self.first = b""
        self.line = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        kept = self.data
        kept += data
        if len(kept) > self.cut:
            self.trim()

    def trim(self) -> None:
        """Let go of what is neither."""
        kept = self.data
        spare = len(kept) - self._tail
        began = kept.rfind(b"\n", 0, spare) + 1
        if began or not self.first:
            self.line = bytes(kept[began : began + min(LINE_START, self._tail)])
        if not self.first:
            self.first = bytes(kept[: self._head])
        # A new one: what `del` leaves would keep the memory of the largest chunk.
        self.data = kept[spare:]

    def parts(self) -> list[bytes]:
        """`[all]`, or `[head, tail]`; the same however the bytes were split."""
        if len(self.data) > self._tail:
            self.trim()
        return [self.first, bytes(self.data)] if self.first else [bytes(self.data)]
