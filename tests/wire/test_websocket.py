"""http.md section 4.7: websockets on proxied routes, as bytes under our server, as messages under others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hostler.config.schema import ApiKey, Compat
from hostler.core import State

from .client import PATIENCE
from .server import Front, config, running, stub, until

WAYS = ["ours", "other"]


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@asynccontextmanager
async def open_socket(front: Front, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    options.setdefault("max_size", 2**26)
    async with asyncio.timeout(2 * PATIENCE):
        async with connect(
            f"ws://127.0.0.1:{front.port}{path}", proxy=None, open_timeout=PATIENCE, **options
        ) as socket:
            yield socket


@asynccontextmanager
async def served(way: str, *models: Any, **fields: Any) -> AsyncIterator[Front]:
    """Behind our own server, or mounted under uvicorn with websockets of its own."""
    async with running(config(*models, **fields)) as front:
        if way == "ours":
            yield front
            return
        server = uvicorn.Server(
            uvicorn.Config(front.hostler.app, port=0, ws="websockets-sansio", log_config=None, lifespan="off")
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        own, front.port = front.port, server.servers[0].sockets[0].getsockname()[1]
        try:
            yield front
        finally:
            front.port = own
            for listener in server.servers:
                listener.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await until(lambda: not server.server_state.tasks, "every request of the other server to end")


@pytest.mark.parametrize("way", WAYS)
async def test_4_7_messages_get_through_both_ways(way: str) -> None:
    async with served(way, stub("a")) as front, open_socket(front, "/upstream/a/ws") as socket:
        for message in ("hello", b"\x00\xff", "", "é" * 1000):
            await socket.send(message)
            assert await socket.recv() == message
        assert front.status("a").active == 1
        await (await socket.ping())


@pytest.mark.parametrize("way", WAYS)
async def test_4_7_large_and_many_messages(way: str) -> None:
    large = bytes(range(256)) * 65_536  # 16 MiB
    async with served(way, stub("a")) as front, open_socket(front, "/upstream/a/ws") as socket:
        await socket.send(large)
        assert await socket.recv() == large

        async def send() -> None:
            for number in range(1000):
                await socket.send(str(number))

        sending = asyncio.ensure_future(send())
        assert [await socket.recv() for _ in range(1000)] == [str(number) for number in range(1000)]
        await sending


@pytest.mark.parametrize("way", WAYS)
async def test_4_7_close_codes_of_the_engine_and_of_the_client(way: str) -> None:
    async with served(way, stub("a")) as front:
        async with open_socket(front, "/upstream/a/ws?close=4001&reason=bye") as socket:
            await socket.send("x")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "bye")
        async with open_socket(front, "/upstream/a/ws") as socket:
            await socket.close(4002, "enough")
            assert socket.close_code == 4002
        await front.until_idle()


@pytest.mark.parametrize("way", WAYS)
async def test_4_7_subprotocols(way: str) -> None:
    async with (
        served(way, stub("a")) as front,
        open_socket(front, "/upstream/a/ws?protocol=1", subprotocols=["one", "two"]) as socket,
    ):
        assert socket.subprotocol == "one"


async def test_4_7_a_refusal_is_passed_on() -> None:
    async with served("ours", stub("a")) as front:
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(front, "/upstream/a/ws?refuse=403"):
                pass
        assert refused.value.response.status_code == 403
        assert refused.value.response.body == b"no WebSocket for you\n"
        with pytest.raises(InvalidStatus) as unknown:
            async with open_socket(front, "/upstream/nobody/ws"):
                pass
        assert unknown.value.response.status_code == 404
        await front.until_idle()


async def test_4_7_a_key_is_asked_for_and_not_passed_on() -> None:
    async with served("ours", stub("a"), api_keys=(ApiKey("k3y"),)) as front:
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(front, "/upstream/a/ws"):
                pass
        assert refused.value.response.status_code == 401
        headers = {"Authorization": "Bearer k3y"}
        async with open_socket(front, "/upstream/a/ws", additional_headers=headers) as socket:
            await socket.send("in")
            assert await socket.recv() == "in"


async def test_4_7_it_loads_the_model_and_keeps_it_loaded() -> None:
    async with served("ours", stub("a", ttl=1), stub("b")) as front:
        async with open_socket(front, "/upstream/a/ws") as socket:
            other = asyncio.create_task(front.chat("b"))
            await front.until_waiting("b", 1)
            assert front.states() == {"a": "ready"}, "b waits for the socket to end"
            await socket.send("still here")
            assert await socket.recv() == "still here"
        assert (await other).status == 200


async def test_4_7_an_engine_that_dies_ends_the_socket() -> None:
    async with served("ours", stub("a")) as front, open_socket(front, "/upstream/a/ws") as socket:
        await socket.send("x")
        await socket.recv()
        await front.kill("a")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        await front.until_idle()


async def test_4_7_a_client_that_vanishes_frees_the_model() -> None:
    async with served("ours", stub("a")) as front, open_socket(front, "/upstream/a/ws") as socket:
        await socket.send("x")
        await socket.recv()
        socket.transport.abort()
        await front.until_idle()


async def test_4_7_a_slow_reader_holds_the_engine_back() -> None:
    """100 MB would have to be somewhere if they were not left with the engine."""
    async with (
        served("ours", stub("a")) as front,
        open_socket(front, "/upstream/a/ws?flood=1600", max_queue=1) as socket,
    ):
        assert await socket.recv() == bytes(65_536)
        # Everything on the way is full now, and the engine waits: nothing of ours has grown with it.
        before = resident_bytes()
        for _ in range(1599):
            assert await socket.recv() == bytes(65_536)
        assert resident_bytes() < before + 64 * 1024 * 1024
        await socket.send("end")
        assert await socket.recv() == "end"


async def test_4_7_ignored_ones_load_nothing_and_count_for_nothing() -> None:
    model = stub("a", compat=Compat(ignore_websockets=True), concurrency_limit=1)
    async with served("ours", model) as front:
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(front, "/upstream/a/ws"):
                pass
        assert refused.value.response.status_code == 409
        assert b"cannot start it" in refused.value.response.body
        assert front.status("a").state is State.STOPPED

        await front.chat("a")
        async with open_socket(front, "/upstream/a/ws") as socket:
            assert front.status("a").active == 0
            assert (await front.chat("a")).status == 200
            await front.ask("POST", "/api/models/unload/a")
            with pytest.raises(ConnectionClosed):
                await socket.recv()


async def test_4_7_shutdown_ends_them() -> None:
    async with served("ours", stub("a")) as front, open_socket(front, "/upstream/a/ws") as socket:
        await socket.send("x")
        await socket.recv()
        await front.hostler.close(drain=0)
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_4_7_an_upgrade_to_something_else_is_an_ordinary_request() -> None:
    async with served("ours", stub("a")) as front:
        headers = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]
        answer = await front.get("/upstream/a/echo/x", headers)

        assert answer.status == 200
        assert "upgrade" not in answer.json()["headers"]
