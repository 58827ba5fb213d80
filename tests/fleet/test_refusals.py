"""What must hold: each refusal becomes the error that says whose fault it is, one of its own per waiter."""

from __future__ import annotations

import pytest

from hostler.core import Exit
from hostler.errors import (
    BackedOff,
    ConfigError,
    HostlerError,
    InternalError,
    NotFound,
    QueueFull,
    ShuttingDown,
    StartFailed,
    Unloaded,
)
from hostler.fleet.refusals import refusal_error
from hostler.scheduler.events import Refusal, RefusalKind

FAILURE = StartFailed("it did not start", details={"model": "a", "log": ["oh"]})

EXPECTED: dict[RefusalKind, tuple[type[HostlerError], int, int | None]] = {
    RefusalKind.QUEUE_FULL: (QueueFull, 429, 5),
    RefusalKind.LOAD_FAILED: (StartFailed, 502, 5),
    RefusalKind.BACKED_OFF: (BackedOff, 503, 5),
    RefusalKind.UNLOADED: (Unloaded, 503, 1),
    RefusalKind.SHUTTING_DOWN: (ShuttingDown, 503, 5),
    RefusalKind.UNKNOWN_MODEL: (NotFound, 404, None),
}


@pytest.mark.parametrize("kind", RefusalKind)
def test_every_kind_has_its_error(kind: RefusalKind) -> None:
    kind_of_error, status, retry_after = EXPECTED[kind]

    error = refusal_error(Refusal(kind, 4.2, FAILURE))

    assert type(error) is kind_of_error
    assert (error.status, error.retry_after) == (status, retry_after)
    assert error.message


def test_waiters_do_not_share_the_failure() -> None:
    refusal = Refusal(RefusalKind.LOAD_FAILED, None, FAILURE)
    one, two = refusal_error(refusal), refusal_error(refusal)
    one.details["log_url"] = "changed"

    assert one is not two
    assert one is not FAILURE
    assert (two.message, two.details, two.retry_after) == (FAILURE.message, FAILURE.details, None)


def test_other_errors_keep_their_kind() -> None:
    error = refusal_error(Refusal(RefusalKind.LOAD_FAILED, None, ConfigError("no command")))
    assert type(error) is ConfigError

    error = refusal_error(Refusal(RefusalKind.LOAD_FAILED, None, ValueError("a bug")))
    assert type(error) is InternalError
    assert "a bug" in error.message


def test_a_rest_says_why() -> None:
    """The last failure with its details, or how the process ended when it had been ready."""
    error = refusal_error(Refusal(RefusalKind.BACKED_OFF, 7.0, FAILURE))
    assert "the next try is in 7 s, the last failure was: it did not start" in error.message
    assert error.details == FAILURE.details

    error = refusal_error(Refusal(RefusalKind.BACKED_OFF, 7.0, Exit(code=3)))
    assert "exit code 3" in error.message
