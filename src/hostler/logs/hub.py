"""All monitors of one Hostler: one for the proxy, one per model, one for all engines, one for everything."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any

from hostler.clock import SYSTEM, Clock
from hostler.logs.files import LogFiles
from hostler.logs.journal import GAP
from hostler.logs.levels import Level
from hostler.logs.monitor import CAPACITY, LogMonitor
from hostler.logs.rate import RateLimit
from hostler.logs.source import SourceLog


class LogHub:
    """The tree of monitors: model → upstream → combined ← proxy. The hub is their only maker.

    What an engine prints reaches `combined` always, whatever is copied to our own stdout. `buffer_bytes` is
    the capacity of each monitor, `keep_runs` how many ended runs of each model stay readable; `level` and
    `time_format` are those of the proxy's lines (engine output is never filtered or stamped).

    `epoch` is new with each hub: it is part of every cursor, so a cursor from an earlier life is recognised.
    """

    def __init__(
        self,
        *,
        buffer_bytes: int = CAPACITY,
        keep_runs: int = 3,
        level: Level | str = Level.INFO,
        time_format: str = "",
        files: LogFiles | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.files = files
        self.epoch = files.epoch if files is not None else os.urandom(4).hex()
        self._was_cut_short = files is not None and files.was_cut_short
        self.first_seq = files.next_seq if files is not None else 1
        self._numbers = itertools.count(self.first_seq)
        self._mask: Callable[[str], str] | None = None
        self._buffer_bytes = buffer_bytes
        self._keep_runs = keep_runs
        self.clock = clock
        self.combined = LogMonitor("combined", epoch=self.epoch, capacity=buffer_bytes, clock=clock)
        self.upstream = LogMonitor(
            "upstream", epoch=self.epoch, capacity=buffer_bytes, parents=(self.combined,), clock=clock
        )
        self.proxy = self._source(
            "proxy", buffer_bytes, parents=(self.combined,), level=level, time_format=time_format
        )
        self._models: dict[str, SourceLog] = {}
        # Of models that are configured no more there may be files: whoever asks can read them, and a reader
        # of everything goes on in them behind its cursor.
        if files is not None:
            for name in files.known:
                if name != "proxy":
                    self.model(name)

    def _source(self, name: str, capacity: int, **options: Any) -> SourceLog:
        known = self.files.known.get(name) if self.files is not None else None
        log = SourceLog(
            name,
            numbers=self._numbers,
            first_seq=known.seq if known else 0,
            first_run=known.run if known else 0,
            epoch=self.epoch,
            capacity=capacity,
            clock=self.clock,
            **({"first_position": known.position} if known else {}) | options,
        )
        log.keep_in(self.files)
        log.configure(mask=self._mask)
        if known is not None and (known.torn or (self._was_cut_short and not known.ended)):
            # A crash tore it, or cut short what was going on: that something is missing here has to show, how
            # much nobody knows.
            log.event(GAP, {"missed": None, "torn": known.torn})
        return log

    def sources(self) -> list[SourceLog]:
        """The logs of all models that have one, and the proxy's."""
        return [*self._models.values(), self.proxy]

    def model(self, model_id: str, buffer_bytes: int | None = None) -> SourceLog:
        """The monitor of a model, made on first use; `buffer_bytes` (None: as it is) is what it keeps."""
        monitor = self._models.get(model_id)
        if monitor is not None and buffer_bytes not in (None, monitor.capacity):
            monitor.resize(buffer_bytes)
        if monitor is None:
            monitor = self._models[model_id] = self._source(
                model_id,
                self._buffer_bytes if buffer_bytes is None else buffer_bytes,
                parents=(self.upstream,),
                keep_runs=self._keep_runs,
            )
        return monitor

    def models(self) -> list[str]:
        """The ids of all models that have a monitor."""
        return list(self._models)

    def find(self, name: str) -> LogMonitor | None:
        """The monitor called `name`: "" is the combined one, then "proxy", "upstream", and ids of models
        that have one; None for anything else.
        """
        match name:
            case "":
                return self.combined
            case "proxy":
                return self.proxy
            case "upstream":
                return self.upstream
            case _:
                return self._models.get(name)

    def configure(
        self,
        *,
        level: Level | str | None = None,
        time_format: str | None = None,
        buffer_bytes: int | None = None,
        keep_runs: int | None = None,
        mask: Callable[[str], str] | None = None,
    ) -> None:
        """Change settings after a reload; None leaves one as it is.

        `mask` takes secrets out of the proxy's lines. `buffer_bytes` is for all but models that have a number
        of their own, `keep_runs` for monitors made from now on.
        """
        self.proxy.configure(level=level, time_format=time_format, mask=mask)
        if mask is not None:
            self._mask = mask
            for log in self._models.values():
                log.configure(mask=mask)
        if buffer_bytes is not None:
            for monitor in (*self.sources(), self.upstream, self.combined):
                if monitor.capacity == self._buffer_bytes:
                    monitor.resize(buffer_bytes)
            self._buffer_bytes = buffer_bytes
        if keep_runs is not None:
            self._keep_runs = keep_runs

    def limit(self, rates: Mapping[str, int]) -> None:
        """Keep no more than so many bytes a second of each of these models' logs; 0 is no bound."""
        for name, rate in rates.items():
            self.model(name).limit(RateLimit(rate, self.clock) if rate else None)

    def close(self) -> None:
        """End the followers of all monitors once they have read what is left."""
        for monitor in (*self._models.values(), self.upstream, self.proxy, self.combined):
            monitor.close()

    def __repr__(self) -> str:
        return f"<LogHub {self.epoch} | {len(self._models)} models, {self.combined.end} B in all>"
