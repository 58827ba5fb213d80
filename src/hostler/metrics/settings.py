"""Where rows are kept and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the configuration says about the activity.

    `path` None is memory, bounded by `memory_rows`. For a file 0 means no limit of days or rows.
    """

    path: Path | None = None
    memory_rows: int = 1000
    retention_days: float = 0
    max_rows: int = 0
