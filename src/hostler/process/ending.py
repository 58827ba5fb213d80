"""Ending one engine: ask politely, then insist.

SIGTERM to the group, or the stop command with its output in the model's log; SIGKILL when the grace is over.
A stop command that fails, or takes too long, is followed by SIGTERM. The grace is counted once, from the
first request to stop; a later request can only shorten it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any, Final

from hostler.core import Exit
from hostler.errors import HostlerError
from hostler.process.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hostler.clock import Clock
    from hostler.process.guardian import Child, Guardian

LOG: Final = logging.getLogger("hostler.process")
COMMAND_SHARE: Final = 0.75
"""The part of the grace the stop command may take; the rest is for SIGTERM, should it hang."""
COMMAND_LINGER: Final = 1.0
"""Seconds a stop command may go on after the engine has ended; later it might hit the next run."""
KILL_PATIENCE: Final = 5.0
"""SIGKILL works at once unless the kernel is busy for the process (a GPU driver that frees memory)."""
GONE_PATIENCE: Final = 1.5
"""What the engine left in its group gets SIGTERM, half a second, and SIGKILL."""


class Ending:
    """One stop in progress; `run` does it, `shorten` may be called meanwhile."""

    def __init__(
        self,
        child: Child,
        *,
        name: str,
        guardian: Guardian,
        clock: Clock,
        on_output: Callable[[bytes], None],
        command: Sequence[str] = (),
        env: Sequence[str] = (),
        cwd: str | None = None,
        grace: float,
    ) -> None:
        self._child = child
        self._name = name
        self._guardian = guardian
        self._clock = clock
        self._on_output = on_output
        self._command = tuple(command)
        self._env = tuple(env)
        self._cwd = cwd
        self._began = clock.monotonic()
        self._kill_at = self._began + grace
        self._shortened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def shorten(self, grace: float) -> None:
        """Kill it `grace` seconds from now, unless it would be sooner anyway."""
        kill_at = self._clock.monotonic() + grace
        if kill_at < self._kill_at:
            self._kill_at = kill_at
            if not self._shortened.done():
                self._shortened.set_result(None)

    async def run(self) -> bool:
        """Whether the engine has ended; False when even SIGKILL did not end it in time."""
        child = self._child
        if not child.exited.done():
            done = bool(self._command) and await self._run_command()
            if not done:
                child.signal(signal.SIGTERM)
            await self._wait({child.exited}, lambda: self._kill_at)
        if not child.exited.done():
            child.signal(signal.SIGKILL)
            await asyncio.wait({child.exited}, timeout=KILL_PATIENCE)
        if not child.exited.done():
            LOG.error("%s: process %d is still there after SIGKILL", self._name, child.pid)
            return False
        await asyncio.wait({child.gone}, timeout=GONE_PATIENCE)
        return True

    async def _wait(self, events: set[asyncio.Future[Any]], deadline: Callable[[], float]) -> None:
        """Until one of the events happens or the deadline, which may come nearer, is over."""
        while not any(event.done() for event in events):
            left = deadline() - self._clock.monotonic()
            if left <= 0:
                return
            if self._shortened.done():
                self._shortened = asyncio.get_running_loop().create_future()
            await asyncio.wait({*events, self._shortened}, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _run_command(self) -> bool:
        """Run the stop command; whether the rest is only waiting (it succeeded, or the engine ended)."""
        output = Output(self._on_output, self._on_output)
        try:
            argv = [word.replace("${PID}", str(self._child.pid)) for word in self._command]
            command = await self._guardian.spawn(
                argv, env=self._env, cwd=self._cwd, stdout=output.stdout, stderr=output.stderr
            )
        except (OSError, HostlerError) as error:
            LOG.warning("%s: the stop command could not be started: %s", self._name, error)
            output.close()
            return False
        output.handed_over()
        output.listen()
        try:
            return await self._watch_command(command)
        finally:
            if not command.exited.done():
                command.signal(signal.SIGKILL)
            output.process_ended(hold=0.0)

    async def _watch_command(self, command: Child) -> bool:
        engine = self._child
        reserve = (1 - COMMAND_SHARE) * (self._kill_at - self._began)
        await self._wait({command.exited, engine.exited}, lambda: self._kill_at - reserve)
        if engine.exited.done():
            await asyncio.wait({command.exited}, timeout=COMMAND_LINGER)
            return True
        if not command.exited.done():
            LOG.warning("%s: the stop command takes too long; sending SIGTERM", self._name)
            return False
        end = command.exited.result()
        if end != Exit(code=0):
            LOG.warning("%s: the stop command failed (%s); sending SIGTERM", self._name, end)
        return end == Exit(code=0)
