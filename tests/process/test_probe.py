"""How often an engine is asked, and what its answers mean."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.process import probe


def test_the_first_try_is_at_once() -> None:
    assert next(probe.delays()) == 0.0


def test_pauses_grow_and_stay_below_the_limit() -> None:
    delays = list(itertools.islice(probe.delays(), 1, 200))

    assert delays[0] == pytest.approx(0.002)
    assert delays == sorted(delays)
    assert max(delays) == probe.LONGEST_PAUSE == 0.25


def test_a_pause_is_short_beside_the_time_already_waited() -> None:
    """So that what was ready a moment after the last try is seen soon, whenever that is."""
    waited = 0.0
    for delay in itertools.islice(probe.delays(), 200):
        assert delay <= 0.002 + 0.1 * waited + 1e-9
        waited += delay


def test_few_tries_are_made_in_a_long_load() -> None:
    moments = list(itertools.takewhile(lambda moment: moment < 120, itertools.accumulate(probe.delays())))

    assert len(moments) < 120 / probe.LONGEST_PAUSE + 60


def test_output_makes_the_pauses_short_again() -> None:
    pacing = probe.Pacing()
    for _ in range(100):
        pacing.next()
    assert pacing.next() == probe.LONGEST_PAUSE

    pacing.output_seen()

    assert pacing.next() == probe.PAUSE_AFTER_OUTPUT
    assert pacing.next() > probe.PAUSE_AFTER_OUTPUT


def test_output_never_makes_a_pause_longer() -> None:
    pacing = probe.Pacing()
    pacing.output_seen()

    assert pacing.next() == probe.FIRST_PAUSE


def test_while_nobody_listens_it_is_tried_all_the_time() -> None:
    pacing = probe.Pacing()
    pauses = [pacing.next(refused=True) for _ in range(200)]

    assert max(pauses) == probe.REFUSED_PAUSE
    assert pacing.next() == probe.LONGEST_PAUSE, "what answers then is asked as seldom as ever"


@given(st.floats(min_value=-10, max_value=1000))
def test_a_try_ends_before_the_deadline(remaining: float) -> None:
    timeout = probe.try_timeout(remaining)

    assert 0 <= timeout <= probe.TRY_TIMEOUT
    assert timeout <= max(0.0, remaining)


@pytest.mark.parametrize("status", [100, 201, 204, 301, 404, 500, 503])
def test_only_200_is_ready(status: int) -> None:
    assert probe.classify(status) == probe.Outcome(ready=False, said=f"status {status}")


def test_200_is_ready() -> None:
    assert probe.classify(200).ready


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(), "connection refused"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(), "connection closed without an answer"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (OSError("something odd"), "something odd"),
        (ValueError("what?"), "something that is not an HTTP answer"),
    ],
)
def test_errors_are_named(error: Exception, said: str) -> None:
    assert probe.classify(error) == probe.Outcome(ready=False, said=said)
