"""The checks of what followers of floods are given, where they were wrong once."""

from __future__ import annotations

import mmap

from bench.flood_checks import RawCheck, Truth
from bench.flood_engine import lines_of


def test_a_history_that_begins_within_the_front_of_a_line() -> None:
    text = lines_of(b"e0", 0, 20, 100)
    with mmap.mmap(-1, len(text)) as memory:
        memory[:] = text
        check = RawCheck(Truth(b"e0", 100, memory))
        check.feed(text[504:])
        check.settle()
    assert (check.ledger.started_at, check.ledger.delivered) == (504, len(text) - 504)


def test_the_last_bytes_of_a_line_behind_a_gap() -> None:
    """So few of them that the line after them lies in what is looked at for a line's number."""
    text = lines_of(b"e0", 0, 20, 100)
    with mmap.mmap(-1, len(text)) as memory:
        memory[:] = text
        check = RawCheck(Truth(b"e0", 100, memory))
        check.feed(text[:250])
        check.feed(b"\n[hostler] gap: 745 bytes missed (line cut)\n")
        check.feed(text[995:])
        check.settle()
    assert (check.ledger.delivered, check.ledger.missed) == (len(text) - 745, 745)
    assert check.offset == len(text)
