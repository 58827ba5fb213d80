"""Unloading what nobody uses."""

from __future__ import annotations

import asyncio

import pytest

from hostler.core import ModelId, State

from .server import config, running, stub, until_logged

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

A = ModelId("a")


async def test_an_idle_model_is_unloaded() -> None:
    async with running(config(stub("a", ttl=1))) as front:
        loop = asyncio.get_running_loop()
        await front.chat("a")
        ended = loop.time()

        await front.until("a", State.STOPPED)

        assert 0.9 < loop.time() - ended < 5
        await until_logged(front.log("proxy"), "a: stopped (idle): exit code 0")


async def test_the_time_counts_from_ready_when_nobody_comes() -> None:
    """Whoever asked has left while it loaded; it is not unloaded at once, and not kept for ever."""
    async with running(config(stub("a", ttl=1, stub_options={"ready_after": 0.3}))) as front:
        loop = asyncio.get_running_loop()
        client = await front.connect()
        asked = asyncio.create_task(client.ask("POST", "/api/models/load/a"))
        await front.until_waiting("a", 1)
        client.leave()
        await asyncio.wait([asked])
        assert asked.exception() is not None
        await front.until("a", State.READY)
        ready = loop.time()

        await front.until("a", State.STOPPED)

        assert 0.9 < loop.time() - ready < 5


async def test_a_model_is_not_idle_while_it_answers() -> None:
    """An answer longer than the ttl is not cut, and the time counts from its end."""
    async with running(config(stub("a", ttl=1))) as front:
        stream = await front.stream("a", tokens=30, chunk_delay=0.05)

        _, complete = await stream.rest()

        assert complete
        assert front.states() == {"a": "ready"}
        left = front.status(A).ttl_left
        assert left is not None
        assert left > 0.5
