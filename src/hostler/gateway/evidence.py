"""What is known of an engine that failed a request: how it ended, why, and what it said last."""

from __future__ import annotations

from hostler.errors import UpstreamFailed
from hostler.fleet.fleet import Fleet
from hostler.fleet.lease import Lease, fate
from hostler.gateway.pool import Unreachable

# Of its log: a traceback fits.
LAST_LINES = 20


async def explained(fleet: Fleet, error: UpstreamFailed, lease: Lease) -> UpstreamFailed:
    """`error`, with the evidence."""
    message = f"{lease.model}: {error.message}"
    log = fleet.slot(lease.model).log
    details: dict[str, object] = {**error.details, "model": lease.model, "run": lease.run}
    end = await fate(fleet.slot(lease.model), lease)  # the slot is there as long as the lease is
    if end is not None:
        message += f"; its process ended: {end}"
        details["exit"] = str(end)
        run = fleet.slot(lease.model).last_run
        if run is not None and run.number == lease.run:
            details |= run.why_it_ended()
    details["log"] = log.tail(LAST_LINES)
    kind = Unreachable if isinstance(error, Unreachable) else UpstreamFailed
    return kind(message, details=details)
