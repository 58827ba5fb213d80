"""Watches what happens and passes it on: to the listeners of events, and to the numbers of models.

Everything it is told comes as a call of whoever changed something; it only looks by itself at what nobody
tells: how far a loading model is, how many bytes a running answer has, and only while somebody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostler import aio
from hostler.core import ModelId, State, StopReason
from hostler.errors import Busy
from hostler.gateway.inflight import Entry, shown
from hostler.metrics.families import LiveFamilies
from hostler.metrics.samples import tree_memory
from hostler.metrics.worker import Worker
from hostler.process.causes import BAD_CONFIG, Cause
from hostler.process.failure import as_details
from hostler.process.progress import progress_of
from hostler.process.run import Run
from hostler.web.watch import RunWatch

if TYPE_CHECKING:
    from hostler.fleet.slot import Slot
    from hostler.web.state import WebState

# Seconds between looks at running answers and loading models, while somebody listens: llama-swap's value.
LOOK_SECONDS = 0.25
# Of a loading model's log: where the newest telling line is looked for.
PROGRESS_LINES = 20
# Seconds that the memory of processes is good for: it is read by walking the process table.
MEMORY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ModelNow:
    """A model as the numbers see it."""

    model: str
    state: str
    active: int
    waiting: int
    memory: int | None
    gpu_memory: int | None


@dataclass(frozen=True, slots=True)
class LogNow:
    """A log as the numbers see it."""

    log: str
    written: int
    gaps: int
    gap_bytes: int
    followers: int


class Feed:
    """One Hostler's events. Only the event loop's thread may call it."""

    def __init__(self, state: WebState) -> None:
        self._state = state
        self._bus = state.observatory.bus
        self._families = state.observatory.models
        self._started: dict[ModelId, float] = {}
        self._evicted: float | None = None  # since when a model makes room for another
        self._failed: set[ModelId] = set()
        self._progress: dict[ModelId, tuple[str, float | None]] = {}
        self._bytes: dict[int, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._memory: dict[str, tuple[int, int | None]] = {}
        self._memory_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._asking = Worker("process memory", bound=8)
        self._watch = RunWatch(state, self._cause_seen)
        LiveFamilies(state.observatory.registry, self)
        state.fleet.listeners.append(self._state_changed)
        state.gateway.in_flight.listeners.append(self._in_flight_changed)
        state.gateway.profiles.listeners.append(
            lambda active: self._bus.publish("profile", {"active": active})
        )

    def config_changed(self) -> None:
        """Another configuration was taken over."""
        self._bus.publish("config", {"models": sorted(self._state.config.models)})

    async def close(self) -> None:
        """Watch no more."""
        await self._watch.close()
        self._asking.close()
        await aio.cancel_and_wait(task for task in (self._looking, self._reading) if task is not None)

    # -- models -----------------------------------------------------------------------------------------

    def _state_changed(self, model: ModelId, state: State) -> None:
        slot = self._state.fleet.slot(model)
        now = self._state.clock.monotonic()
        event: dict[str, Any] = {"model": model, "state": state.value, "run": slot.runs}
        if state is State.STARTING:
            self._started[model] = now
            self._families.starts.add(1, model, slot.start_reason.value)
            if model in self._failed:
                self._failed.discard(model)
                self._families.restarts.add(1, model)
            event["reason"] = slot.start_reason.value
        elif state is State.READY:
            self._ready(model, now, event)
        elif state is State.STOPPING:
            event["reason"] = slot.stop_reason.value if slot.stop_reason is not None else None
            if slot.stop_reason is StopReason.EVICTED:
                self._families.evictions.add(1, model)
                self._evicted = now
        elif state is State.STOPPED:
            self._stopped(slot, event)
        self._bus.publish("model", event)
        self._watch.state_changed(slot, state)
        self.look()

    def _cause_seen(self, found: dict[str, Any], lines: int) -> None:
        self._families.causes.add(lines, found["model"], found["cause"]["kind"])
        self._bus.publish("cause", found)

    def _ready(self, model: ModelId, now: float, event: dict[str, Any]) -> None:
        began = self._started.pop(model, None)
        if began is None:
            return
        event["seconds"] = round(now - began, 3)
        self._families.loads.observe(now - began, model)
        if self._evicted is not None:
            self._families.swaps.observe(now - self._evicted, model)
            self._evicted = None

    def _stopped(self, slot: Slot, event: dict[str, Any]) -> None:
        model = slot.model.id
        self._started.pop(model, None)
        self._progress.pop(model, None)
        run = slot.last_run
        if run is None or run.number != slot.runs:
            reason = slot.stop_reason or StopReason.START_FAILED  # it never got a process
        else:
            reason = run.stop_reason or slot.stop_reason or StopReason.EXITED
        event["reason"] = reason.value
        self._families.stops.add(1, model, reason.value)
        if reason not in (StopReason.START_FAILED, StopReason.EXITED):
            return
        ours = run if run is not None and run.number == slot.runs else None
        cause = ours.cause if ours is not None else Cause(BAD_CONFIG, slot.last_error, "")
        phase = "run" if ours is not None and ours.ready_at is not None else "start"
        self._failed.add(model)
        self._families.failures.add(1, model, phase, cause.kind if cause is not None else "unknown")
        self._bus.publish(
            "failure",
            {
                "model": model,
                "run": slot.runs,
                "phase": phase,
                "cause": as_details(cause),
                "error": slot.last_error,
                "exit": str(ours.exit) if ours is not None and ours.exit is not None else None,
                "cursor": ours.cursor if ours is not None else None,
            },
        )

    # -- requests ---------------------------------------------------------------------------------------

    def _in_flight_changed(self, what: str, entry: Entry) -> None:
        if what == "remove":
            if self._bus.heard:  # otherwise nobody knows that it was there
                self._bytes.pop(entry.number, None)
                self._bus.publish_small("inflight", {"operation": "remove", "id": str(entry.number)})
            return
        if self._bus.listeners:
            self._tell(entry)
            self.look()

    def _tell(self, entry: Entry) -> None:
        self._bytes[entry.number] = entry.sent
        request = shown(entry, self._state.clock.monotonic())
        self._bus.publish("inflight", {"operation": "upsert", "request": request})

    # -- what nobody tells ------------------------------------------------------------------------------

    def look(self) -> None:
        """Begin to look at what changes by itself, if there is anything and somebody listens."""
        if self._bus.listeners and self._looking is None and self._busy() and not self._bus.closed:
            self._looking = aio.spawn(self._look(), name="look at what changes by itself")

    def _busy(self) -> bool:
        return bool(self._started) or len(self._state.gateway.in_flight) > 0

    async def _look(self) -> None:
        try:
            while self._bus.listeners and self._busy():
                await asyncio.sleep(LOOK_SECONDS)
                for entry in self._state.gateway.in_flight.entries():
                    if self._bytes.get(entry.number) != entry.sent:
                        self._tell(entry)
                for model in list(self._started):
                    self._look_at(model)
        finally:
            self._looking = None

    def _look_at(self, model: ModelId) -> None:
        found = progress_of(self._state.fleet.slot(model).log.tail(PROGRESS_LINES))
        if found is None or self._progress.get(model) == (found.stage, found.fraction):
            return
        self._progress[model] = found.stage, found.fraction
        progress = {"model": model, "stage": found.stage, "fraction": found.fraction}
        self._bus.publish("progress", progress)

    # -- numbers that are asked for ---------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read the memory of the models' processes, unless that was done a moment ago."""
        now = self._state.clock.monotonic()
        if self._reading is None and now - self._memory_at >= MEMORY_SECONDS:
            self._memory_at = now
            self._reading = aio.spawn(self._read_memory(), name="read the memory of engines")
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _read_memory(self) -> None:
        try:
            with contextlib.suppress(Busy):  # there is a next time
                await self._read()
        finally:
            self._reading = None

    async def _read(self) -> None:
        pids = {row.id: row.pid for row in self._state.fleet.status() if row.pid is not None}
        runs: dict[str, Run | None] = {model: self._state.fleet.slot(model).run for model in pids}
        latest = self._state.observatory.performance.latest()
        by_pid: dict[int, int] = {}
        for gpu in latest.gpus if latest is not None else ():
            for pid, used in gpu.processes.items():
                by_pid[pid] = by_pid.get(pid, 0) + used

        def read() -> dict[str, tuple[int, int | None]]:
            found: dict[str, tuple[int, int | None]] = {}
            for model, pid in pids.items():
                resident, tree = tree_memory(pid)
                on_gpu = sum(by_pid.get(member, 0) for member in tree) if by_pid else None
                found[model] = resident, on_gpu
            return found

        self._memory = await asyncio.wrap_future(self._asking.submit(read))
        for model, (resident, _) in self._memory.items():
            if (run := runs[model]) is not None:
                run.memory_seen(resident)

    def models(self) -> Iterable[ModelNow]:
        """Every model; the memory is that of the last `refresh`."""
        for row in self._state.fleet.status():
            resident, on_gpu = self._memory.get(row.id, (None, None)) if row.pid is not None else (None, None)
            yield ModelNow(row.id, row.state.value, row.active, row.waiting, resident, on_gpu)

    def logs(self) -> Iterable[LogNow]:
        """Every log: of models, of Hostler, of all engines, of everything."""
        hub = self._state.hub
        names = [*hub.models(), "proxy", "upstream"]
        for name, log in [(name, hub.find(name)) for name in names] + [("combined", hub.combined)]:
            if log is not None:
                yield LogNow(name, log.end, log.gaps, log.gap_bytes, log.waiting)

    def internals(self) -> Iterable[tuple[str, float]]:
        """Numbers about ourselves."""
        observatory = self._state.observatory
        return (
            ("hostler_inflight_requests", len(self._state.gateway.in_flight)),
            ("hostler_event_listeners", self._bus.listeners),
            ("hostler_events_total", self._bus.end),
            ("hostler_activity_lost_total", observatory.store.lost),
            ("hostler_captures_bytes", observatory.captures.held),
            ("hostler_captures_skipped_total", observatory.captures.skipped),
        )
