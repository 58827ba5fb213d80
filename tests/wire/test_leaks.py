"""Nothing is left of a request: objects, file descriptors and tasks are counted before and after many.

`HOSTLER_LEAK_REQUESTS=100000` makes it that many; some minutes.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench import load, requests
from bench.upstream import Answering

from hostler import aio
from hostler.config.schema import Config, Logs

from .server import Front, config, in_process, running, until

REQUESTS = int(os.environ.get("HOSTLER_LEAK_REQUESTS", "1200"))
CLIENTS = 8
# What is kept of the newest requests, so that it is full long before the counting begins.
KEPT = 50
WARM_UP = 300
# Objects that come and go: fresh captures, entries of caches, up to a hundred cancelled timers that asyncio
# holds with all that hangs on them. One for each request is twice as many.
ROOM = 600
# What has bounds of its own that some thousand requests do not reach, held by the tests of these modules.
BOUNDED = {
    "hostler.logs.journal.Entry", "hostler.metrics.captures._Block", "hostler.metrics.performance.Sample",
    "hostler.metrics.samples.SystemSample",
}  # fmt: skip
PATIENCE = 60.0 + REQUESTS / 100


@dataclass(frozen=True)
class Count:
    """What there is of everything."""

    kinds: Counter[str]
    descriptors: int
    tasks: int

    @classmethod
    def now(cls) -> Count:
        gc.collect()
        kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
        tasks = len(asyncio.all_tasks())
        return cls(kinds, len(list(Path("/proc/self/fd").iterdir())), tasks)


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Answering, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def small(port: int) -> Config:
    """A configuration that keeps little of what was."""
    logs = Logs(buffer_bytes=4096, files=False)
    model = in_process("streams", port)
    return config(model, logs=logs, metrics_max_in_memory=KEPT, capture_buffer=1)


def keep_little(front: Front) -> None:
    front.hostler.observatory.bus._max_events = KEPT
    front.hostler.gateway.spans._limit = KEPT


async def ask_many(port: int, count: int) -> None:
    """Whole answers, streams to their end, and streams that their client leaves after the first event."""
    whole = requests.post(requests.small_body(requests.STREAMS))
    short = requests.post(requests.stream_body(5, 0))
    endless = requests.post(requests.stream_body(100_000, 1.0))

    async def client(number: int) -> None:
        for turn in range(number, count, CLIENTS):
            kind = turn // CLIENTS % 4
            if kind < 2:
                await load.run_requests(port, whole, 1, 0)
                continue
            totals = load.StreamTotals()
            [stream] = await load.open_streams(
                port, short if kind == 2 else endless, 1, spread=0, totals=totals
            )
            await (stream.ended if kind == 2 else stream.begun)
            stream.close()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))


async def settled(front: Front, tasks: int) -> Count:
    """What is there when everything that was begun has ended."""
    await front.until_idle()
    front.hostler.observatory.recorder.flush()
    front.hostler.app.write_lines()
    await until(lambda: not front.server.server_state.connections, "every connection to close")
    await until(lambda: aio.alive() <= tasks, "every task to end")
    return Count.now()


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
async def test_nothing_is_left_of_requests(plain: bool) -> None:
    async with upstream() as port, running(small(port), plain=plain) as front:
        keep_little(front)
        await ask_many(front.port, CLIENTS)  # starts the model
        await front.until_idle()
        tasks = aio.alive()
        await ask_many(front.port, WARM_UP)
        before = await settled(front, tasks)
        await ask_many(front.port, REQUESTS)
        after = await settled(front, tasks)

        assert after.descriptors <= before.descriptors + CLIENTS, (
            "the pool's connections are all there may be"
        )
        assert after.tasks <= before.tasks
        grown = after.kinds.copy()
        grown.subtract(before.kinds)
        for kind in BOUNDED:
            del grown[kind]
        assert grown.total() <= ROOM, grown.most_common(12)
