"""How long a ticket may have to wait, in simulated time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.core import ModelId
from hostler.scheduler.core import Limits

from .drive import ONE_AT_A_TIME, ids
from .policies import MODELS
from .simulation import Simulation

A, B = ids("ab")
seconds = st.integers(0, 50).map(float)


def stream(
    model: ModelId, every: float, until: float, start: float = 0.0
) -> list[tuple[float, ModelId, int]]:
    """Requests for `model` at even distances."""
    return [(start + number * every, model, 0) for number in range(int((until - start) / every) + 1)]


@settings(deadline=None)
@given(max_wait=seconds, load=seconds, unload=seconds, service=seconds, every=st.integers(1, 20), at=seconds)
def test_a_busy_loaded_model_cannot_starve_another(
    max_wait: float, load: float, unload: float, service: float, every: int, at: float
) -> None:
    simulation = Simulation(ONE_AT_A_TIME, dict.fromkeys((A, B), Limits()), max_wait, load, unload, service)
    arrived = load + at + 0.5  # a is up
    bound = max_wait + service + unload + load
    arrivals = sorted([*stream(A, every, until=arrived + 2 * bound + 20), (arrived, B, 0)])
    simulation.run(arrivals)

    ticket = arrivals.index((arrived, B, 0)) + 1
    assert simulation.waits[ticket] <= bound


@settings(deadline=None, max_examples=50)
@given(
    max_wait=seconds,
    load=seconds,
    unload=seconds,
    service=seconds,
    streams=st.lists(st.tuples(st.integers(3, 40), st.integers(-1, 1)), min_size=2, max_size=5),
)
def test_no_ticket_waits_for_more_than_one_turn_of_each_other_model(
    max_wait: float, load: float, unload: float, service: float, streams: list[tuple[int, int]]
) -> None:
    simulation = Simulation(ONE_AT_A_TIME, dict.fromkeys(MODELS, Limits()), max_wait, load, unload, service)
    arrivals = [
        (when, model, priority)
        for model, (every, priority) in zip(MODELS, streams, strict=False)
        for when, _, _ in stream(model, every, until=400.0)
    ]
    simulation.run(sorted(arrivals))

    turn = load + service + unload
    # One turn may have begun when the ticket ages, then each other model may be ahead once, then its own.
    bound = max_wait + (len(streams) + 1) * turn
    assert len(simulation.waits) == len(arrivals), "everybody was served"
    assert max(simulation.waits.values()) <= bound


@settings(deadline=None, max_examples=50)
@given(
    load=seconds,
    service=st.integers(1, 20).map(float),
    concurrency=st.integers(1, 3),
    arrivals=st.lists(st.tuples(seconds, st.sampled_from(MODELS[:3]), st.integers(-2, 2)), max_size=40),
)
def test_with_limits_everybody_is_served_too(
    load: float, service: float, concurrency: int, arrivals: list[tuple[float, ModelId, int]]
) -> None:
    limits = dict.fromkeys(MODELS, Limits(concurrency))
    simulation = Simulation(ONE_AT_A_TIME, limits, 20.0, load, 5.0, service)
    simulation.run(sorted(arrivals))

    assert len(simulation.waits) == len(arrivals)


def test_a_backlog_older_than_max_wait_is_not_served_with_one_swap_for_each_request() -> None:
    limits = dict.fromkeys((A, B), Limits(concurrency=1))
    simulation = Simulation(ONE_AT_A_TIME, limits, max_wait=60.0, load=120.0, unload=10.0, service=6.0)
    simulation.run([(float(number), (A, B)[number % 2], 0) for number in range(40)])

    assert len(simulation.waits) == 40
    assert simulation.loads == 4, "each load serves its line for a minute, ten requests of the twenty"
