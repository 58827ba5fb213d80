"""The visit: use of a run by somebody who does not count."""

from __future__ import annotations

from hostler.core import State
from hostler.errors import Conflict
from hostler.fleet.lease import Lease
from hostler.fleet.slot import Slot


def visit(slot: Slot) -> Lease:
    """What a request needs to know of the ready run of `slot`, without a right to it.

    It is neither queued nor counted, keeps nothing loaded and loads nothing: when the run ends, its
    connection does. Raises Conflict when there is no ready run.
    """
    run = slot.run
    if run is None or slot.state is not State.READY:
        raise Conflict(
            f"model {slot.model.id} is not loaded; ignored websocket requests cannot start it", param="model"
        )
    return Lease(slot.model.id, run.number, run.spec.proxy, 0.0, cold=False)
