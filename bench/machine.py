"""What the kernel says about processes, and what machine this is. Linux only: it is read from /proc."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
SCHEDULED: Final = 2  # the clock of what the scheduler has counted, see clock_getcpuclockid(3)
MB: Final = 1024 * 1024


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that these processes, all their threads included, have used so far.

    The sum of utime and stime in /proc/PID/stat, but in nanoseconds instead of ticks of 10 ms. Raises OSError
    when a process has ended.
    """
    return sum(time.clock_gettime(~pid << 3 | SCHEDULED) for pid in pids)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that still run."""
    listed = (PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii")
    return [int(word) for word in listed.split()]


def resident_mb(pids: list[int]) -> float:
    """Resident memory of these processes together, in MB of 2**20 bytes."""
    return sum(resident_kb((PROC / str(pid) / "status").read_text(encoding="utf-8")) for pid in pids) / 1024


def resident_kb(status: str) -> int:
    """VmRSS of the text of /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def allow_many_files() -> int:
    """Let this process and those it starts open as many files as the system allows; returns the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def description() -> dict[str, str]:
    """What a reader has to know to compare: processor, cores, memory, kernel, Python."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{_memory_gb():.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    for line in (PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
