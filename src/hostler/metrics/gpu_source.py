"""Where samples of GPUs come from: whatever works on this machine, looked for again when it dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from hostler.metrics.samples import GpuSample

# Seconds until a vendor without a working source is looked for again: drivers are installed and restarted.
RETRY_SECONDS = 60.0


class SourceFailed(Exception):
    """A source that worked has stopped to; its text says why."""


class Source(Protocol):
    """Something that tells of GPUs."""

    name: str

    def sample(self) -> list[GpuSample]:
        """Every GPU now; raises SourceFailed."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


Opener = Callable[[], Source | None]


def openers() -> tuple[tuple[Opener, ...], ...]:
    """For each vendor the ways to its GPUs, the best first."""
    from hostler.metrics.gpu_amd import AmdCards
    from hostler.metrics.gpu_nvml import Nvml
    from hostler.metrics.gpu_tools import (
        IOREG,
        NVIDIA,
        ROCM,
        XPU,
        Tool,
        parse_ioreg,
        parse_nvidia,
        parse_rocm,
        parse_xpu,
    )

    return (
        (Nvml.open, lambda: Tool.open(NVIDIA, parse_nvidia)),
        (AmdCards.open, lambda: Tool.open(ROCM, parse_rocm)),
        (lambda: Tool.open(XPU, parse_xpu),),
        (lambda: Tool.open(IOREG, parse_ioreg),),
    )


class Gpus:
    """All GPUs of all vendors, numbered through. Used by one thread."""

    def __init__(self, vendors: Sequence[Sequence[Opener]] | None = None) -> None:
        self._vendors = [_Vendor(ways) for ways in (openers() if vendors is None else vendors)]

    def sample(self, now: float) -> list[GpuSample]:
        """Every GPU at the monotonic time `now`; a source that fails is left out, and looked for later."""
        found = [gpu for vendor in self._vendors for gpu in vendor.sample(now)]
        if len({gpu.index for gpu in found}) < len(found):
            found = [_renumbered(gpu, index) for index, gpu in enumerate(found)]
        return found

    def close(self) -> None:
        """Let go of all sources."""
        for vendor in self._vendors:
            vendor.close()


class _Vendor:
    def __init__(self, ways: Sequence[Opener]) -> None:
        self._ways = ways
        self._source: Source | None = None
        self._look_at = float("-inf")

    def sample(self, now: float) -> list[GpuSample]:
        if self._source is None and now >= self._look_at:
            self._look_at = now + RETRY_SECONDS
            self._source = next((source for way in self._ways if (source := way()) is not None), None)
        if self._source is None:
            return []
        try:
            return self._source.sample()
        except SourceFailed:
            self.close()
            return []

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


def _renumbered(gpu: GpuSample, index: int) -> GpuSample:
    return replace(gpu, index=index)
