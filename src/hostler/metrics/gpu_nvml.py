"""NVIDIA GPUs through NVML, where the package `nvidia-ml-py` and the driver are there."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from hostler.metrics.gpu_source import SourceFailed
from hostler.metrics.samples import GpuSample


class Nvml:
    """All NVIDIA GPUs of this machine. `open` returns None when there are none to be read."""

    name = "nvml"

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]

    @classmethod
    def open(cls) -> Nvml | None:
        """Load the library; it is optional, so every reason to fail means that it is not there."""
        try:
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
        except Exception:  # noqa: BLE001 - a driver without a device, a library without a driver
            return None
        try:
            source = cls(nvml)
        except Exception:  # noqa: BLE001 - as above
            nvml.nvmlShutdown()
            return None
        return source if source._handles else None

    def sample(self) -> list[GpuSample]:
        """Every GPU; raises SourceFailed when the driver is gone."""
        try:
            return [self._one(index, handle) for index, handle in enumerate(self._handles)]
        except self._nvml.NVMLError as error:
            raise SourceFailed(f"NVML: {error}") from error

    def close(self) -> None:
        """Let go of the library."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            pass  # gone already

    def _one(self, index: int, handle: Any) -> GpuSample:
        nvml = self._nvml
        memory = self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        busy = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        power = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return GpuSample(
            index=index,
            name=_text(nvml.nvmlDeviceGetName(handle)),
            uuid=_text(self._ask(lambda: nvml.nvmlDeviceGetUUID(handle)) or ""),
            temperature=self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            busy_percent=busy,
            memory_used=None if memory is None else memory.used,
            memory_total=None if memory is None else memory.total,
            fan_percent=self._ask(lambda: nvml.nvmlDeviceGetFanSpeed(handle)),
            power=None if power is None else power / 1000,
            processes=self._processes(handle),
        )

    def _processes(self, handle: Any) -> dict[int, int]:
        """Memory by pid. Whoever computes through Vulkan is among those that draw; some are among both."""
        nvml = self._nvml
        found: dict[int, int] = {}
        for question in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            for process in self._ask(partial(question, handle)) or ():
                found[process.pid] = max(found.get(process.pid, 0), process.usedGpuMemory or 0)
        return {pid: used for pid, used in found.items() if used}

    def _ask(self, question: Callable[[], Any]) -> Any:
        """One value; None where this GPU does not have it: laptops have no fan of their own, and GPUs that
        share the machine's memory none of their own. In containers some things are forbidden.
        """
        try:
            return question()
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_NoPermission):
            return None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
