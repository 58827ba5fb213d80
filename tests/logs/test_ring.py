"""The ring against a model that keeps everything."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.logs.ring import RingBuffer

KINDS = (bytes, bytearray, memoryview)


@st.composite
def capacity_and_writes(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """Sizes around the interesting ones: nothing, the capacity, the bound, several times the capacity."""
    capacity = draw(st.integers(1, 64))
    return capacity, draw(st.lists(st.binary(max_size=capacity * 4), max_size=30))


@given(capacity_and_writes(), st.sampled_from(KINDS), st.integers(0, 1000))
def test_holds_the_newest_bytes(
    case: tuple[int, list[bytes]], kind: type[bytes | bytearray | memoryview], start: int
) -> None:
    capacity, writes = case
    ring = RingBuffer(capacity, start)
    everything = b""
    for data in writes:
        ring.write(kind(data))
        everything += data
        assert ring.history() == everything[-capacity:]
        assert ring.end == start + len(everything)
        assert ring.start == ring.end - min(len(everything), capacity)
        assert len(ring._held) <= 2 * capacity
    assert ring.capacity == capacity


@given(capacity_and_writes(), st.data())
def test_reads_from_any_position(case: tuple[int, list[bytes]], data: st.DataObject) -> None:
    capacity, writes = case
    ring = RingBuffer(capacity)
    everything = b"".join(writes)
    for piece in writes:
        ring.write(piece)
    position = data.draw(st.integers(0, ring.end))
    limit = data.draw(st.integers(0, capacity + 2))
    got, after, missed = ring.read(position, limit)
    begin = max(position, ring.start)
    assert missed == begin - position
    assert got == everything[begin : begin + limit]
    assert after == begin + len(got)


def test_a_position_that_never_was_is_an_error() -> None:
    ring = RingBuffer(8)
    ring.write(b"abc")
    assert ring.read(3) == (b"", 3, 0)
    for position in (4, -1):
        with pytest.raises(ValueError, match="the end is 3"):
            ring.read(position)
    with pytest.raises(ValueError):
        ring.read(0, -1)


@pytest.mark.parametrize(("capacity", "start"), [(0, 0), (-1, 0), (1, -1)])
def test_impossible_sizes_are_refused(capacity: int, start: int) -> None:
    with pytest.raises(ValueError):
        RingBuffer(capacity, start)


def test_clear_keeps_positions_and_gives_memory_back() -> None:
    ring = RingBuffer(100_000)
    empty = sys.getsizeof(ring._held)
    ring.write(b"x" * 250_000)
    ring.clear()
    assert (ring.start, ring.end, ring.history()) == (250_000, 250_000, b"")
    assert sys.getsizeof(ring._held) == empty
    assert ring.read(249_000) == (b"", 250_000, 1000)
    ring.write(b"new")
    assert ring.read(249_000) == (b"new", 250_003, 1000)


@pytest.mark.parametrize("size", [1, 14, 241, 4096, 60_000, 99_999, 100_000, 300_000])
def test_memory_stays_below_twice_the_capacity(size: int) -> None:
    ring = RingBuffer(100_000)
    empty = sys.getsizeof(ring._held)
    piece = b"x" * size
    for _ in range(min(1_000_000 // size, 20_000)):
        ring.write(piece)
        assert sys.getsizeof(ring._held) - empty <= 200_000


def test_copies_are_independent() -> None:
    ring = RingBuffer(8)
    source = bytearray(b"abcd")
    ring.write(source)
    source[:] = b"XXXX"
    before = ring.history()
    ring.write(b"efghij")
    assert before == b"abcd"
    assert ring.history() == b"cdefghij"


def test_repr_is_a_status_line() -> None:
    ring = RingBuffer(4)
    ring.write(b"abcdef")
    assert repr(ring) == "<RingBuffer 2..6 of 4 B>"
