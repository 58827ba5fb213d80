"""Noticing that the files of a configuration have changed, by looking every few seconds.

Looking works where notifications do not: bind mounts, network file systems, and the symbolic links by which
Kubernetes replaces a whole directory. Links are followed, and a file that was replaced counts as changed even
when its size and time are those of the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from hostler.config.load import SUFFIXES

# llama-swap's interval; a stat of a few files costs nothing.
INTERVAL = 2.0
# A file that is just being written is read when it has held still for this long, and at the latest after
# SETTLE_LOOKS of them: what is wrong with it then is said, and its next change is seen as well.
SETTLE = 0.2
SETTLE_LOOKS = 25

Look: TypeAlias = frozenset[tuple[str, int, int, int]]
"""Path, time of the last change in ns, size in bytes and inode of each file."""


def look(files: Sequence[Path], directory: Path | None) -> Look | None:
    """What the files are like now; None when one that was named is missing, or the directory holds none."""
    paths = list(files)
    try:
        if directory is not None:
            inside = [path for path in directory.iterdir() if path.name.endswith(SUFFIXES)]
            if not inside and not paths:
                return None
            paths += inside
        return frozenset(_stamp(path) for path in paths)
    except OSError:
        return None


def _stamp(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size, status.st_ino


async def watch(
    files: Sequence[Path],
    directory: Path | None,
    changed: Callable[[], None],
    *,
    interval: float = INTERVAL,
    settle: float = SETTLE,
) -> None:
    """Call `changed` after every change, until cancelled; what is there at the beginning is no change.

    Files that disappear are no change either; their coming back is.
    """

    async def glance() -> Look | None:
        # In a thread: a network file system may take its time.
        return await asyncio.to_thread(look, files, directory)

    seen = await glance()
    while True:
        await asyncio.sleep(interval)
        now = await glance()
        if now is None or now == seen:
            continue
        for _ in range(SETTLE_LOOKS):
            before = now
            await asyncio.sleep(settle)
            now = await glance()
            if now == before:
                break
        if now is not None:
            seen = now
            changed()
