"""process.md section I: which target of a selector is asked, and who is asked when that one fails."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.config.schema import Selector
from hostler.core import State
from hostler.gateway.selectors import Load, order

STATES: dict[str, State | None] = {
    "ready": State.READY,
    "starting": State.STARTING,
    "stopping": State.STOPPING,
    "stopped": State.STOPPED,
    "peer": None,
}


def asked(strategy: Any, loads: str, threshold: int = 1, turn: int = 0) -> list[str]:
    """The order for targets a, b, … that are in the given states, `ready:2` with two requests."""
    found: dict[str, Load] = {}
    for name, text in zip("abcdef", loads.split(), strict=False):
        state, _, requests = text.partition(":")
        found[name] = Load(STATES[state], int(requests or 0))
    selector = Selector("s", strategy, tuple(found), spillover=threshold)
    return order(selector, found.__getitem__, turn)


def test_pin_keeps_the_order_of_the_file() -> None:
    assert asked("pin", "stopped ready ready") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ("stopped starting ready", "cba"),
        ("stopped starting stopping", "bac"),
        ("stopped stopping stopped", "abc"),
        ("ready:9 ready", "ab"),
    ],
)
def test_warm_prefers_ready_then_starting(loads: str, expected: str) -> None:
    assert "".join(asked("warm", loads)) == expected


@pytest.mark.parametrize(
    ("loads", "threshold", "first"),
    [
        ("stopped stopped", 1, "a"),
        ("stopped ready", 1, "b"),
        ("stopped ready:1", 1, "a"),
        ("stopped ready:1", 2, "b"),
        ("ready:1 ready:2", 1, "a"),
        ("ready:1 ready:1 stopped", 1, "c"),
        ("stopping ready:5", 1, "b"),
        ("stopping stopped", 1, "b"),
        ("peer peer:1", 2, "b"),
        ("peer:3 ready:2 peer", 1, "c"),
    ],
)
def test_spillover(loads: str, threshold: int, first: str) -> None:
    assert asked("spillover", loads, threshold)[0] == first


def test_equally_busy_ones_take_turns() -> None:
    assert [asked("spillover", "ready ready ready", turn=turn)[0] for turn in range(4)] == list("abca")


@given(
    st.sampled_from(["pin", "warm", "spillover"]),
    st.lists(st.tuples(st.sampled_from(sorted(STATES)), st.integers(0, 3)), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_every_target_is_asked_once(
    strategy: str, loads: list[tuple[str, int]], threshold: int, turn: int
) -> None:
    found = asked(strategy, " ".join(f"{state}:{count}" for state, count in loads), threshold, turn)

    assert sorted(found) == list("abcdef"[: len(loads)])
