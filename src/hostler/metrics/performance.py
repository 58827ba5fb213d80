"""The monitor of the machine: samples at intervals, an hour of them, from a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hostler.clock import SYSTEM, Clock
from hostler.metrics.gpu_source import Gpus
from hostler.metrics.samples import GpuSample, SystemSample, SystemSampler

# How long samples are kept.
HISTORY_SECONDS = 3600.0
# And how many at most, whatever the interval: an hour at the smallest allowed one, some two kilobytes each.
MAX_SAMPLES = 3700
# Until the first sample: processor use is measured between two looks.
FIRST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment (seconds since 1970)."""

    at: float
    system: SystemSample
    gpus: tuple[GpuSample, ...]


class PerformanceMonitor:
    """Samples every `every` seconds while it is enabled. History outlives a change of either."""

    def __init__(
        self,
        *,
        every: float,
        enabled: bool = True,
        system: SystemSampler | None = None,
        gpus: Gpus | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._every = every
        self.enabled = enabled
        self._system = system
        self._gpus = gpus
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._guard = threading.Lock()  # the loop's thread copies what this one appends
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.failed = 0  # samples that could not be taken

    def start(self) -> None:
        """Begin to sample, if that is enabled; otherwise `configure` may do so later."""
        if self.enabled and self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="performance sampler", daemon=True)
            self._thread.start()

    def configure(self, *, every: float, enabled: bool) -> None:
        """Another interval or another mind; what was sampled stays."""
        self._every = every
        self.enabled = enabled
        self._changed.set()
        self.start()

    def close(self) -> None:
        """Sample no more; does not wait for a sample that is being taken."""
        self._closed = True
        self._changed.set()

    def history(self, after: float | None = None) -> list[Sample]:
        """The samples of the last hour, or those after `after` (seconds since 1970), oldest first."""
        border = self._clock.wall().timestamp() - HISTORY_SECONDS
        with self._guard:
            samples = list(self._samples)
        return [sample for sample in samples if sample.at >= border and (after is None or sample.at > after)]

    def latest(self) -> Sample | None:
        """The newest sample; None without one, or when it is old because sampling is off."""
        with self._guard:
            return self._samples[-1] if self._samples and self.enabled else None

    def take(self) -> Sample:
        """Take one sample now; for the sampler's thread."""
        if self._system is None:
            self._system = SystemSampler()
        if self._gpus is None:
            self._gpus = Gpus()
        now = self._clock.wall().timestamp()
        gpus = self._gpus.sample(self._clock.monotonic())
        sample = Sample(now, self._system.sample(now), tuple(gpus))
        with self._guard:
            self._samples.append(sample)
        return sample

    def _run(self) -> None:
        if self._system is None:
            self._system = SystemSampler()
        self._changed.wait(FIRST_SECONDS)
        while not self._closed:
            self._changed.clear()
            if self.enabled:
                try:
                    self.take()
                except Exception:  # noqa: BLE001 - a machine that cannot be read now may be again
                    self.failed += 1
            self._changed.wait(self._every if self.enabled else None)
        if self._gpus is not None:
            self._gpus.close()


def shape(samples: list[Sample], *, filtered: bool = False) -> dict[str, Any]:
    """History as llama-swap's clients read it; no samples are null, or an empty list of `filtered` ones."""
    system = [sample.system.shape(stamp(sample.at)) for sample in samples]
    gpus = [gpu.shape(stamp(sample.at)) for sample in samples for gpu in sample.gpus]
    nothing: list[Any] | None = [] if filtered else None
    return {"enabled": True, "sys_stats": system or nothing, "gpu_stats": gpus or nothing}


def stamp(at: float) -> str:
    """Seconds since 1970 in RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
