"""Everything that observes, as one object with one life: store, captures, events, numbers, the machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hostler.clock import SYSTEM, Clock
from hostler.config.schema import Config, Telemetry
from hostler.metrics.activity import ActivityStore
from hostler.metrics.bus import EventBus
from hostler.metrics.captures import MEGABYTE, Captures
from hostler.metrics.families import ModelFamilies, RequestFamilies
from hostler.metrics.hardware import describe
from hostler.metrics.performance import PerformanceMonitor, stamp
from hostler.metrics.prometheus import add_machine
from hostler.metrics.recorder import Recorder
from hostler.metrics.registry import Registry
from hostler.metrics.settings import StoreSettings
from hostler.metrics.tracing import Tracer
from hostler.metrics.worker import Worker


def settings_of(config: Config) -> StoreSettings:
    """Where `config` wants its activity."""
    return StoreSettings(
        path=Path(config.store_path) if config.store_path else None,
        memory_rows=config.metrics_max_in_memory,
        retention_days=config.store_retention_days,
        max_rows=config.store_max_rows,
    )


class Observatory:
    """The parts; `on_problem` and `on_news` are told what belongs into the log."""

    def __init__(
        self,
        config: Config,
        *,
        version: str,
        on_problem: Callable[[str], None],
        on_news: Callable[[str], None] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._config = config
        self._version = version
        self._on_problem = on_problem
        self._clock = clock
        self.bus = EventBus()
        self.registry = Registry()
        self.store = ActivityStore(settings_of(config), on_problem=on_problem, on_news=on_news, clock=clock)
        self.captures = Captures(config.capture_buffer * MEGABYTE, on_problem=on_problem)
        self.performance = PerformanceMonitor(
            every=config.performance.every, enabled=not config.performance.disabled, clock=clock
        )
        self.requests = RequestFamilies(self.registry, self.knows)
        self.models = ModelFamilies(self.registry)
        add_machine(self.registry, self.performance)
        self.recorder = Recorder(
            store=self.store,
            captures=self.captures,
            bus=self.bus,
            families=self.requests,
            on_bug=on_problem,
            clock=clock,
        )
        self._asking = Worker("hardware", bound=8)
        self._trace(config.telemetry)
        self._hardware: Future[dict[str, Any]] | None = None

    def knows(self, model: str) -> bool:
        """Whether `model` is one of the configuration, a peer's included; keeps labels few."""
        config = self._config
        if model in config.models:
            return True
        peer, _, name = model.partition("/")
        return peer in config.peers and name in config.peers[peer].models

    def start(self) -> None:
        """Begin to sample the machine."""
        self.performance.start()

    def replace(self, config: Config) -> None:
        """Go on with another configuration; what was recorded and captured stays.

        Another `store.path` counts from the next start, which is said.
        """
        if config.store_path != self._config.store_path:
            self._on_problem("store.path has changed: that takes effect at the next start of Hostler")
        if config.telemetry != self._config.telemetry:
            self._trace(config.telemetry)
        self._config = config
        self.requests.look_again()
        self.store.configure(settings_of(config))
        self.captures.resize(config.capture_buffer * MEGABYTE)
        self.performance.configure(every=config.performance.every, enabled=not config.performance.disabled)

    def _trace(self, telemetry: Telemetry) -> None:
        """Make traces, or none; the one that made them until now sends what it has, on another thread."""
        before, self.recorder.tracer = self.recorder.tracer, None
        if before is not None:
            self._asking.submit(before.close, urgent=True)
        if not telemetry.endpoint:
            return
        try:
            self.recorder.tracer = Tracer(telemetry, version=self._version, on_problem=self._on_problem)
        except ModuleNotFoundError:
            self._on_problem("telemetry: no traces are sent, that needs: pip install 'hostler[otel]'")

    async def hardware(self) -> dict[str, Any]:
        """What this machine is; found out with the first question. Raises OSError and the like."""
        if self._hardware is None or (self._hardware.done() and self._hardware.exception()):
            self._hardware = self._asking.submit(self._describe)
        return await asyncio.wrap_future(self._hardware)

    def _describe(self) -> dict[str, Any]:
        from hostler.metrics.gpu_source import Gpus

        gpus = Gpus()
        try:
            found = gpus.sample(self._clock.monotonic())
        finally:
            gpus.close()
        now = stamp(self._clock.wall().timestamp())
        return describe(found, captured_at=now, version=self._version)

    async def close(self) -> None:
        """Write what is left and end every listener. Any number of times."""
        self.recorder.flush()
        self.bus.close()
        self.performance.close()
        self.captures.close()
        tracer, self.recorder.tracer = self.recorder.tracer, None
        if tracer is not None:
            await asyncio.to_thread(tracer.close)
            tracer.tell()
        self._asking.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self.store.close()
