"""The rest of a model that keeps failing."""

from __future__ import annotations

import pytest

from hostler.scheduler.backoff import Backoff


def test_rests_double_from_the_second_failure_up_to_five_minutes() -> None:
    backoff = Backoff()
    rests = []
    for _ in range(10):
        backoff.failed(100.0, "why")
        rests.append(backoff.remaining(100.0))

    assert rests == [0, 5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_row_of_thousands_does_not_overflow() -> None:
    backoff = Backoff()
    for _ in range(5000):
        backoff.failed(0.0, "why")

    assert backoff.remaining(0.0) == 300
    assert repr(backoff) == "<Backoff 5000 failures>"


def test_a_rest_runs_out() -> None:
    backoff = Backoff()
    backoff.failed(0.0, "first")
    backoff.failed(0.0, "second")

    assert backoff.remaining(4.0) == 1.0
    assert backoff.remaining(5.0) == 0.0
    assert backoff.error == "second"


@pytest.mark.parametrize("crashed", [True, False])
def test_ten_seconds_of_being_ready_end_the_row_however_the_run_ends(crashed: bool) -> None:
    backoff = Backoff()
    backoff.failed(0.0, "first")
    backoff.ready(1.0)
    backoff.ended(11.0, crashed=crashed, error="late")

    assert backoff.failures == 0
    assert backoff.error is None


def test_a_crash_within_ten_seconds_is_a_failure() -> None:
    backoff = Backoff()
    backoff.failed(0.0, "first")
    backoff.ready(1.0)
    backoff.ended(10.5, crashed=True, error="early")

    assert backoff.failures == 2
    assert backoff.remaining(10.5) == 5
    assert backoff.error == "early"


def test_a_short_run_stopped_on_purpose_proves_nothing() -> None:
    backoff = Backoff()
    backoff.failed(0.0, "first")
    backoff.ready(1.0)
    backoff.ended(2.0, crashed=False, error=None)

    assert backoff.failures == 1


def test_becoming_ready_ends_the_rest_but_not_the_row() -> None:
    backoff = Backoff()
    backoff.failed(0.0, "first")
    backoff.failed(0.0, "second")
    backoff.ready(1.0)

    assert backoff.remaining(1.0) == 0
    assert backoff.failures == 2
