"""A scheduler's refusal as the error a client gets."""

from __future__ import annotations

import math
from typing import assert_never

from hostler.errors import (
    BackedOff,
    HostlerError,
    InternalError,
    NotFound,
    QueueFull,
    ShuttingDown,
    Unloaded,
)
from hostler.scheduler.events import Refusal, RefusalKind


def refusal_error(refusal: Refusal) -> HostlerError:
    """A fresh exception for one waiter; a failed start shared by several waiters is copied for each."""
    retry_after = math.ceil(refusal.retry_after) if refusal.retry_after is not None else None
    cause = refusal.error
    match refusal.kind:
        case RefusalKind.QUEUE_FULL:
            return QueueFull(
                "too many requests wait for this model; try again later", retry_after=retry_after or 1
            )
        case RefusalKind.LOAD_FAILED:
            return _copy(cause, retry_after)
        case RefusalKind.BACKED_OFF:
            last = cause.message if isinstance(cause, HostlerError) else str(cause)
            details = cause.details if isinstance(cause, HostlerError) else {}
            return BackedOff(
                f"the model keeps failing; the next try is in {retry_after} s, the last failure was: {last}",
                retry_after=retry_after,
                details=details,
            )
        case RefusalKind.UNLOADED:
            return Unloaded("the model was unloaded while the request waited for it", retry_after=1)
        case RefusalKind.SHUTTING_DOWN:
            return ShuttingDown("Hostler is shutting down", retry_after=5)
        case RefusalKind.UNKNOWN_MODEL:
            return NotFound("no such model", param="model")
        case _:
            assert_never(refusal.kind)


def _copy(error: object, retry_after: int | None) -> HostlerError:
    # One exception object raised in several tasks would collect the tracebacks of all of them.
    if isinstance(error, HostlerError):
        return type(error)(
            error.message,
            param=error.param,
            retry_after=error.retry_after or retry_after,
            details=error.details,
        )
    return InternalError(f"the model could not be loaded: {error}")
