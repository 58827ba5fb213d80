"""Hostler as an ASGI application of somebody else's server: mounted, or behind one that offers the least."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from hostler.app import Hostler
from hostler.config.schema import Config
from hostler.gateway.edge import Truncated
from hostler.web.server import Server, open_sockets

from .client import Client
from .server import config, in_process, question, raw_engine, stub
from .test_passing_on import OK, Recorder

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

Message = MutableMapping[str, Any]


class Call:
    """One request by the letter of the ASGI specification, with nothing that is optional."""

    def __init__(self, path: str, body: bytes = b"", method: str = "GET", query: bytes = b"") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [(b"host", b"front")],
        }
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.sent: list[Message] = []
        self.started = asyncio.Event()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.started.set()

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def run(self, hostler: Hostler) -> None:
        async with asyncio.timeout(20):
            await hostler.app(self.scope, self.messages.get, self.send)


async def call(configuration: Config, *calls: Call) -> None:
    async with Hostler(configuration) as hostler:
        for one in calls:
            await one.run(hostler)
        assert repr(hostler.fleet).endswith("| 0 leases, 0 waiting>")


async def test_the_least_there_can_be_is_enough() -> None:
    chat = Call("/v1/chat/completions", b'{"model": "a"}', "POST")
    models = Call("/v1/models")
    await call(config(stub("a")), chat, models)

    assert (chat.status, models.status) == (200, 200)
    assert b"chat.completion" in chat.body
    assert chat.sent[-1].get("more_body", False) is False


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/upstream/a/x y", b"/x%20y"),
        ("/upstream/a/é", b"/%C3%A9"),
        ("/upstream/a/x HTTP/1.1\r\nevil: 1\r\n\r\n", b"/x%20HTTP/1.1%0D%0Aevil:%201%0D%0A%0D%0A"),
        ("/upstream/a/?#%", b"/%3F%23%25"),
    ],
)
async def test_a_path_that_comes_decoded_is_escaped_anew(path: str, arrives: bytes) -> None:
    """Nothing in it can become a line of the request to the engine."""
    engine = Recorder(OK)
    async with raw_engine(engine.serve) as port:
        request = Call(path, query=b"a=b")
        await call(config(in_process("a", port)), request)

    assert request.status == 200
    assert engine.line == b"GET " + arrives + b"?a=b HTTP/1.1"


async def test_a_break_is_an_exception_where_only_that_can_be_seen() -> None:
    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")

    async with raw_engine(engine) as port:
        request = Call("/upstream/a/x")
        with pytest.raises(Truncated):
            await call(config(in_process("a", port)), request)

    assert request.body == b"hello"
    assert request.sent[-1]["more_body"] is True


async def test_a_client_that_leaves_is_told_by_a_message() -> None:
    async with Hostler(config(stub("a", stub_options={"tokens": 100_000, "chunk_delay": 0.005}))) as hostler:
        request = Call("/v1/chat/completions", b'{"model": "a", "stream": true}', "POST")
        running = asyncio.create_task(request.run(hostler))
        await request.started.wait()

        request.leave()

        await running
        assert repr(hostler.fleet).endswith("| 0 leases, 0 waiting>")


async def test_what_is_not_http_is_declined() -> None:
    async with Hostler(config()) as hostler:
        websocket = Call("/v1/models")
        websocket.scope["type"] = "websocket"
        await websocket.run(hostler)
        lifespan = Call("")
        lifespan.scope = {"type": "lifespan"}
        await lifespan.run(hostler)

        assert [message["type"] for message in websocket.sent] == ["websocket.close"]
        assert lifespan.sent == []


async def test_it_can_be_mounted_below_a_path() -> None:
    engine = Recorder(OK)
    async with (
        raw_engine(engine.serve) as engine_port,
        Hostler(config(in_process("a/b", engine_port))) as hostler,
    ):
        outer = Starlette(routes=[Mount("/local", app=hostler.app)])
        server = Server(uvicorn.Config(outer, ws="none", log_config=None))
        server.config.load()
        sockets = open_sockets("127.0.0.1", 0)
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=sockets)
        client = await Client.connect(sockets[0].getsockname()[1])

        assert (await client.ask("GET", "/local/health")).body == b"OK"
        assert (await client.ask("POST", "/local/v1/completions", question("a/b"))).body == b"ok"
        assert engine.line == b"POST /v1/completions HTTP/1.1"
        assert (await client.ask("GET", "/local/upstream/a%2Fb/x%20y?z")).body == b"ok"
        assert engine.line == b"GET /x%20y?z HTTP/1.1"
        moved = await client.ask("GET", "/local/upstream/a/b")
        assert moved.get("location") == "/local/upstream/a/b/"
        assert (await client.ask("GET", "/local/")).get("location") == "/local/ui/"
        assert b'href="/local/logs/stream/a/b"' in (await client.ask("GET", "/local/ui/")).body
        assert (await client.ask("GET", "/local/v1/completions")).status == 405
        assert (await client.ask("GET", "/health")).status == 404

        client.leave()
        server.stop_listening()
