"""The life of a process, from the command to start it to the event that says it is over.

Each life is one task and reports exactly one end; nothing here decides whether a process should live.
"""

from __future__ import annotations

from collections.abc import Callable

from hostler import aio
from hostler.clock import Clock
from hostler.core import StartReason, State, StopReason
from hostler.errors import HostlerError, InternalError
from hostler.fleet.slot import Launcher, Slot
from hostler.logs.monitor import LogMonitor
from hostler.process import chronicle
from hostler.process.guardian import Guardian
from hostler.process.run import Run
from hostler.scheduler.events import Event, Loaded, LoadFailed, Unloaded

# Seconds an engine gets to end by itself when Hostler stops; llama-swap's 30 s are shared by everything.
SHUTDOWN_GRACE = 10.0


class Lives:
    """Starts and stops the processes of slots.

    `launcher` may be replaced at any time; it counts for starts from then on. `on_state(slot, state)` is told
    every move but the last, `on_ready(slot, event)` and `on_end(slot, event)` what the scheduler has to know.
    """

    def __init__(
        self,
        *,
        launcher: Launcher,
        guardian: Guardian,
        proxy: LogMonitor,
        clock: Clock,
        on_state: Callable[[Slot, State], None],
        on_ready: Callable[[Slot, Event], None],
        on_end: Callable[[Slot, Event], None],
    ) -> None:
        self.launcher = launcher
        self._guardian = guardian
        self._proxy = proxy
        self._clock = clock
        self._on_state = on_state
        self._on_ready = on_ready
        self._on_end = on_end

    def start(self, slot: Slot) -> None:
        """Begin the next run of `slot`."""
        slot.runs += 1
        slot.stop_reason = None
        slot.launched = slot.model
        slot.life = aio.spawn(
            self._live(slot, slot.runs, slot.start_reason), name=f"life of {slot.model.id} #{slot.runs}"
        )

    def stop(self, slot: Slot, reason: StopReason) -> None:
        """End the run there is; of one that is ending, a shutdown may shorten the grace."""
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
            self._proxy.error(f"{model}: unexpected {type(error).__name__}: {error}")
            event = self._failed(slot, InternalError(f"Hostler failed to run {model!r}: {error}"))
        if slot.run is not None and slot.run.exit is not None:
            slot.last_exit = slot.run.exit
        slot.run = None
        slot.life = None
        slot.launched = None
        self._on_end(slot, event)

    def _failed(self, slot: Slot, error: HostlerError) -> Event:
        now = self._clock.monotonic()
        if slot.stop_reason is not None:
            return Unloaded(slot.model.id, now, crashed=False, error=None)
        slot.last_error = error.message
        self._proxy.error(error.message)
        return LoadFailed(slot.model.id, now, error)

    def _new_run(self, slot: Slot, number: int, reason: StartReason) -> Run:
        model = slot.model
        if slot.last_run is not None:
            # Whatever still holds its pipe must not write into the log of this one.
            slot.last_run.release()
        try:
            spec = self.launcher(model)
        except HostlerError as error:
            self._on_state(slot, State.STARTING)  # whoever counts and tells hears of it like of any other
            chronicle.never_began(slot.log, number, reason, error.message)
            raise
        run = Run(
            spec,
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
        model = slot.model.id
        if slot.last_run is not None:
            # A crash is over when what the process left in its group is gone too: that may hold the memory.
            await slot.last_run.gone()
        if slot.stop_reason is not None:
            # Unloaded before there was anything to stop.
            return Unloaded(model, self._clock.monotonic(), crashed=False, error=None)
        run = self._new_run(slot, number, reason)
        self._proxy.info(f"{model}: starting run {number} ({reason})")
        began = self._clock.monotonic()
        await run.start()
        now = self._clock.monotonic()
        self._proxy.info(f"{model}: ready after {now - began:.2f} s (run {number}, pid {run.pid})")
        slot.last_used = now
        slot.last_error = ""
        self._on_ready(slot, Loaded(model, now))
        slot.last_exit = await run.wait()
        return await self._over(slot, run)

    async def _over(self, slot: Slot, run: Run) -> Event:
        model, asked = slot.model.id, slot.stop_reason
        if asked is not None:
            # It is over when what it left in its process group is gone too.
            await run.stop(asked)
            self._proxy.info(f"{model}: stopped ({asked}): {slot.last_exit}")
        else:
            slot.last_error = f"{slot.last_exit} while running"
            self._proxy.error(f"{model}: run {run.number} ended by itself: {slot.last_exit}")
        return Unloaded(model, self._clock.monotonic(), crashed=asked is None, error=slot.last_exit)

    def _moved(self, slot: Slot, run: Run, state: State) -> None:
        # That it stopped is told by the end of its life, when everything else about that is known. A run
        # that has ended may still have its last move to make when the next one has begun.
        if slot.run is run and state is not State.STOPPED:
            self._on_state(slot, state)
