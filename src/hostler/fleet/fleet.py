"""The fleet: the single writer of what runs.

Events go to the scheduler one at a time and its commands are carried out at once; whatever takes time
(starting, stopping) is a task that reports back as a later event. Nothing here waits for anything inside an
event, so a slow stop of one model never delays a request for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import assert_never

from hostler import aio
from hostler.clock import SYSTEM, Clock
from hostler.config.schema import Config, Model
from hostler.core import Exit, ModelId, StartReason, State, StopReason
from hostler.errors import HostlerError, InternalError, NotFound, ShuttingDown, UpstreamFailed
from hostler.fleet.idle import IdleTimer
from hostler.fleet.lease import Lease
from hostler.fleet.refusals import refusal_error
from hostler.fleet.slot import Launcher, ModelStatus, Slot, status_of
from hostler.logs.hub import LogHub
from hostler.process.guardian import Guardian
from hostler.process.run import Run
from hostler.scheduler.core import Limits, Scheduler
from hostler.scheduler.events import (
    Arrived,
    Closing,
    Command,
    Event,
    Grant,
    Left,
    Load,
    Loaded,
    LoadFailed,
    Refuse,
    Tick,
    Unload,
    Unloaded,
    UnloadRequested,
)
from hostler.scheduler.policy import Policy

# Seconds an engine gets to end by itself when Hostler stops; llama-swap's 30 s are shared by everything.
SHUTDOWN_GRACE = 10.0

# Seconds an engine gets to be seen as dead after it broke a connection off; the news takes milliseconds.
FATE_PATIENCE = 0.25

StateListener = Callable[[ModelId, State], None]


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A request that stands in line; `granted` is resolved once."""

    slot: Slot
    granted: asyncio.Future[None]


class Fleet:
    """Every model's process, and who may use it.

    Only the event loop's thread may call it. `launcher` turns a model into what is started; `policy` says
    who may run with whom. `listeners` are told every change of state, after it happened.
    """

    def __init__(
        self,
        config: Config,
        *,
        policy: Policy,
        hub: LogHub,
        guardian: Guardian,
        launcher: Launcher,
        clock: Clock = SYSTEM,
    ) -> None:
        self.listeners: list[StateListener] = []
        self._hub = hub
        self._guardian = guardian
        self._launcher = launcher
        self._clock = clock
        self._slots: dict[ModelId, Slot] = {
            model.id: Slot(model, hub.model(model.id, model.logs.buffer_bytes))
            for model in config.models.values()
        }
        for slot in self._slots.values():
            slot.state_since = clock.monotonic()
        self._idle = {
            slot.model.id: IdleTimer(slot, self._idle_reached, clock) for slot in self._slots.values()
        }
        self._priority: Mapping[ModelId, int] = config.routing.fifo.priority
        self._scheduler = Scheduler(
            policy,
            limits={m.id: Limits(m.concurrency_limit, m.queue_limit) for m in config.models.values()},
            max_wait=config.routing.fifo.max_wait,
        )
        self._waiting: dict[int, _Waiter] = {}
        self._next_ticket = 1
        self._tick: asyncio.TimerHandle | None = None
        self._closing = False
        self._active = 0
        self._drained: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        states = [slot.state for slot in self._slots.values()]
        return (
            f"<Fleet {states.count(State.READY)} ready, {states.count(State.STARTING)} loading "
            f"| {self._active} leases, {len(self._waiting)} waiting>"
        )

    # -- for requests -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(
        self, model: ModelId, *, reason: StartReason = StartReason.REQUEST, force: bool = False
    ) -> AsyncIterator[Lease]:
        """Wait until `model` is ready for this request, and hold it until the block ends.

        Raises NotFound, QueueFull, StartFailed, BackedOff, Unloaded or ShuttingDown. Cancelling at any
        moment is safe: leaving is the only clean-up.
        """
        slot = self._slots.get(model)
        if slot is None:
            raise NotFound(f"no model called {model!r}", param="model")
        if self._closing:
            raise ShuttingDown("Hostler is shutting down", retry_after=5)
        ticket = self._next_ticket
        self._next_ticket += 1
        arrived = self._clock.monotonic()
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = _Waiter(slot, granted)
        if slot.life is None or slot.stop_reason is not None:
            slot.start_reason = reason
        cold = slot.state is not State.READY
        self._dispatch(Arrived(ticket, model, arrived, self._priority.get(model, 0), force))
        try:
            await granted
            waited = self._clock.monotonic() - arrived
            run = slot.run
            if run is None:
                # It ended between the grant and this task's turn.
                raise UpstreamFailed(
                    f"{model}: its process ended: {slot.last_exit}", details={"model": model}
                )
            yield Lease(model, run.number, run.spec.proxy, waited, cold)
        finally:
            self._waiting.pop(ticket, None)
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._exit(slot)
            self._dispatch(Left(ticket, self._clock.monotonic()))

    async def fate(self, lease: Lease) -> Exit | None:
        """How the run of `lease` ended; None while it lives, after a moment's patience."""
        slot = self._slots[lease.model]
        run = slot.run
        if run is None or run.number != lease.run:
            return slot.last_exit if slot.runs == lease.run else Exit()
        try:
            async with asyncio.timeout(FATE_PATIENCE):
                return await run.wait()
        except TimeoutError:
            return None

    def _enter(self, slot: Slot) -> None:
        slot.active += 1
        self._active += 1

    def _exit(self, slot: Slot) -> None:
        slot.active -= 1
        self._active -= 1
        slot.last_used = self._clock.monotonic()
        if slot.active == 0:
            self._idle[slot.model.id].arm()
        if self._active == 0 and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- for operators ----------------------------------------------------------------------------------

    async def load(self, model: ModelId, reason: StartReason = StartReason.API) -> None:
        """Bring `model` up and return when it is ready; asks past a back-off. Raises as `lease` does."""
        async with self.lease(model, reason=reason, force=True):
            pass

    async def unload(self, model: ModelId, reason: StopReason = StopReason.API) -> None:
        """Stop `model` now, running requests included, and return when its process is gone."""
        slot = self._slots.get(model)
        if slot is None:
            raise NotFound(f"no model called {model!r}", param="model")
        life = slot.life
        self._dispatch(UnloadRequested(model, self._clock.monotonic(), reason))
        if life is not None:
            await asyncio.wait([life])

    async def unload_all(self, reason: StopReason = StopReason.API) -> None:
        """Stop every model side by side and return when all are gone."""
        await asyncio.gather(*(self.unload(model, reason) for model in self._slots))

    def status(self) -> list[ModelStatus]:
        """Every model as it is now, by id."""
        now = self._clock.monotonic()
        return [
            status_of(slot, now, self._scheduler.waiting(model))
            for model, slot in sorted(self._slots.items())
        ]

    def state(self, model: ModelId) -> State:
        """The state of one model's process; for display only, never to decide on."""
        return self._slots[model].state

    def slot(self, model: ModelId) -> Slot:
        """The fleet's record of `model`; not to be changed by others."""
        return self._slots[model]

    # -- shutdown ---------------------------------------------------------------------------------------

    async def close(self, *, drain: float) -> None:
        """Take nothing new, give running requests `drain` seconds to end, then stop everything."""
        self._closing = True
        for waiter in self._waiting.values():
            if not waiter.granted.done():
                waiter.granted.set_exception(ShuttingDown("Hostler is shutting down", retry_after=5))
        if self._active and drain > 0:
            self._hub.proxy.info(f"waiting up to {drain:g} s for {self._active} running request(s)")
            self._drained = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(drain):
                    await self._drained
            except TimeoutError:
                self._hub.proxy.warn(f"{self._active} request(s) did not end in time and are cut off")
        if self._tick is not None:
            self._tick.cancel()
        for timer in self._idle.values():
            timer.cancel()
        lives = [slot.life for slot in self._slots.values() if slot.life is not None]
        self._dispatch(Closing(self._clock.monotonic()))
        for slot in self._slots.values():
            if slot.life is not None and slot.stop_reason is not StopReason.SHUTDOWN:
                # Who is stopping already, with a patience of its own that may be longer than ours.
                self._stop(slot, StopReason.SHUTDOWN)
        if lives:
            await asyncio.wait(lives)
        for slot in self._slots.values():
            self._set_state(slot, State.SHUTDOWN)

    # -- events and commands ----------------------------------------------------------------------------

    def _dispatch(self, event: Event) -> None:
        for command in self._scheduler.handle(event):
            self._carry_out(command)
        if self._waiting:
            self._arm_tick()

    def _carry_out(self, command: Command) -> None:
        match command:
            case Grant(ticket):
                waiter = self._waiting.pop(ticket, None)
                if waiter is not None and not waiter.granted.done():
                    # Counted here and not when its task gets its turn: a shutdown must not overlook it.
                    self._enter(waiter.slot)
                    waiter.granted.set_result(None)
            case Refuse(ticket, refusal):
                waiter = self._waiting.pop(ticket, None)
                if waiter is not None and not waiter.granted.done():
                    waiter.granted.set_exception(refusal_error(refusal))
            case Load(model):
                self._start(self._slots[model])
            case Unload(model, reason):
                self._stop(self._slots[model], reason)
            case _:
                assert_never(command)

    def _arm_tick(self) -> None:
        if self._closing:
            return
        now = self._clock.monotonic()
        wake = self._scheduler.next_wakeup(now)
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if wake is not None:
            self._tick = asyncio.get_running_loop().call_later(max(0.0, wake - now), self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        self._dispatch(Tick(self._clock.monotonic()))

    def _idle_reached(self, model: ModelId) -> None:
        if not self._closing:
            self._dispatch(UnloadRequested(model, self._clock.monotonic(), StopReason.IDLE))

    def _start(self, slot: Slot) -> None:
        slot.runs += 1
        slot.stop_reason = None
        slot.life = aio.spawn(
            self._live(slot, slot.runs, slot.start_reason), name=f"life of {slot.model.id} #{slot.runs}"
        )

    def _stop(self, slot: Slot, reason: StopReason) -> None:
        slot.stop_reason = reason
        if slot.run is not None:
            grace = SHUTDOWN_GRACE if reason is StopReason.SHUTDOWN else None
            aio.spawn(slot.run.stop(reason, grace), name=f"stop of {slot.model.id} #{slot.runs}")

    async def _live(self, slot: Slot, number: int, reason: StartReason) -> None:
        """One life of one process: its events are Loaded and Unloaded, or LoadFailed alone."""
        model = slot.model.id
        try:
            event = await self._run(slot, number, reason)
        except HostlerError as error:
            event = self._failed(slot, error)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave the model stuck
            self._hub.proxy.error(f"{model}: unexpected {type(error).__name__}: {error}")
            event = self._failed(slot, InternalError(f"Hostler failed to run {model!r}: {error}"))
        if slot.run is not None and slot.run.exit is not None:
            slot.last_exit = slot.run.exit
        slot.run = None
        slot.life = None
        self._idle[model].cancel()
        self._set_state(slot, State.STOPPED)
        self._dispatch(event)

    def _failed(self, slot: Slot, error: HostlerError) -> Event:
        now = self._clock.monotonic()
        if slot.stop_reason is not None:
            return Unloaded(slot.model.id, now, crashed=False, error=None)
        slot.last_error = error.message
        self._hub.proxy.error(error.message)
        return LoadFailed(slot.model.id, now, error)

    def _new_run(self, slot: Slot, number: int, reason: StartReason) -> Run:
        model = slot.model
        if slot.last_run is not None:
            # Whatever still holds its pipe must not write into the log of this one.
            slot.last_run.release()
        run = Run(
            self._launcher(model),
            model=model.id,
            number=number,
            reason=reason,
            guardian=self._guardian,
            log=slot.log,
            clock=self._clock,
            on_state=lambda run, state: self._moved(slot, run, state),
        )
        slot.run = slot.last_run = run
        return run

    async def _run(self, slot: Slot, number: int, reason: StartReason) -> Event:
        model = slot.model
        proxy = self._hub.proxy
        run = self._new_run(slot, number, reason)
        if slot.stop_reason is not None:
            # Unloaded before this task had its first step.
            return Unloaded(model.id, self._clock.monotonic(), crashed=False, error=None)
        proxy.info(f"{model.id}: starting run {number} ({reason})")
        began = self._clock.monotonic()
        await run.start()
        now = self._clock.monotonic()
        proxy.info(f"{model.id}: ready after {now - began:.2f} s (run {number}, pid {run.pid})")
        slot.last_used = now
        slot.last_error = ""
        self._dispatch(Loaded(model.id, now))
        self._idle[model.id].arm()
        slot.last_exit = await run.wait()
        asked = self._slots[model.id].stop_reason  # set meanwhile, by `_stop`
        if asked is not None:
            # It is over when what it left in its process group is gone too: that may hold the memory.
            await run.stop(asked)
        crashed = asked is None
        if crashed:
            slot.last_error = f"{slot.last_exit} while running"
            proxy.error(f"{model.id}: run {number} ended by itself: {slot.last_exit}")
        else:
            proxy.info(f"{model.id}: stopped ({asked}): {slot.last_exit}")
        return Unloaded(model.id, self._clock.monotonic(), crashed=crashed, error=slot.last_exit)

    def _moved(self, slot: Slot, run: Run, state: State) -> None:
        # That it stopped is told by the end of its life, when everything else about that is known. A run
        # that has ended may still have its last move to make when the next one has begun.
        if slot.run is run and state is not State.STOPPED:
            self._set_state(slot, state)

    def _set_state(self, slot: Slot, state: State) -> None:
        if slot.state is state:
            return
        slot.state = state
        slot.state_since = self._clock.monotonic()
        for listener in self.listeners:
            listener(slot.model.id, state)

    def model(self, model: ModelId) -> Model:
        """The configuration of `model`."""
        return self._slots[model].model
