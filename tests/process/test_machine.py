"""The table of states, move by move."""

from __future__ import annotations

import itertools

import pytest

from hostler.core import State
from hostler.process.machine import ALLOWED, Machine, TransitionError

# The way from the beginning to each state.
PATHS = {
    State.STOPPED: (),
    State.STARTING: (State.STARTING,),
    State.READY: (State.STARTING, State.READY),
    State.STOPPING: (State.STARTING, State.READY, State.STOPPING),
    State.SHUTDOWN: (State.SHUTDOWN,),
}


def machine_in(state: State) -> Machine:
    machine = Machine()
    for step in PATHS[state]:
        machine.to(step)
    return machine


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_every_pair(before: State, after: State) -> None:
    """A pair of states is either in the table and works, or it raises and changes nothing."""
    machine = machine_in(before)
    assert machine.may(after) is (after in ALLOWED[before])

    if after in ALLOWED[before]:
        machine.to(after)
        assert machine.state is after
    else:
        with pytest.raises(TransitionError, match=f"from {before.value} to {after.value}"):
            machine.to(after)
        assert machine.state is before


def test_the_table_is_the_documented_one() -> None:
    moves = {(before.value, after.value) for before, afters in ALLOWED.items() for after in afters}

    assert moves == {
        ("stopped", "starting"),
        ("starting", "ready"),
        ("starting", "stopped"),
        ("ready", "stopping"),
        ("ready", "stopped"),
        ("stopping", "stopped"),
        ("stopped", "shutdown"),
        ("starting", "shutdown"),
        ("ready", "shutdown"),
        ("stopping", "shutdown"),
    }


def test_shutdown_is_the_end() -> None:
    assert ALLOWED[State.SHUTDOWN] == frozenset()
    assert all(State.SHUTDOWN in ALLOWED[state] for state in State if state is not State.SHUTDOWN)


def test_the_listener_hears_of_moves_only() -> None:
    heard: list[tuple[State, State]] = []
    machine = Machine(lambda before, after: heard.append((before, after)))

    machine.to(State.STARTING)
    with pytest.raises(TransitionError):
        machine.to(State.STOPPING)
    machine.to(State.STOPPED)

    assert heard == [(State.STOPPED, State.STARTING), (State.STARTING, State.STOPPED)]
    assert repr(machine) == "<Machine stopped>"
