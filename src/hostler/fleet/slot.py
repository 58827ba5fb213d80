"""A slot: everything the fleet keeps for one model, whatever its process does."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from hostler.config.diff import process_differs
from hostler.config.schema import Config, Model
from hostler.core import Exit, ModelId, StartReason, State, StopReason
from hostler.fleet.lease import Lease
from hostler.logs.source import SourceLog
from hostler.process.run import Run, RunSpec

Launcher = Callable[[Model], RunSpec]
"""Turns a model of the configuration into what is to be started; raises ConfigError when it cannot."""


@dataclass(slots=True)
class Slot:
    """One model's run, counters and timers; only the fleet writes it.

    `run` is the process there is, `last_run` the same or, without one, the one there was. `launched` is the
    definition that process was started by; `removed` says that the model is no longer configured. `lease` is
    what each request gets that need not wait for the run it names.
    """

    model: Model
    log: SourceLog
    runs: int = 0
    run: Run | None = None
    last_run: Run | None = None
    life: asyncio.Task[None] | None = None
    stop_reason: StopReason | None = None
    start_reason: StartReason = StartReason.REQUEST
    state: State = State.STOPPED
    state_since: float = 0.0
    active: int = 0
    last_used: float = 0.0
    last_exit: Exit | None = None
    last_error: str = ""
    launched: Model | None = None
    removed: bool = False
    lease: Lease | None = None

    @property
    def stale(self) -> bool:
        """Whether a process started now would be another one than the one there is."""
        return self.launched is not None and process_differs(self.launched, self.model)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model as it is right now, for display; times in seconds."""

    id: ModelId
    state: State
    pid: int | None
    run: int
    active: int
    waiting: int
    since: float
    uptime: float | None
    ttl_left: float | None
    command: str
    base_url: str
    last_exit: str
    last_error: str


def status_of(slot: Slot, now: float, waiting: int) -> ModelStatus:
    """A snapshot of `slot` at the monotonic time `now`."""
    run = slot.run
    ready_at = run.ready_at if run is not None else None
    idle = slot.model.ttl > 0 and slot.active == 0 and slot.state is State.READY
    return ModelStatus(
        id=slot.model.id,
        state=slot.state,
        pid=run.pid if run is not None else None,
        run=slot.runs,
        active=slot.active,
        waiting=waiting,
        since=now - slot.state_since,
        uptime=now - ready_at if ready_at is not None else None,
        ttl_left=max(0.0, slot.last_used + slot.model.ttl - now) if idle else None,
        command=slot.model.cmd or (shlex.join(run.spec.argv) if run is not None else ""),
        base_url=run.spec.proxy if run is not None else slot.model.proxy,
        last_exit=str(slot.last_exit) if slot.last_exit is not None else "",
        last_error=slot.last_error,
    )


def log_rates(config: Config) -> dict[str, int]:
    """How many bytes a second each model's log keeps; 0 for all."""
    return {
        model.id: config.logs.max_rate if model.logs.max_rate is None else model.logs.max_rate
        for model in config.models.values()
    }
