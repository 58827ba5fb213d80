"""A run: one life of one process of a model, from its start to its last byte.

`start` brings it to ready or raises `StartFailed`; `stop` ends it; `wait` returns when it has ended. The
end of the process and the end of its output are different events, and only the first one counts. A run is
started once: the next life of the model is the next run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hostler import aio
from hostler.clock import SYSTEM, Clock
from hostler.core import Exit, ModelId, StartReason, State, StopReason
from hostler.errors import StartFailed
from hostler.process import chronicle, http_check, port, probe
from hostler.process.causes import Cause, UserRule
from hostler.process.ending import GONE_PATIENCE, Ending
from hostler.process.failure import GUESS_LINES, Failures
from hostler.process.guardian import Child, Guardian, SpawnError
from hostler.process.log import Log
from hostler.process.machine import Machine
from hostler.process.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

ABORT_GRACE: Final = 5.0
"""The longest an engine gets to end itself when its start has failed or nobody wants it any more."""
PORT_PATIENCE: Final = 1.0
"""Seconds the previous run of the model may take to let go of the port."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What to run and how to treat it.

    `env` is a list of `K=V` added to our environment, `${PID}` in `stop_argv` becomes the process id, and a
    `check_path` of None means ready as soon as it is spawned. `start_timeout` begins to count when
    `startup_grace` is over.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str | None = None
    stop_argv: tuple[str, ...] = ()
    proxy: str = ""
    check_path: str | None = "/health"
    start_timeout: float = 120.0
    startup_grace: float = 0.0
    stop_grace: float = 10.0
    causes: tuple[UserRule, ...] = ()


class _UnreadyError(Exception):
    """It will not become ready; the reason is in the run."""


class Run:
    """One life of one process. All of its state is written by its own methods, on one event loop."""

    def __init__(
        self,
        spec: RunSpec,
        *,
        model: ModelId,
        number: int,
        reason: StartReason,
        guardian: Guardian,
        log: Log,
        clock: Clock = SYSTEM,
        on_state: Callable[[Run, State], None] | None = None,
    ) -> None:
        self.spec = spec
        self.model = model
        self.number = number
        self.reason = reason
        self.stop_reason: StopReason | None = None
        self.exit: Exit | None = None
        self.started_at: float | None = None
        self.ready_at: float | None = None
        self.ended_at: float | None = None
        self.cause: Cause | None = None  # why it failed, if it did and that can be told
        self.peak_memory: int | None = None  # bytes, as far as it is known
        self._guardian = guardian
        self._log = log
        self._clock = clock
        self._on_state = on_state
        self._machine = Machine(self._moved)
        self._failures = Failures(model, number, spec.causes)
        self._child: Child | None = None
        self._output: Output | None = None
        self.log_from = 0  # where it begins in the log of its model
        self._ending: Ending | None = None
        self._grace = spec.stop_grace
        self._said = "nothing yet"
        self._printed = asyncio.Event()
        self._died: tuple[Exit, float] | None = None  # by itself, while it was starting
        self._asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # to stop
        self._ended = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def pid(self) -> int | None:
        """The process id, from the spawn on."""
        return self._child.pid if self._child is not None else None

    @property
    def cursor(self) -> str:
        """Where it begins in the log of its model."""
        return self._failures.cursor

    def _moved(self, _before: State, after: State) -> None:
        if after is State.STOPPED:
            self._stopped.set()
            self._ended.set()
        if self._on_state is not None:
            self._on_state(self, after)

    # -- starting ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Until it is ready; raises `StartFailed`. When cancelled, the process is ended first."""
        if self.started_at is not None:
            raise RuntimeError("a run is started once")
        self.started_at = self._clock.monotonic()
        self.log_from = self._log.end
        self._failures.cursor = self._log.mark()
        self._log.begin_run(self.number)
        self._machine.to(State.STARTING)
        try:
            target = await self._target()
            child = await self._spawn()
            await self._become_ready(child, target)
        except BaseException as error:
            if self.stop_reason is None:
                self.stop_reason = StopReason.START_FAILED
            if self._child is None:
                self._never_began(error)
            # Shielded only so that the undoing goes on when it is interrupted once more.
            await asyncio.shield(aio.spawn(self._abort(), name=f"abort {self.model} #{self.number}"))
            if isinstance(error, _UnreadyError):
                raise self._explain() from None
            raise

    async def _target(self) -> http_check.Target | None:
        """Where to ask whether it is ready, when nobody answers there yet."""
        if self.spec.check_path is None:
            return None
        try:
            target = http_check.Target.parse(self.spec.proxy, self.spec.check_path)
        except ValueError as error:
            raise self._failures.bad_proxy(error) from error
        if target.loopback:
            look = port.held(target.addresses, target.port, PORT_PATIENCE)
            if await self._race(aio.spawn(look, name=f"port check {self.model}")):
                who = await asyncio.to_thread(port.holder, target.port)
                raise self._failures.port_held(target.port, who)
        return target

    async def _spawn(self) -> Child:
        self._output = output = Output(
            lambda data: self._wrote(data, "stdout"), lambda data: self._wrote(data, "stderr")
        )
        spec = self.spec
        try:
            child = await self._guardian.spawn(
                spec.argv, env=spec.env, cwd=spec.cwd, stdout=output.stdout, stderr=output.stderr
            )
        except BaseException as error:
            output.close()
            if isinstance(error, SpawnError):
                raise self._failures.not_spawned(error) from error
            raise
        output.handed_over()
        self._child = child
        self._log.event("start", chronicle.beginning(self))
        output.listen()
        child.exited.add_done_callback(lambda exited: self._exited(exited.result()))
        return child

    async def _become_ready(self, child: Child, target: http_check.Target | None) -> None:
        if target is not None:
            deadline = self._clock.monotonic() + self.spec.startup_grace + self.spec.start_timeout
            probing = aio.spawn(self._probe(target, deadline), name=f"probe {self.model}")
            if not await self._race(probing):
                raise _UnreadyError
        elif self._asked.done() or child.exited.done():
            raise _UnreadyError
        self.ready_at = self._clock.monotonic()
        self._machine.to(State.READY)

    async def _race(self, work: asyncio.Task[T]) -> T:
        """What `work` returns; an error when the end of the process or a request to stop was first."""
        events: set[asyncio.Future[Any]] = {work, self._asked}
        if self._child is not None:
            events.add(self._child.exited)
        try:
            done, _ = await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if done != {work}:
                raise _UnreadyError
            return work.result()
        finally:
            work.cancel()

    async def _probe(self, target: http_check.Target, deadline: float) -> bool:
        """Ask until the answer is yes; False when the deadline has passed."""
        pacing = probe.Pacing()
        while (left := deadline - self._clock.monotonic()) > 0:
            self._printed.clear()
            result: int | Exception
            try:
                result = await http_check.get_status(target, probe.try_timeout(left))
            except (OSError, ValueError) as error:
                result = error
            outcome = probe.classify(result)
            if outcome.ready:
                return True
            if left > probe.SHORT_TRY or not isinstance(result, TimeoutError):
                self._said = outcome.said
            # Elsewhere a refusal takes a way there and back, and tells as little as silence.
            pause = pacing.next(refused=target.loopback and isinstance(result, ConnectionRefusedError))
            await self._pause(min(pause, max(0.0, deadline - self._clock.monotonic())))
            if self._printed.is_set():
                pacing.output_seen()
        return False

    async def _pause(self, pause: float) -> None:
        """Wait before the next try; output ends it, but never before `PAUSE_AFTER_OUTPUT`."""
        first = min(pause, probe.PAUSE_AFTER_OUTPUT)
        await asyncio.sleep(first)
        if pause > first:
            try:
                async with asyncio.timeout(pause - first):
                    await self._printed.wait()
            except TimeoutError:
                pass

    def _never_began(self, error: BaseException) -> None:
        """There is no process, and its failure is in the log all the same."""
        known = error.details.get("cause") if isinstance(error, StartFailed) else None
        if isinstance(known, dict):
            self.cause = Cause(**known)
        self.ended_at = self._clock.monotonic()
        self._log.event("start", chronicle.beginning(self))
        self._log.event("exit", chronicle.ending(self))
        self._log.end_run(self.number)

    def _explain(self) -> StartFailed:
        """The error for a start that did not get there, told when the process has ended."""
        lines = self.last_lines(GUESS_LINES)
        if self._died is not None:
            return self._failures.exited(*self._died, lines, self.cause)
        if self._asked.done():
            return self._failures.cancelled(self.exit, lines)
        return self._failures.not_ready(self._waited, self._said, lines, self.exit, self.cause)

    @property
    def _waited(self) -> float:
        return self.spec.startup_grace + self.spec.start_timeout

    async def _abort(self) -> None:
        child = self._child
        if child is not None and not child.exited.done():
            self._begin_end(self._grace if self._asked.done() else min(self._grace, ABORT_GRACE))
            await self._stopped.wait()
        elif self._machine.state is not State.STOPPED:
            self._machine.to(State.STOPPED)

    # -- ending --------------------------------------------------------------------------------------

    async def stop(self, reason: StopReason, grace: float | None = None) -> None:
        """End it and return when it has ended; SIGKILL when `grace` (or the model's own) is over.

        All callers share one stop; a later one may shorten the grace. Of a run that is not alive, a no-op.
        """
        if self._machine.state is State.STOPPED:
            return
        grace = self.spec.stop_grace if grace is None else grace
        if not self._asked.done():
            self._asked.set_result(None)
            self._grace = grace
        self._grace = min(self._grace, grace)
        if self.stop_reason is None:
            self.stop_reason = reason
        if self._machine.state is State.READY:
            self._machine.to(State.STOPPING)
        if self._child is not None:
            self._begin_end(grace)
        await self._stopped.wait()

    def _begin_end(self, grace: float) -> None:
        """Start the one stop there is, or give it less time."""
        assert self._child is not None
        if self._ending is not None:
            self._ending.shorten(grace)
            return
        self._ending = Ending(
            self._child,
            name=self.model,
            guardian=self._guardian,
            clock=self._clock,
            on_output=self._log.write,
            command=self.spec.stop_argv,
            env=self.spec.env,
            cwd=self.spec.cwd,
            grace=grace,
        )
        aio.spawn(self._end(self._ending), name=f"stop {self.model} #{self.number}")

    async def _end(self, ending: Ending) -> None:
        try:
            if not await ending.run():
                self._exited(Exit())
        finally:
            if self._machine.state in (State.STARTING, State.STOPPING):
                self._machine.to(State.STOPPED)

    def _exited(self, end: Exit) -> None:
        """The process has ended. Its output has not, perhaps, but all it wrote itself is in the pipe."""
        if self.exit is not None:
            return
        self.exit = end
        self.ended_at = self._clock.monotonic()
        if self._output is not None:
            self._output.process_ended()
        self.memory_seen(self._child.peak_memory if self._child is not None else None)
        self._judge(end)
        self._log.event("exit", chronicle.ending(self))
        self._log.end_run(self.number)
        self._ended.set()
        if self._machine.state is State.STARTING and self._ending is None and self.started_at is not None:
            self._died = (end, self.ended_at - self.started_at)
        if self._machine.state is State.READY:
            self.stop_reason = StopReason.EXITED
            self._machine.to(State.STOPPED)

    def _judge(self, end: Exit) -> None:
        """Find out why it failed, if it did: once, since that is work."""
        if self.stop_reason not in (None, StopReason.START_FAILED):
            return
        lines = self.last_lines(GUESS_LINES)
        if self.stop_reason is None:
            self.cause = self._failures.of_end(lines, end)
        else:
            self.cause = self._failures.of_deadline(lines, self._said)

    def memory_seen(self, size: int | None) -> None:
        """Somebody looked how many bytes its processes have in memory; the most counts."""
        if size is not None:
            self.peak_memory = max(size, self.peak_memory or 0)

    def last_lines(self, count: int) -> list[str]:
        """The newest lines of its log."""
        return self._log.tail(count, self.log_from)

    async def wait(self) -> Exit:
        """Until the process has ended, whoever may still hold its output; of a run without one, at once."""
        await self._ended.wait()
        return self.exit or Exit()

    def loaded_since(self, moment: float) -> float:
        """Seconds it took to become ready, from `moment` (monotonic) or its start, whichever was later."""
        if self.started_at is None or self.ready_at is None:
            return 0.0
        return max(0.0, self.ready_at - max(self.started_at, moment))

    async def gone(self) -> None:
        """Until nothing of its process group is left either, as far as that can be waited for."""
        if self._child is not None:
            await asyncio.wait({self._child.gone}, timeout=GONE_PATIENCE)

    def end_like(self, stop_argv: tuple[str, ...], stop_grace: float) -> None:
        """Stop it with this command and grace instead, unless its stop has begun."""
        self.spec = replace(self.spec, stop_argv=stop_argv, stop_grace=stop_grace)
        if not self._asked.done():
            self._grace = stop_grace

    def release(self) -> None:
        """Let go of a pipe that a grandchild still holds; call it before the next run of the model."""
        if self._output is not None and self.exit is not None:
            self._output.close()

    def _wrote(self, data: bytes, stream: str) -> None:
        self._log.take(data, stream)
        self._printed.set()

    def __repr__(self) -> str:
        end = f" | {self.exit}" if self.exit is not None else ""
        return f"<Run {self.model} #{self.number} {self.state.value} | pid {self.pid or '-'}{end}>"
