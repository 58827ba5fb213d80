"""Which bytes belong to which run, and how long they stay."""

from __future__ import annotations

import pytest

from hostler.errors import NotFound
from hostler.logs.ring import RingBuffer
from hostler.logs.runs import RunLog, RunLogs


def one_run(ring: RingBuffer, runs: RunLogs, number: int, data: bytes) -> None:
    runs.begin(number)
    ring.write(data)
    runs.end(number)


def test_a_run_that_goes_on() -> None:
    ring = RingBuffer(4)
    runs = RunLogs(ring, 3)
    ring.write(b"xyz")
    runs.begin(1)
    assert runs.logs() == [RunLog(1, 3, None, 0)]
    assert runs.history(1) == b""
    ring.write(b"ab")
    assert (runs.logs(), runs.history(1)) == ([RunLog(1, 3, None, 2)], b"ab")
    ring.write(b"cdef")
    assert (runs.logs(), runs.history(1)) == ([RunLog(1, 3, None, 4)], b"cdef")
    assert runs.current == 1


def test_an_ended_run_survives_what_later_runs_print() -> None:
    ring = RingBuffer(4)
    runs = RunLogs(ring, 3)
    one_run(ring, runs, 1, b"abcdef")
    ring.write(b"between")
    one_run(ring, runs, 2, b"g" * 100)
    assert runs.history(1) == b"cdef"
    assert runs.history(2) == b"gggg"
    assert runs.logs() == [RunLog(1, 0, 6, 4), RunLog(2, 13, 113, 4)]
    assert runs.current is None


def test_newer_runs_replace_the_oldest() -> None:
    ring = RingBuffer(8)
    runs = RunLogs(ring, 3)
    for number in (1, 2, 3):
        one_run(ring, runs, number, b"%d" % number)
    runs.begin(4)
    assert [log.number for log in runs.logs()] == [1, 2, 3, 4]
    runs.end(4)
    assert [log.number for log in runs.logs()] == [2, 3, 4]
    with pytest.raises(NotFound, match="run 1 is kept; kept are: 2, 3, 4"):
        runs.history(1)


def test_only_the_running_run_can_end() -> None:
    ring = RingBuffer(8)
    runs = RunLogs(ring, 3)
    runs.begin(1)
    runs.end(7)
    assert runs.current == 1
    runs.end(1)
    runs.end(1)
    assert runs.logs() == [RunLog(1, 0, 0, 0)]
    runs.begin(2)
    runs.end(1)
    assert runs.current == 2


def test_a_new_run_seals_one_that_nobody_ended() -> None:
    ring = RingBuffer(8)
    runs = RunLogs(ring, 3)
    runs.begin(1)
    ring.write(b"abc")
    runs.begin(2)
    ring.write(b"de")
    assert (runs.history(1), runs.history(2)) == (b"abc", b"de")


def test_clearing_the_ring_leaves_sealed_runs() -> None:
    ring = RingBuffer(8)
    runs = RunLogs(ring, 3)
    one_run(ring, runs, 1, b"abc")
    runs.begin(2)
    ring.write(b"lost")
    ring.clear()
    ring.write(b"de")
    assert (runs.history(1), runs.history(2)) == (b"abc", b"de")
    assert runs.logs()[1] == RunLog(2, 3, None, 2)
    runs.forget()
    assert [log.number for log in runs.logs()] == [2]


def test_keeping_none() -> None:
    ring = RingBuffer(8)
    runs = RunLogs(ring, 0)
    one_run(ring, runs, 1, b"abc")
    assert runs.logs() == []
    with pytest.raises(NotFound, match="kept are: none"):
        runs.history(1)
