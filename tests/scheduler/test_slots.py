"""Phases and lines."""

from __future__ import annotations

from itertools import product

import pytest

from hostler.core import ModelId
from hostler.scheduler.slots import MOVES, Limits, Line, Phase, Slot, Waiter


@pytest.mark.parametrize(("old", "new"), list(product(Phase, Phase)))
def test_a_slot_makes_exactly_the_moves_of_the_table(old: Phase, new: Phase) -> None:
    slot = Slot(ModelId("a"), Limits(), phase=old)
    if new in MOVES[old]:
        slot.move(new)
        assert slot.phase is new
    else:
        with pytest.raises(ValueError, match=f"a: no move from {old} to {new}"):
            slot.move(new)


def waiter(seq: int, priority: int = 0) -> Waiter:
    return Waiter(seq, Slot(ModelId("a"), Limits()), 0.0, seq, priority, force=False)


def test_a_line_is_served_by_priority_then_arrival() -> None:
    line = Line()
    for seq, priority in [(1, 0), (2, 5), (3, -1), (4, 5)]:
        line.add(waiter(seq, priority))

    assert [w.ticket for w in line] == [2, 4, 1, 3]


def test_an_aged_ticket_goes_in_front_of_any_priority_and_behind_older_aged_ones() -> None:
    line = Line()
    waiters = [waiter(1, -5), waiter(2, 9), waiter(3, 0)]
    for one in waiters:
        line.add(one)
    line.age(waiters[2])
    line.age(waiters[0])

    assert [w.ticket for w in line] == [1, 3, 2]
    assert [w.aged for w in line] == [True, True, False]


def test_a_line_forgets_exactly_the_one_removed() -> None:
    line = Line()
    waiters = [waiter(seq) for seq in range(5)]
    for one in waiters:
        line.add(one)
    line.remove(waiters[2])

    assert [w.ticket for w in line] == [0, 1, 3, 4]
    assert line.ahead_of(waiters[4].key) == 3
    assert repr(Slot(ModelId("a"), Limits(), line=line)) == "<Slot a down | 0 granted, 4 waiting>"
