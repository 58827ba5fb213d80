"""What is known of an engine that failed a request: how it ended, why, and what it said."""

from __future__ import annotations

from hostler.core import ModelId
from hostler.errors import BackedOff, HostlerError, StartFailed, UpstreamFailed
from hostler.fleet.fleet import Fleet
from hostler.fleet.lease import Lease, fate
from hostler.gateway.pool import Unreachable
from hostler.logs.spans import RequestSpans
from hostler.process.chronicle import evidence


async def explained(fleet: Fleet, error: UpstreamFailed, lease: Lease) -> UpstreamFailed:
    """`error`, with the evidence."""
    message = f"{lease.model}: {error.message}"
    details: dict[str, object] = {**error.details, "model": lease.model, "run": lease.run}
    slot = fleet.slot(lease.model)  # there as long as the lease is
    end = await fate(slot, lease)
    run = slot.last_run
    if run is not None and run.number == lease.run:
        details |= evidence(run)
    if end is not None:
        message += f"; its process ended: {end}"
        details["exit"] = str(end)
        if run is not None and run.number == lease.run and run.cause is not None:
            message += f": {run.cause.message}"
    kind = Unreachable if isinstance(error, Unreachable) else UpstreamFailed
    return kind(message, details=details)


def remember_start(spans: RequestSpans, fleet: Fleet, request_id: bytes, error: HostlerError) -> None:
    """Let the log of a request be that of the start that failed it, where one did."""
    model, run, cursor = (error.details.get(key) for key in ("model", "run", "cursor"))
    if isinstance(error, StartFailed | BackedOff) and isinstance(cursor, str) and isinstance(run, int):
        span = spans.begin(request_id, str(model), run, cursor)
        span.until = fleet.slot(ModelId(str(model))).log.newest_seq
