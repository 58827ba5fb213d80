"""What is told of a run: in the log of its model at its beginning and its end, and in errors."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from hostler.core import StartReason, StopReason
from hostler.process.causes import BAD_CONFIG, Cause
from hostler.process.failure import LOG_LINES, as_details

if TYPE_CHECKING:
    from hostler.process.log import Log
    from hostler.process.run import Run

NOT_STARTED: Final = "not started"
"""How a run ended that never had a process."""


def beginning(run: Run) -> dict[str, Any]:
    """The `start` record."""
    return {
        "reason": str(run.reason),
        "command": shlex.join(run.spec.argv),
        "pid": run.pid,
        "url": run.spec.proxy,
    }


def ending(run: Run) -> dict[str, Any]:
    """The `exit` record. `cause` is why it failed, null where it did not fail or nobody can say."""
    end = run.exit
    return {
        "exit": NOT_STARTED if end is None else str(end),
        "code": None if end is None else end.code,
        "signal": None if end is None else end.signal,
        "reason": str(run.stop_reason) if run.stop_reason is not None else "exited",
        "seconds": round((run.ended_at or 0.0) - (run.started_at or 0.0), 3),
        "pid": run.pid,
        "ready": run.ready_at is not None,
        "peak_memory_bytes": run.peak_memory,
        "cause": as_details(run.cause),
    }


def never_began(log: Log, number: int, reason: StartReason, why: str) -> None:
    """The records of a run that was not even to be tried: its command cannot be used."""
    log.begin_run(number)
    log.event("start", {"reason": str(reason), "command": "", "pid": None, "url": ""})
    log.event(
        "exit",
        {
            "exit": NOT_STARTED,
            "code": None,
            "signal": None,
            "reason": str(StopReason.START_FAILED),
            "seconds": 0.0,
            "pid": None,
            "ready": False,
            "peak_memory_bytes": None,
            "cause": as_details(Cause(BAD_CONFIG, why, "")),
        },
    )
    log.end_run(number)


def evidence(run: Run) -> dict[str, object]:
    """What is known of a run that failed a request, for the details of an error."""
    known: dict[str, object] = {"cursor": run.cursor, "log": run.last_lines(LOG_LINES)}
    if run.exit is not None:
        known |= {"exit": str(run.exit), "code": run.exit.code, "signal": run.exit.signal}
        known["cause"] = as_details(run.cause)
    return known
