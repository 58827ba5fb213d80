"""What the machine is doing: processor, memory, disks, network and GPUs at one moment.

Memory is counted in MiB, as llama-swap's clients know it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MIB = 1_048_576


@dataclass(frozen=True, slots=True)
class SystemSample:
    """The machine. `network` and `disk` are bytes since its start: received and sent, read and written."""

    timestamp: float
    cpu_percent: tuple[float, ...]
    memory_total: int
    memory_used: int
    memory_free: int
    swap_total: int
    swap_used: int
    load: tuple[float, float, float]
    network: Mapping[str, tuple[int, int]]
    disk: tuple[int, int]

    def shape(self, timestamp: str) -> dict[str, Any]:
        """As llama-swap's clients read it, with the disk besides."""
        return {
            "timestamp": timestamp,
            "cpu_util_per_core": list(self.cpu_percent),
            "mem_total_mb": self.memory_total // MIB,
            "mem_used_mb": self.memory_used // MIB,
            "mem_free_mb": self.memory_free // MIB,
            "swap_total_mb": self.swap_total // MIB,
            "swap_used_mb": self.swap_used // MIB,
            "load_avg_1": self.load[0],
            "load_avg_5": self.load[1],
            "load_avg_15": self.load[2],
            "net_io": [
                {"name": name, "bytes_recv": received, "bytes_sent": sent}
                for name, (received, sent) in self.network.items()
            ],
            "disk_bytes_read": self.disk[0],
            "disk_bytes_written": self.disk[1],
        }


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU; None is what its driver does not tell. Temperatures in °C, memory in bytes, power in watts.

    `processes` is the memory of each process by pid.
    """

    index: int
    name: str
    uuid: str = ""
    temperature: float | None = None
    memory_temperature: float | None = None
    busy_percent: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    fan_percent: float | None = None
    power: float | None = None
    processes: Mapping[int, int] = field(default_factory=dict)

    @property
    def memory_percent(self) -> float | None:
        """Used of total memory."""
        if self.memory_used is None or not self.memory_total:
            return None
        return 100.0 * self.memory_used / self.memory_total

    def shape(self, timestamp: str) -> dict[str, Any]:
        """As llama-swap's clients read it: what nobody knows is 0."""
        return {
            "timestamp": timestamp,
            "id": self.index,
            "name": self.name,
            "uuid": self.uuid,
            "temp_c": round(self.temperature or 0),
            "vram_temp_c": round(self.memory_temperature or 0),
            "gpu_util_pct": self.busy_percent or 0.0,
            "mem_util_pct": round(self.memory_percent or 0.0, 2),
            "mem_used_mb": (self.memory_used or 0) // MIB,
            "mem_total_mb": (self.memory_total or 0) // MIB,
            "fan_speed_pct": self.fan_percent or 0.0,
            "power_draw_w": self.power or 0.0,
        }


class SystemSampler:
    """Reads the machine through psutil, which is loaded with the first sampler."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        psutil.cpu_percent(percpu=True)  # the next call tells of the time since this one

    def sample(self, now: float) -> SystemSample:
        """The machine at `now` (seconds since 1970). A part that cannot be read is zeros."""
        psutil = self._psutil
        memory = psutil.virtual_memory()
        swap = self._swap()
        network = psutil.net_io_counters(pernic=True, nowrap=True)
        disk = psutil.disk_io_counters(nowrap=True)
        return SystemSample(
            timestamp=now,
            cpu_percent=tuple(psutil.cpu_percent(percpu=True)),
            memory_total=memory.total,
            memory_used=memory.total - memory.available,
            memory_free=memory.available,
            swap_total=swap[0],
            swap_used=swap[1],
            load=psutil.getloadavg(),
            network={
                name: (found.bytes_recv, found.bytes_sent)
                for name, found in sorted(network.items())
                if not (sys.platform == "linux" and name == "lo")
            },
            disk=(disk.read_bytes, disk.write_bytes) if disk is not None else (0, 0),
        )

    def _swap(self) -> tuple[int, int]:
        try:
            swap = self._psutil.swap_memory()
        except (OSError, RuntimeError):  # containers may hide it
            return 0, 0
        return swap.total, swap.used


def tree_memory(pid: int) -> tuple[int, Sequence[int]]:
    """Resident bytes of a process and all its descendants, and their pids; zero and none when it is gone."""
    import psutil

    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0, ()
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    return total, [process.pid for process in tree]
