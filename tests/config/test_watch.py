"""Changes of files are seen wherever the files lie, and only changes are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hostler import aio
from hostler.config.watch import look, watch

# Short enough to test, and any change must be seen whatever the interval is.
QUICK = 0.005


class Changes:
    """Counts them, and waits for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._seen = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._seen.set()

    async def next(self) -> None:
        async with asyncio.timeout(10):
            await self._seen.wait()
        self._seen.clear()


@asynccontextmanager
async def watching(files: list[Path], directory: Path | None = None) -> AsyncIterator[Changes]:
    changes = Changes()
    task = aio.spawn(watch(files, directory, changes, interval=QUICK, settle=QUICK), name="watch")
    # Its first look is what it compares with.
    await asyncio.to_thread(look, files, directory)
    await some_looks()
    try:
        yield changes
    finally:
        await aio.cancel_and_wait([task])


async def some_looks() -> None:
    """Give the watch the time of a good number of looks."""
    over = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(QUICK * 20, over.set_result, None)
    await over


async def test_a_change_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a")
    async with watching([file]) as changes:
        file.write_text("ab")
        await changes.next()
        file.write_text("abc")
        await changes.next()

    assert changes.count == 2


async def test_a_file_of_the_same_size_and_time_that_is_another_one(tmp_path: Path) -> None:
    """As `mv` and every careful editor do it, and as it looks through a bind mount."""
    file, other = tmp_path / "c.yaml", tmp_path / "new"
    file.write_text("a")
    other.write_text("b")
    os.utime(other, ns=(1, file.stat().st_mtime_ns))
    async with watching([file]) as changes:
        other.replace(file)
        await changes.next()


async def test_a_config_map(tmp_path: Path) -> None:
    """Kubernetes swaps a link to a directory; the link that is named stays the same."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "c.yaml").symlink_to("..data/c.yaml")
    async with watching([tmp_path / "c.yaml"]) as changes:
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        await changes.next()


async def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    async with watching([], tmp_path) as changes:
        (tmp_path / "b.yml").write_text("b")
        await changes.next()
        (tmp_path / "notes.txt").write_text("nobody reads this")
        await some_looks()
        assert changes.count == 1
        (tmp_path / "b.yml").unlink()
        await changes.next()


async def test_what_is_gone_is_no_change_until_it_is_back(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a")
    async with watching([file]) as changes:
        file.unlink()
        await some_looks()
        assert changes.count == 0
        file.write_text("b")
        await changes.next()


async def test_a_directory_that_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    async with watching([], tmp_path) as changes:
        (tmp_path / "a.yaml").unlink()
        await some_looks()
        assert changes.count == 0


@pytest.mark.parametrize("what", ["missing", "a file"])
def test_a_directory_that_is_none(tmp_path: Path, what: str) -> None:
    if what == "a file":
        (tmp_path / what).touch()

    assert look([], tmp_path / what) is None
