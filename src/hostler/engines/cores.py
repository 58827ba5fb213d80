"""How many threads it makes sense to compute with."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores(limits: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores this process may run on: the affinity mask, cut to the quota of its control group."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = limits.read_text(encoding="ascii").split()[:2]
        cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no such file, or "max": no quota
    return max(1, cores)
