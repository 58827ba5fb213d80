"""Reading the configuration again while everything runs.

One reload at a time: one that is asked for meanwhile is done afterwards, once for all who asked. A
configuration that cannot be used changes nothing, and the log says where it is wrong.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hostler import aio
from hostler.config.diff import Plan, plan
from hostler.config.parse import Loaded
from hostler.config.problems import ConfigProblems, Problem
from hostler.config.schema import Config
from hostler.config.watch import watch
from hostler.errors import HostlerError, InternalError
from hostler.logs.monitor import LogMonitor


class ConfigSource(Protocol):
    """Where a configuration comes from."""

    def load(self, previous: Config | None = None) -> Loaded:
        """Read it; models of `previous` keep their ports. Blocks. Raises ConfigProblems."""
        ...

    def watched(self) -> tuple[tuple[Path, ...], Path | None]:
        """The files and the directory to look at for changes."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload changes, and what is to be said about the new configuration."""

    plan: Plan
    warnings: tuple[Problem, ...] = ()


class Reloader:
    """Replaces the running configuration by what its source says now; the only one that does.

    `apply` carries a new configuration out in one step; it may raise HostlerError before it changed anything.
    """

    def __init__(
        self, source: ConfigSource, config: Config, *, apply: Callable[[Config], None], log: LogMonitor
    ) -> None:
        self._source = source
        self._config = config
        self._apply = apply
        self._log = log
        self._next: asyncio.Future[Outcome] | None = None
        self._work: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Reloader {'idle' if self._work is None else 'reloading'}>"

    async def plan(self) -> Outcome:
        """What a reload would do now. Raises ConfigProblems."""
        loaded = await asyncio.to_thread(self._source.load, self._config)
        return self._outcome(loaded)

    async def reload(self) -> Outcome:
        """Read the configuration and use it; returns what changed. Raises ConfigProblems.

        Whatever is in the files when this is called is read.
        """
        return await asyncio.shield(self._ask())

    def request(self, why: str) -> None:
        """Reload soon, for `why`; how it ended goes to the log alone."""
        self._log.info(f"{why}: reading the configuration again")
        # Nobody waits for it; the exception has been logged.
        self._ask().add_done_callback(lambda done: done.cancelled() or done.exception())

    def start_watching(self) -> None:
        """Reload whenever a file of the source changes."""
        files, directory = self._source.watched()
        self._watch = aio.spawn(
            watch(files, directory, lambda: self.request("a configuration file has changed")),
            name="watch the configuration",
        )

    async def close(self) -> None:
        """Watch no longer, and give up a reload that is under way."""
        await aio.cancel_and_wait(task for task in (self._watch, self._work) if task is not None)
        if self._next is not None:
            self._next.cancel()

    def _ask(self) -> asyncio.Future[Outcome]:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._work is None:
            self._work = aio.spawn(self._run(), name="reload")
        return self._next

    async def _run(self) -> None:
        try:
            while self._next is not None:
                waiting, self._next = self._next, None
                try:
                    outcome = await self._once()
                except asyncio.CancelledError:
                    waiting.cancel()
                    raise
                except HostlerError as error:
                    waiting.set_exception(error)
                    waiting.exception()  # observed: perhaps nobody waits any more
                else:
                    waiting.set_result(outcome)
        finally:
            self._work = None

    async def _once(self) -> Outcome:
        try:
            loaded = await asyncio.to_thread(self._source.load, self._config)
            outcome = self._outcome(loaded)
            self._apply(loaded.config)
        except HostlerError as error:
            self._say_failed(error)
            raise
        except Exception as error:
            self._log.error(f"unexpected {type(error).__name__} in a reload: {error}")
            raise InternalError("the configuration could not be reloaded; the log says why") from error
        self._config = loaded.config
        self._say(outcome)
        return outcome

    def _outcome(self, loaded: Loaded) -> Outcome:
        difference = plan(self._config, loaded.config, windows=sys.platform == "win32")
        return Outcome(difference, tuple(loaded.warnings))

    def _say(self, outcome: Outcome) -> None:
        for warning in outcome.warnings:
            self._log.warn(str(warning))
        self._log.info(f"configuration reloaded: {outcome.plan.summary()}")
        if outcome.plan.needs_restart:
            keys = ", ".join(outcome.plan.needs_restart)
            self._log.warn(f"{keys}: this change counts when Hostler is started again")

    def _say_failed(self, error: HostlerError) -> None:
        self._log.error("the configuration was not reloaded; the old one stays in use:")
        lines = [str(p) for p in error.problems] if isinstance(error, ConfigProblems) else [error.message]
        for line in lines:
            self._log.error(f"  {line}")
