"""What must hold: the cores are those this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from hostler.engines.cores import usable_cores


def test_cores_are_cut_to_the_quota(tmp_path: Path) -> None:
    limits = tmp_path / "cpu.max"
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    limits.write_text("50000 100000\n", encoding="ascii")
    assert usable_cores(limits) == 1
    limits.write_text("max 100000\n", encoding="ascii")
    assert usable_cores(limits) == available
    assert usable_cores(tmp_path / "missing") == available
