"""What Hostler's own code costs for a request and for a chunk, without sockets, load or upstream.

    python -m bench.inside            # µs of processor time of the event loop's thread, the best of several
    python -m bench.inside --profile  # the calls of 4,000 requests; cProfile makes them dearer

Both ends of a request are transports that go nowhere: what is fed to one comes out of the other in the same
call. So nothing of the kernel and of uvloop is in it, and little of the machine's noise.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop
from uvicorn.server import ServerState

from bench import requests
from hostler.app import Hostler, open_log_files
from hostler.config.load import load
from hostler.core import ModelId
from hostler.gateway.connection import Connection
from hostler.web.protocol import HostlerProtocol
from hostler.web.server import make_server

ROUNDS = 7
COUNT = 2_000
CONFIG = """
apiKeys: [{key}]
logs: {{dir: {dir}}}
models:
  whole: {{cmd: sleep 1000000, proxy: "http://127.0.0.1:9", checkEndpoint: none}}
"""
HEAD = b"HTTP/1.1 200 OK\r\nServer: engine\r\nDate: Fri, 27 Nov 2026 15:00:00 GMT\r\n"
WHOLE = HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(requests.ANSWER),
    requests.ANSWER.encode(),
)
STREAM = HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" word"}}],"usage":null}\n\n'
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


class Nowhere(asyncio.Transport):
    """Takes what is written and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: Any) -> None:
        self.writes += 1

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """There is nothing to close."""

    def abort(self) -> None:
        """There is nothing to close."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)}.get(name, default)


class Ends:
    """A client's connection and an engine's, with Hostler between them."""

    def __init__(self, client: HostlerProtocol, engine: Connection, sent: Nowhere) -> None:
        self.client, self.engine, self.sent = client, engine, sent

    def ask(self) -> None:
        """One small request and its answer."""
        self.client.data_received(REQUEST)
        self.engine.data_received(WHOLE)

    def chunk(self) -> None:
        """One event of a stream that has begun."""
        self.engine.data_received(CHUNK)


REQUEST = requests.post(requests.small_body())


async def connected(hostler: Hostler) -> Ends:
    """Both ends, and the model up."""
    config = make_server(hostler.app, log=hostler.hub.proxy, tls=None).config
    client = HostlerProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    sent = Nowhere()
    client.connection_made(sent)
    model = hostler.config.models[ModelId(requests.WHOLE)]
    async with hostler.fleet.lease(model.id) as lease:
        pool = hostler.gateway.pool_of(lease.base_url, model.timeouts)
    engine = Connection(pool.origin, pool)
    engine.connection_made(cast("asyncio.BaseTransport", Nowhere()))
    pool.give_back(engine)
    return Ends(client, engine, sent)


async def best_us(work: Callable[[], None]) -> float:
    """µs of processor time of one `work`, what is put off included."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.thread_time_ns()
        await many(work, COUNT)
        best = min(best, (time.thread_time_ns() - begin) / COUNT / 1e3)
    return best


async def many(work: Callable[[], None], count: int) -> None:
    """`work` so many times, with turns of the event loop for what was put off."""
    for number in range(count):
        work()
        if number % 64 == 63:
            await asyncio.sleep(0)


async def measure(directory: Path, *, profile: bool) -> None:
    path = directory / "hostler.yaml"
    path.write_text(CONFIG.format(key=requests.KEY, dir=directory / "logs"), encoding="utf-8")
    config = load([path], environ=os.environ).config
    files, _ = open_log_files(config)
    async with Hostler(config, log_files=files) as hostler:
        ends = await connected(hostler)
        await many(ends.ask, COUNT)
        if ends.sent.writes != COUNT:
            raise RuntimeError("not every request was answered at once")
        if profile:
            with cProfile.Profile() as found:
                await many(ends.ask, 2 * COUNT)
            pstats.Stats(found).sort_stats("tottime").print_stats(60)
            return
        print(f"request  {await best_us(ends.ask):6.1f} µs")
        ends.client.data_received(REQUEST)
        ends.engine.data_received(STREAM)
        ends.engine.data_received(CHUNK)
        print(f"chunk    {await best_us(ends.chunk):6.2f} µs")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="What Hostler's own code costs.")
    parser.add_argument("--profile", action="store_true", help="print the calls of 4,000 requests")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(measure(Path(directory), profile=arguments.profile))


if __name__ == "__main__":
    main()
