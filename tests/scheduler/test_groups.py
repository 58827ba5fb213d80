"""Groups, by section G of the compatibility notes."""

from __future__ import annotations

import pytest

from hostler.core import ModelId
from hostler.scheduler.groups import GroupPolicy

from .drive import group, ids

SWAPPING = group("s", "ab")
TOGETHER = group("t", "cd", swap=False)
MODEST = group("m", "ef", swap=False, exclusive=False)
KEPT = group("p", "gh", swap=False, persistent=True)
POLICY = GroupPolicy([SWAPPING, TOGETHER, MODEST, KEPT])


@pytest.mark.parametrize(
    ("target", "running", "evicted"),
    [
        pytest.param("a", "b", "b", id="same group swaps"),
        pytest.param("c", "d", "", id="same group without swap"),
        pytest.param("a", "ce", "ce", id="exclusive evicts other groups"),
        pytest.param("a", "g", "", id="but not persistent ones"),
        pytest.param("g", "ac", "ac", id="persistent protects from others, not others from it"),
        pytest.param("e", "acg", "", id="a group that is not exclusive evicts no other, exclusive or not"),
        pytest.param("c", "e", "e", id="the other way round it does"),
        pytest.param("a", "abc", "", id="a running target evicts nothing"),
        pytest.param(
            "x", "aeg", "ae", id="a model without a group is in the default group, which is exclusive"
        ),
        pytest.param("x", "y", "y", id="and swaps"),
        pytest.param("a", "x", "x", id="and is not persistent"),
        pytest.param("a", "", "", id="nothing runs"),
    ],
)
def test_section_g(target: str, running: str, evicted: str) -> None:
    assert POLICY.evict(ModelId(target), ids(running)) == frozenset(ids(evicted))


def test_section_g_a_configured_default_group_also_holds_the_models_it_does_not_name() -> None:
    policy = GroupPolicy([group("(default)", "a", swap=False, exclusive=False)])

    assert policy.evict(ModelId("x"), ids("ay")) == frozenset()


def test_section_g_persistent_does_not_protect_inside_its_own_group() -> None:
    policy = GroupPolicy([group("p", "ab", persistent=True)])

    assert policy.evict(ModelId("a"), ids("b")) == frozenset(ids("b"))


def test_repr() -> None:
    assert repr(POLICY) == "<GroupPolicy 5 groups, 8 models>"
