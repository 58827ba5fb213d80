"""The newest bytes of a stream in one contiguous buffer, addressed by positions that only grow.

A position counts every byte ever written; it is never reused, so one integer says all there is to say about
how far somebody has read. Pure: no event loop, no clock.

The inner form is the one that measured fastest in CPython: append to a `bytearray` and, when it has grown
past a bound, move the newest bytes to its front. (Slice assignment into a ring of fixed size measured
slowest: each write pays for index arithmetic that appending leaves to C.)
"""

from __future__ import annotations

Data = bytes | bytearray | memoryview
"""What can be written; a memoryview must be one of single bytes."""


class RingBuffer:
    """The last `capacity` bytes of what was written (`capacity` in bytes, at least 1).

    Memory grows with what is held and stays below twice the capacity. `start` is the position of the first
    write, for a stream that goes on where an earlier buffer of it ended.
    """

    __slots__ = ("_base", "_bound", "_capacity", "_held")

    def __init__(self, capacity: int, start: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"a ring needs a capacity of at least 1 byte, not {capacity}")
        if start < 0:
            raise ValueError(f"positions are never negative, not {start}")
        self._capacity = capacity
        # A bytearray allocates up to an eighth more than it holds: 1.75 × 1.125 is still below 2. And what
        # is left after a trim is more than half of that, so trimming gives no memory back that the next
        # writes would have to ask for again.
        self._bound = capacity * 7 // 4
        self._held = bytearray()
        self._base = start  # the position of _held[0]

    @property
    def capacity(self) -> int:
        """How many bytes are kept."""
        return self._capacity

    @property
    def start(self) -> int:
        """The position of the oldest byte that can be read."""
        surplus = len(self._held) - self._capacity
        return self._base + surplus if surplus > 0 else self._base

    @property
    def end(self) -> int:
        """The position after the newest byte."""
        return self._base + len(self._held)

    def write(self, data: Data) -> None:
        """Copy `data` in; the oldest bytes go where the capacity is exceeded."""
        held = self._held
        # Before, not after: even for a moment it must not hold more than the bound.
        if len(held) + len(data) > self._bound:
            data = self._make_room(data)
        held += data

    def _make_room(self, data: Data) -> Data:
        """Drop what falls out of the capacity once `data` is appended; returns what to append of it."""
        held = self._held
        keep = self._capacity - len(data)
        if keep <= 0:
            self._base += len(held) - keep
            held.clear()
            return memoryview(data)[-keep:] if keep else data
        surplus = len(held) - keep
        # Moving and cutting the tail keeps the allocation; cutting the head would make the next append copy
        # everything into a new one.
        with memoryview(held) as view:
            view[:keep] = view[surplus:]
        del held[keep:]
        self._base += surplus
        return data

    def history(self) -> bytes:
        """A fresh copy of all that is held, oldest byte first."""
        held = self._held
        surplus = len(held) - self._capacity
        if surplus <= 0:
            return bytes(held)
        with memoryview(held) as view:
            return bytes(view[surplus:])

    def read(self, position: int, limit: int = 65_536) -> tuple[bytes, int, int]:
        """At most `limit` bytes from `position` on, as `(data, next_position, missed)`.

        `missed` is how many bytes between `position` and the first byte of `data` are gone. ValueError when
        `position` is negative or past the end: nothing was ever written there.
        """
        held = self._held
        size = len(held)
        offset = position - self._base
        if offset > size or position < 0 or limit < 0:
            raise ValueError(f"cannot read {limit} bytes at {position}: the end is {self.end}")
        surplus = size - self._capacity
        first = surplus if surplus > 0 else 0
        missed = first - offset
        if missed > 0:
            offset = first
        else:
            missed = 0
        stop = offset + limit
        if stop > size:
            stop = size
        with memoryview(held) as view:
            data = bytes(view[offset:stop])
        return data, self._base + stop, missed

    def clear(self) -> None:
        """Drop what is held and give its memory back; positions go on where they are."""
        self._base += len(self._held)
        self._held = bytearray()

    def resize(self, capacity: int) -> None:
        """Keep so many bytes from now on; what does not fit goes, oldest first."""
        if capacity < 1:
            raise ValueError(f"a ring needs a capacity of at least 1 byte, not {capacity}")
        surplus = len(self._held) - capacity
        if surplus > 0:
            self._held = self._held[surplus:]
            self._base += surplus
        self._capacity = capacity
        self._bound = capacity * 7 // 4

    def __repr__(self) -> str:
        return f"<RingBuffer {self.start}..{self.end} of {self._capacity} B>"
