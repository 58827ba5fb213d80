"""One reload at a time, none forgotten, and nothing changes by a file that is wrong."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.config.parse import Loaded, Source, parse
from hostler.config.problems import ConfigProblems
from hostler.config.schema import Config
from hostler.core import ModelId
from hostler.errors import ConfigError, InternalError
from hostler.logs.monitor import LogMonitor
from hostler.reload import Reloader

FILE = "models: {a: {cmd: 'engine --port ${PORT}', ttl: %d}}"


class Files:
    """A configuration that tests write, and that can be held back while it is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.reads = 0
        self.open = threading.Event()
        self.open.set()

    def load(self, previous: Config | None = None) -> Loaded:
        text = self.text
        self.reads += 1
        assert self.open.wait(10)
        return parse([Source("c.yaml", text)], environ={})

    def watched(self) -> tuple[tuple[Path, ...], Path | None]:
        return (), None


class Applied:
    """The configurations that were put to use."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.log = LogMonitor("proxy", epoch="e")
        self.configs: list[Config] = []
        self.error: Exception | None = None
        self.reloader = Reloader(files, files.load().config, apply=self.apply, log=self.log)

    def apply(self, config: Config) -> None:
        if self.error is not None:
            raise self.error
        self.configs.append(config)

    @property
    def ttls(self) -> list[int]:
        return [config.models[ModelId("a")].ttl for config in self.configs]

    @property
    def said(self) -> str:
        return self.log.history().decode()


@pytest.fixture
def applied() -> Applied:
    return Applied(Files(FILE % 1))


async def test_a_reload_says_what_it_changed(applied: Applied) -> None:
    applied.files.text = FILE % 2

    outcome = await applied.reloader.reload()

    assert outcome.plan.updated == {"a": ("ttl",)}
    assert applied.ttls == [2]
    assert "configuration reloaded: a (ttl) changed" in applied.said


async def test_the_next_one_compares_with_the_last_one(applied: Applied) -> None:
    applied.files.text = FILE % 2
    await applied.reloader.reload()

    assert (await applied.reloader.reload()).plan.empty
    assert "nothing changes" in applied.said


async def test_a_plan_changes_nothing(applied: Applied) -> None:
    applied.files.text = FILE % 2

    outcome = await applied.reloader.plan()

    assert outcome.plan.updated == {"a": ("ttl",)}
    assert applied.configs == []
    assert (await applied.reloader.reload()).plan.updated == {"a": ("ttl",)}


async def test_a_broken_file_changes_nothing_and_is_explained(applied: Applied) -> None:
    applied.files.text = "models: {a: {cmd: engine, ttl: soon}}\nglobalTTL: -1\n"

    with pytest.raises(ConfigProblems):
        await applied.reloader.reload()

    assert applied.configs == []
    assert "the old one stays in use" in applied.said
    assert "c.yaml:1:" in applied.said
    assert "c.yaml:2:" in applied.said
    applied.files.text = FILE % 3
    await applied.reloader.reload()
    assert applied.ttls == [3]


@pytest.mark.parametrize(
    ("error", "seen"), [(ConfigError("no"), ConfigError), (RuntimeError("oops"), InternalError)]
)
async def test_one_that_cannot_be_carried_out(
    applied: Applied, error: Exception, seen: type[Exception]
) -> None:
    applied.error = error
    applied.files.text = FILE % 2
    with pytest.raises(seen):
        await applied.reloader.reload()

    applied.error = None
    assert not (await applied.reloader.reload()).plan.empty, "the old one stayed the old one"


async def test_what_is_asked_for_during_a_reload_is_done_afterwards_once(applied: Applied) -> None:
    files = applied.files
    files.open.clear()
    reads = files.reads
    files.text = FILE % 2
    first = asyncio.ensure_future(applied.reloader.reload())
    while files.reads == reads:
        await asyncio.sleep(0)
    files.text = FILE % 3  # too late for the first
    others = [asyncio.ensure_future(applied.reloader.reload()) for _ in range(5)]
    applied.reloader.request("SIGHUP")
    await asyncio.sleep(0)
    files.open.set()
    await asyncio.gather(first, *others)

    assert applied.ttls == [2, 3]
    assert repr(applied.reloader) == "<Reloader idle>" or await settled(applied)


async def settled(applied: Applied) -> bool:
    while repr(applied.reloader) != "<Reloader idle>":
        await asyncio.sleep(0)
    return True


async def test_who_gives_up_waiting_does_not_undo_it(applied: Applied) -> None:
    applied.files.open.clear()
    applied.files.text = FILE % 2
    asking = asyncio.ensure_future(applied.reloader.reload())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    applied.files.open.set()
    await settled(applied)

    assert applied.ttls == [2]


async def test_a_request_that_fails_is_told_to_the_log_alone(applied: Applied) -> None:
    applied.files.text = "models: ["
    applied.reloader.request("SIGHUP")
    await settled(applied)

    assert "SIGHUP: reading the configuration again" in applied.said
    assert "not reloaded" in applied.said


async def test_close_ends_what_waits(applied: Applied) -> None:
    applied.files.open.clear()
    asking = asyncio.ensure_future(applied.reloader.reload())
    await asyncio.sleep(0)
    await applied.reloader.close()

    await asyncio.wait([asking], timeout=10)
    applied.files.open.set()
    assert asking.cancelled()


async def test_what_only_a_restart_changes_is_said(applied: Applied) -> None:
    applied.files.text = FILE % 1 + "\nlogToStdout: none\n"
    await applied.reloader.reload()

    assert "logToStdout: this change counts when Hostler is started again" in applied.said
    assert replace(applied.configs[-1]).log_to_stdout == "none"
