"""The fleet: the single writer of what runs.

Events go to the scheduler one at a time and its commands are carried out at once; whatever takes time
(starting, stopping) is a task that reports back as a later event. Nothing here waits for anything inside an
event, so a slow stop of one model never delays a request for another.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import assert_never

from hostler.clock import SYSTEM, Clock
from hostler.config.commands import split_command
from hostler.config.diff import process_differs
from hostler.config.schema import Config, Model
from hostler.core import ModelId, StartReason, State, StopReason
from hostler.errors import NotFound, ShuttingDown, UpstreamFailed
from hostler.fleet.idle import IdleTimer
from hostler.fleet.lease import Held, Lease, Leasing, Waiting, lease_of
from hostler.fleet.lives import Lives
from hostler.fleet.refusals import refusal_error
from hostler.fleet.slot import Launcher, ModelStatus, Slot, log_rates, status_of
from hostler.logs.hub import LogHub
from hostler.process.guardian import Guardian
from hostler.scheduler.core import Limits, Scheduler
from hostler.scheduler.events import (
    Arrived,
    Closing,
    Command,
    Event,
    Grant,
    Left,
    Load,
    Refuse,
    Tick,
    Unload,
    UnloadRequested,
)
from hostler.scheduler.policy import Policy

StateListener = Callable[[ModelId, State], None]


def _limits(config: Config) -> dict[ModelId, Limits]:
    return {m.id: Limits(m.concurrency_limit, m.queue_limit) for m in config.models.values()}


class Fleet:
    """Every model's process, and who may use it; all on one event loop.

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
        self._clock = clock
        self._lives = Lives(
            launcher=launcher,
            guardian=guardian,
            proxy=hub.proxy,
            clock=clock,
            on_state=self._set_state,
            on_ready=self._ready,
            on_end=self._ended,
        )
        self._slots: dict[ModelId, Slot] = {}
        self._idle: dict[ModelId, IdleTimer] = {}
        for model in config.models.values():
            self._add(model)
        self._hub.limit(log_rates(config))
        self._priority: Mapping[ModelId, int] = config.routing.fifo.priority
        self._scheduler = Scheduler(policy, limits=_limits(config), max_wait=config.routing.fifo.max_wait)
        self._waiting: dict[int, Waiting] = {}
        self._tickets = itertools.count(1)
        self._tick: asyncio.TimerHandle | None = None
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._active = 0
        self._drained: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        states = [slot.state for slot in self._slots.values()]
        return (
            f"<Fleet {states.count(State.READY)} ready, {states.count(State.STARTING)} loading "
            f"| {self._active} leases, {len(self._waiting)} waiting>"
        )

    # -- for requests -----------------------------------------------------------------------------------

    def lease(
        self,
        model: ModelId,
        *,
        reason: StartReason = StartReason.REQUEST,
        force: bool = False,
        on_wait: Callable[[int], None] | None = None,
    ) -> Leasing:
        """Wait until `model` is ready for this request, and hold it until the block ends.

        For `async with`. `on_wait` gets its ticket if it has to wait at all. Cancelling is safe at any time.
        Raises NotFound, QueueFull, StartFailed, BackedOff, Unloaded or ShuttingDown.
        """
        return Leasing(self, model, reason, force, on_wait)

    def enter(self, leasing: Leasing, reason: StartReason, force: bool) -> None:
        """Put a request into line; only `Leasing` calls this."""
        slot, ticket = self._admit(leasing.model), next(self._tickets)
        leasing.slot, leasing.ticket = slot, ticket
        leasing.arrived = self._clock.monotonic()
        self._loop = self._loop or asyncio.get_running_loop()  # kept: a system call in Python 3.11
        granted = leasing.granted = self._loop.create_future()
        self._waiting[ticket] = Waiting(slot, granted)
        if slot.life is None or slot.stop_reason is not None:
            slot.start_reason = reason
        leasing.cold = slot.state is not State.READY
        priority = self._priority.get(slot.model.id, 0)
        self._dispatch(Arrived(ticket, slot.model.id, leasing.arrived, priority, force))

    def leave(self, slot: Slot, ticket: int, granted: asyncio.Future[None]) -> None:
        """Let go of a place in line, or of the model; only `Leasing` calls this."""
        self._waiting.pop(ticket, None)
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            self._exit(slot)
        self._dispatch(Left(ticket, self._clock.monotonic()))

    def lease_now(self, model: ModelId) -> Held | None:
        """A lease that nobody has to wait for, until `let_go`; None, and nothing done, if there is none."""
        slot = self._slots.get(model)
        if slot is None or slot.removed or slot.run is None or self._closing:
            return None
        ticket = next(self._tickets)
        if not self._scheduler.grant_now(ticket, model):
            return None
        self._enter(slot)
        lease = slot.lease
        if lease is None or lease.run != slot.run.number:
            lease = slot.lease = lease_of(slot.run, model, self._priority)
        return Held(slot, ticket, lease)

    def let_go(self, held: Held) -> None:
        """The end of what `lease_now` gave."""
        self._exit(held.slot)
        for command in self._scheduler.leave(held.ticket, held.slot.last_used):
            self._carry_out(command)
        if self._waiting:
            self._arm_tick()

    def _admit(self, model: ModelId) -> Slot:
        slot = self._slots.get(model)
        if slot is None or slot.removed:
            what = "no model called" if slot is None else "no longer configured:"
            raise NotFound(f"{what} {model!r}", param="model")
        if self._closing:
            raise ShuttingDown("Hostler is shutting down", retry_after=5)
        return slot

    def lease_of(self, slot: Slot, arrived: float, cold: bool) -> Lease:
        """What a granted request holds; only `Leasing` calls this. Raises UpstreamFailed."""
        run, model = slot.run, slot.model.id
        if run is None:
            # It ended between the grant and this task's turn.
            raise UpstreamFailed(f"{model}: its process ended: {slot.last_exit}", details={"model": model})
        waited = self._clock.monotonic() - arrived
        loading = run.loaded_since(arrived) if cold else 0.0
        return lease_of(run, model, self._priority, waited, cold, loading)

    def _enter(self, slot: Slot) -> None:
        slot.active += 1
        self._active += 1

    def _exit(self, slot: Slot) -> None:
        slot.active -= 1
        self._active -= 1
        slot.last_used = self._clock.monotonic()
        if slot.active == 0:
            self._idle[slot.model.id].arm()
        self._forget_removed(slot)
        if self._active == 0 and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- for a reload -----------------------------------------------------------------------------------

    def replace(self, config: Config, *, policy: Policy, launcher: Launcher) -> None:
        """Go on with another configuration, in one step; nothing that runs is cut off.

        What needs no other process counts at once. A model whose process would be started differently ends
        what it has begun and is started anew when it is next needed; one that is gone serves whom it has let
        in and is stopped.
        """
        self._lives.launcher = launcher
        self._priority = config.routing.fifo.priority
        self._hub.limit(log_rates(config))
        changed = [model.id for model in config.models.values() if self._take(model)]
        for model_id in self._slots.keys() - config.models.keys():
            self._slots[model_id].removed = True
        commands = self._scheduler.replace(
            now=self._clock.monotonic(),
            policy=policy,
            limits=_limits(config),
            max_wait=config.routing.fifo.max_wait,
            stale={model_id for model_id, slot in self._slots.items() if slot.stale},
            changed=changed,
        )
        for command in commands:
            self._carry_out(command)
        if not self._closing:
            self._arm_tick()
        for slot in list(self._slots.values()):
            slot.lease = None  # it may say another priority now
            self._forget_removed(slot)

    def _take(self, model: Model) -> bool:
        """Use this definition of a model from now on; whether a process of it would be another one."""
        slot = self._slots.get(model.id)
        if slot is None:
            self._add(model)
            return False
        differs = process_differs(slot.model, model)
        slot.model = model
        slot.removed = False
        if slot.run is not None and not slot.stale:
            slot.run.end_like(tuple(split_command(model.cmd_stop)), model.unload_timeout)
        self._idle[model.id].ttl_changed()
        return differs

    def _add(self, model: Model) -> None:
        log = self._hub.model(model.id, model.logs.buffer_bytes)
        slot = Slot(model, log, runs=log.run)
        slot.state_since = self._clock.monotonic()
        self._slots[model.id] = slot
        self._idle[model.id] = IdleTimer(slot, self._idle_reached, self._clock)

    def _forget_removed(self, slot: Slot) -> None:
        """Drop a model that is no longer configured, once nothing of it is left."""
        if slot.removed and slot.life is None and slot.active == 0 and not self._closing:
            self._idle.pop(slot.model.id).cancel()
            del self._slots[slot.model.id]

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

    def requests(self, model: ModelId) -> int:
        """How many requests use `model` or wait for it; for display and for choosing among models."""
        return self._slots[model].active + self._scheduler.waiting(model)

    def position(self, ticket: int) -> int | None:
        """The place of a waiting ticket among all that wait, from 1; None when it does not wait."""
        return self._scheduler.position(ticket)

    def state(self, model: ModelId) -> State:
        """The state of one model's process; for display only, never to decide on."""
        return self._slots[model].state

    def is_ready(self, model: ModelId) -> bool:
        """Whether `model` could serve a request without being loaded."""
        return self._slots[model].state is State.READY

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
                self._lives.stop(slot, StopReason.SHUTDOWN)
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
                self._lives.start(self._slots[model])
            case Unload(model, reason):
                self._lives.stop(self._slots[model], reason)
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

    def _ready(self, slot: Slot, event: Event) -> None:
        self._dispatch(event)
        self._idle[slot.model.id].arm()

    def _ended(self, slot: Slot, event: Event) -> None:
        self._idle[slot.model.id].cancel()
        self._set_state(slot, State.STOPPED)
        self._dispatch(event)
        self._forget_removed(slot)

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
