"""What is known of an engine that failed a request: how it ended, why, and what it said last."""

from __future__ import annotations

from hostler.errors import UpstreamFailed
from hostler.fleet.fleet import Fleet
from hostler.fleet.lease import Lease, fate
from hostler.gateway.pool import Unreachable
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
