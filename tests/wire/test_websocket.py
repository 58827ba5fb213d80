"""http.md, section 4.7: websockets, through our own server and through one that speaks them itself."""

from __future__ import annotations

import asyncio
import os
import resource
import socket as socket_module
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from hostler.config.schema import ApiKey, Compat
from hostler.core import State

from .client import PATIENCE, Client, request
from .server import Front, config, in_process, raw_engine, running, stub, until, until_logged
from .test_passing_on import OK, Recorder

MEGABYTE = 1_048_576
SERVERS = pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
HANDSHAKE = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@asynccontextmanager
async def front_of(*models: Any, plain: bool = False, **fields: Any) -> AsyncIterator[Front]:
    async with running(
        config(*(models or (stub("a"),)), **fields), plain=plain, websockets="websockets-sansio"
    ) as front:
        yield front
        await front.until_idle()


def connect(front: Front, target: str = "/upstream/a/ws", **fields: Any) -> websockets.connect:
    fields.setdefault("max_size", None)
    fields.setdefault("compression", None)
    return websockets.connect(
        f"ws://127.0.0.1:{front.port}{target}", proxy=None, open_timeout=PATIENCE, **fields
    )


async def receive(socket: ClientConnection) -> str | bytes:
    async with asyncio.timeout(PATIENCE):
        return await socket.recv()


async def closed(socket: ClientConnection) -> ConnectionClosed:
    """How the connection ended; whatever still came before is dropped."""
    try:
        while True:
            await receive(socket)
    except ConnectionClosed as error:
        return error


# -- what goes through -------------------------------------------------------------------------------------


@SERVERS
async def test_4_7_a_websocket_loads_its_model_and_holds_it(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        async with connect(front) as socket:
            for message in ("hello", b"\x00\xff", "", "é" * 1000, b"x" * 70_000):
                await socket.send(message)
                assert await receive(socket) == message
            assert front.states() == {"a": "ready"}
            assert front.status("a").active == 1

        await until_logged(front.log("proxy"), '"GET /upstream/a/ws HTTP/1.1" 101 ')


@SERVERS
async def test_4_7_large_and_many(plain: bool) -> None:
    async with front_of(plain=plain) as front, connect(front) as socket:
        large = os.urandom(MEGABYTE) * (8 if plain else 16)
        await socket.send(large)
        assert await receive(socket) == large

        async def send() -> None:
            for number in range(1000):
                await socket.send(f"message {number}")

        sending = asyncio.create_task(send())
        assert [await receive(socket) for _ in range(1000)] == [f"message {n}" for n in range(1000)]
        await sending


@SERVERS
async def test_4_7_fragments_make_one_message(plain: bool) -> None:
    async with front_of(plain=plain) as front, connect(front) as socket:
        await socket.send(["one ", "two ", "three"])
        assert await receive(socket) == "one two three"


async def test_4_7_compression_is_between_the_client_and_the_engine() -> None:
    """The extension that the client offers reaches the engine, which does not take it."""
    async with front_of() as front, connect(front, compression="deflate") as socket:
        await socket.send("hello" * 1000)
        assert await receive(socket) == "hello" * 1000


@SERVERS
async def test_4_7_close_codes_of_the_client_reach_the_engine(plain: bool) -> None:
    frames: list[bytes] = []

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        first, second = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        data = await reader.readexactly(second & 0x7F)
        plain_data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        frames.append(bytes((first,)) + plain_data)
        writer.write(bytes((0x88, len(plain_data))) + plain_data)

    async with raw_engine(engine) as port, front_of(in_process("a", port), plain=plain) as front:
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/ws", headers=HANDSHAKE))
        assert (await client.interim()).status == 101
        await client.send(b"\x88\x85\0\0\0\0" + (4001).to_bytes(2, "big") + b"bye")
        async with asyncio.timeout(PATIENCE):
            echo = await client.reader.read(7)
        assert echo == b"\x88\x05" + (4001).to_bytes(2, "big") + b"bye"
        client.leave()
        await until(lambda: bool(frames), "the engine's frame")
    assert frames == [b"\x88" + (4001).to_bytes(2, "big") + b"bye"]


@SERVERS
async def test_4_7_close_codes_of_the_engine_reach_the_client(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        socket = await connect(front, "/upstream/a/ws?close=4001&reason=bye")
        await socket.send("now")
        error = await closed(socket)

        assert error.rcvd is not None
        assert (error.rcvd.code, error.rcvd.reason) == (4001, "bye")


@SERVERS
async def test_4_7_pings_are_answered(plain: bool) -> None:
    async with front_of(plain=plain) as front, connect(front, "/upstream/a/ws?ping=1") as socket:
        async with asyncio.timeout(PATIENCE):
            await (await socket.ping())
        await socket.send("after")
        assert await receive(socket) == "after"


@SERVERS
async def test_4_7_the_subprotocol_is_the_engines_choice(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        async with connect(front, "/upstream/a/ws?protocol=1", subprotocols=["two", "one"]) as socket:
            assert socket.subprotocol == "two"
        async with connect(front, "/upstream/a/ws", subprotocols=["two", "one"]) as socket:
            assert socket.subprotocol is None


@SERVERS
async def test_4_7_a_refusal_is_the_engines_own(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        with pytest.raises(InvalidStatus) as refused:
            await connect(front, "/upstream/a/ws?refuse=418")

        response = refused.value.response
        assert (response.status_code, response.body) == (418, b"no WebSocket for you\n")


async def test_4_7_after_a_refusal_the_connection_goes_on() -> None:
    """What the client had sent behind its handshake is the next request then."""
    async with front_of() as front:
        client = await front.connect()
        wish = request("GET", "/upstream/a/ws?refuse=403", headers=HANDSHAKE)
        await client.send(wish + request("GET", "/health") + wish + request("GET", "/health"))

        assert [(await client.read()).status for _ in range(4)] == [403, 200, 403, 200]
        assert (await client.ask("GET", "/health")).body == b"OK"


async def test_4_7_what_comes_right_behind_the_handshake_is_for_the_engine() -> None:
    async with front_of() as front:
        client = await front.connect()
        await client.send(request("GET", "/health") + request("GET", "/upstream/a/ws", headers=HANDSHAKE))
        await client.send(b"\x82\x81\0\0\0\0x")
        assert (await client.read()).body == b"OK"
        answer = await client.interim()
        assert answer.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert answer.get("date") is None
        async with asyncio.timeout(PATIENCE):
            assert await client.reader.readexactly(3) == b"\x82\x01x"
        client.leave()


async def test_4_7_what_comes_right_behind_the_101_is_for_the_client() -> None:
    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH + b"\x82\x01x")
        await reader.read()

    async with (
        raw_engine(engine) as port,
        front_of(in_process("a", port)) as front,
        connect_raw(front) as client,
        asyncio.timeout(PATIENCE),
    ):
        assert await client.reader.readexactly(3) == b"\x82\x01x"


@asynccontextmanager
async def connect_raw(front: Front, target: str = "/upstream/a/ws") -> AsyncIterator[Client]:
    client = await front.connect()
    await client.send(request("GET", target, headers=HANDSHAKE))
    assert (await client.interim()).status == 101
    yield client
    client.leave()


# -- the handshake -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [("connection", "upgrade"), ("upgrade", "WebSocket")],
        [("connection", "keep-alive"), ("connection", " x ,UPGRADE"), ("upgrade", "websocket")],
        [("connection", "Upgrade"), ("upgrade", "h2c"), ("upgrade", "foo, websocket")],
        [("connection", "Upgrade"), ("upgrade", "websocket"), ("content-length", "0")],
    ],
)
async def test_4_7_an_upgrade_is_recognised(headers: list[tuple[str, str]]) -> None:
    engine = Recorder(SWITCH)
    async with raw_engine(engine.serve) as port, front_of(in_process("a", port)) as front:
        client = await front.connect()
        extra = [("sec-websocket-key", "k"), ("sec-websocket-extensions", "x"), ("keep-alive", "5")]
        await client.send(request("GET", "/upstream/a/x?y=1", headers=[*headers, *extra]))
        assert (await client.interim()).status == 101
        client.leave()

    assert engine.line == b"GET /x?y=1 HTTP/1.1"
    assert engine.header("connection") == ["Upgrade"]
    assert engine.header("upgrade") == ["websocket"]
    assert engine.header("sec-websocket-key") == ["k"]
    assert engine.header("sec-websocket-extensions") == ["x"]
    assert engine.header("keep-alive") == []
    assert engine.header("host") == ["front"]
    assert engine.header("x-forwarded-for") == ["127.0.0.1"]


@pytest.mark.parametrize(
    "wish",
    [
        request("GET", "/upstream/a/x", headers=[("connection", "close"), ("upgrade", "websocket")]),
        request("GET", "/upstream/a/x", headers=[("connection", "upgrade"), ("upgrade", "websockets")]),
        request("GET", "/upstream/a/x", headers=[("connection", "upgrade")]),
        request("GET", "/upstream/a/x", b"body", HANDSHAKE),
        request("POST", "/upstream/a/x", b"", HANDSHAKE),
        request("GET", "/upstream/a/x", headers=HANDSHAKE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_4_7_anything_else_is_an_ordinary_request(wish: bytes) -> None:
    engine = Recorder(OK)
    async with raw_engine(engine.serve) as port, front_of(in_process("a", port)) as front:
        client = await front.connect()
        await client.send(wish)
        assert (await client.read()).body == b"ok"

    assert engine.header("upgrade") == []
    assert engine.header("connection") == []


@SERVERS
async def test_4_7_keys_are_asked_for_and_not_passed_on(plain: bool) -> None:
    engine = Recorder(SWITCH)
    async with (
        raw_engine(engine.serve) as port,
        front_of(in_process("a", port), plain=plain, api_keys=(ApiKey("s3cret"),)) as front,
    ):
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/x", headers=HANDSHAKE))
        assert (await client.read()).status == 401
        assert engine.heads == []
        other = await front.connect()
        bearer = ("authorization", "Bearer s3cret")
        await other.send(request("GET", "/upstream/a/x", headers=[*HANDSHAKE, bearer]))
        assert (await other.interim()).status == 101
        assert b"s3cret" not in engine.heads[0]
        other.leave()


@SERVERS
@pytest.mark.parametrize(
    ("path", "arrives"),
    [("/v1/realtime", b"/v1/realtime"), ("/v/chat/completions", b"/chat/completions"), ("/props", b"/props")],
)
async def test_4_7_model_routes_name_their_model_in_the_query(path: str, arrives: bytes, plain: bool) -> None:
    engine = Recorder(SWITCH)
    async with raw_engine(engine.serve) as port, front_of(in_process("a", port), plain=plain) as front:
        client = await front.connect()
        await client.send(request("GET", f"{path}?model=a", headers=HANDSHAKE))
        assert (await client.interim()).status == 101
        assert engine.line == b"GET " + arrives + b"?model=a HTTP/1.1"
        client.leave()

        with pytest.raises(InvalidStatus) as refused:
            await connect(front, f"{path}?model=nobody")
        assert refused.value.response.status_code == 404
        with pytest.raises(InvalidStatus) as refused:
            await connect(front, path)
        assert refused.value.response.status_code == 400


@SERVERS
async def test_4_7_other_routes_are_answered_as_ever(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        for path, status in (("/health", 200), ("/nowhere", 404), ("/upstream/nobody/ws", 404)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(front, path)
            assert refused.value.response.status_code == status, path


async def test_4_7_what_is_missing_is_said_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    async with front_of(plain=True) as front:
        monkeypatch.setitem(sys.modules, "websockets.protocol", None)
        monkeypatch.delattr(websockets, "protocol")
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/ws", headers=HANDSHAKE))
        answer = await client.read()

        assert answer.status == 500
        assert "pip install 'hostler[websockets]'" in answer.error["message"]
        assert front.states() == {}


# -- scheduling --------------------------------------------------------------------------------------------


async def test_4_7_the_idle_time_does_not_run_while_a_websocket_is_open() -> None:
    async with front_of(stub("a", ttl=1), stub("b")) as front:
        async with connect(front) as socket:
            assert front.status("a").ttl_left is None
            await socket.send("still here")
            assert await receive(socket) == "still here"
        await front.until_idle()
        assert front.status("a").ttl_left is not None


async def test_4_7_another_model_waits_until_the_websocket_has_ended() -> None:
    async with front_of(stub("a"), stub("b")) as front:
        socket = await connect(front)
        other = asyncio.create_task(front.chat("b"))
        await front.until_waiting("b", 1)
        await socket.send("undisturbed")
        assert await receive(socket) == "undisturbed"

        await socket.close()

        assert (await other).status == 200


@SERVERS
@pytest.mark.parametrize("state", [State.STOPPED, State.STARTING])
async def test_4_7_ignored_websockets_do_not_load(plain: bool, state: State) -> None:
    model = stub("a", compat=Compat(ignore_websockets=True), stub_options={"ready_after": 60})
    async with front_of(model, plain=plain) as front:
        loading = asyncio.create_task(front.chat("a")) if state is State.STARTING else None
        await front.until("a", state)
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/ws", headers=HANDSHAKE))
        answer = await client.read()

        assert answer.status == 409
        assert answer.error["code"] == "conflict"
        assert answer.error["message"] == (
            "model a is not loaded; ignored websocket requests cannot start it"
        )
        if loading is not None:
            loading.cancel()
            for one in front.clients:
                one.leave()


@SERVERS
async def test_4_7_ignored_websockets_count_for_nothing(plain: bool) -> None:
    models = (stub("a", compat=Compat(ignore_websockets=True), concurrency_limit=1, ttl=60), stub("b"))
    async with front_of(*models, plain=plain) as front:
        assert (await front.chat("a")).status == 200
        sockets = [await connect(front) for _ in range(3)]
        for socket in sockets:
            await socket.send("here")
            assert await receive(socket) == "here"
        assert front.status("a").active == 0
        assert front.status("a").ttl_left is not None

        assert (await front.chat("b")).status == 200  # and a had to go for it
        for socket in sockets:
            assert (await closed(socket)).rcvd is None or plain
        with pytest.raises(InvalidStatus) as refused:
            await connect(front)
        assert refused.value.response.status_code == 409


async def test_4_7_ordinary_requests_of_such_a_model_are_scheduled() -> None:
    async with front_of(stub("a", compat=Compat(ignore_websockets=True))) as front:
        assert (await front.get("/upstream/a/echo")).status == 200
        assert front.states() == {"a": "ready"}


# -- ends --------------------------------------------------------------------------------------------------


@SERVERS
async def test_4_7_a_client_that_vanishes_lets_its_model_go(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.gateway.tunnel.LINGER_SECONDS", 0.2)
    monkeypatch.setattr("hostler.gateway.messages.CLOSE_SECONDS", 0.2)
    async with front_of(plain=plain) as front:
        for target in ("/upstream/a/ws", "/upstream/a/ws?stall=1", "/upstream/a/ws?flood=100000"):
            socket = await connect(front, target)
            await front.until_idle_but(1)
            socket.transport.abort()
            await front.until_idle()
        assert (await front.chat("a")).status == 200


async def test_4_7_a_client_that_vanishes_while_the_model_loads() -> None:
    """Seen by our own server; uvicorn tells nobody of it before a websocket is accepted."""
    async with front_of(stub("a", stub_options={"ready_after": 60})) as front:
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/ws", headers=HANDSHAKE))
        await front.until_waiting("a", 1)
        client.leave()
        await front.until_idle()


@SERVERS
async def test_4_7_an_engine_that_is_killed_is_seen(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        socket = await connect(front)
        await socket.send("hello")
        assert await receive(socket) == "hello"
        await front.kill("a")
        error = await closed(socket)

        assert isinstance(error, ConnectionClosedError)
        assert error.rcvd is None or error.rcvd.code == 1011
        await front.until_idle()


async def test_4_7_a_side_that_only_stops_sending_still_receives() -> None:
    asked = asyncio.Event()

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        assert await reader.read() == b"last words"
        asked.set()
        writer.write(b"answer" * 100_000)
        await writer.drain()

    async with (
        raw_engine(engine) as port,
        front_of(in_process("a", port)) as front,
        connect_raw(front) as client,
    ):
        client.writer.write(b"last words")
        client.writer.write_eof()
        await asked.wait()
        async with asyncio.timeout(PATIENCE):
            assert await client.reader.readexactly(600_000) == b"answer" * 100_000
            assert await client.reader.read() == b""
        await front.until_idle()


async def test_4_7_what_is_left_of_a_half_closed_tunnel_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine that neither closes nor says anything more."""
    monkeypatch.setattr("hostler.gateway.tunnel.LINGER_SECONDS", 0.1)
    async with front_of() as front, connect_raw(front, "/upstream/a/ws?stall=1") as client:
        client.writer.write_eof()
        await front.until_idle()
        async with asyncio.timeout(PATIENCE):
            try:
                assert await client.reader.read() == b""
            except ConnectionResetError:
                pass


async def test_4_7_silence_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the time for heads nor that between requests is for websockets."""
    monkeypatch.setattr("hostler.web.protocol.HEAD_SECONDS", 0.2)
    async with front_of() as front:
        front.server.config.timeout_keep_alive = 0
        client = await front.connect()
        assert (await client.ask("GET", "/upstream/a/echo")).status == 200
        async with connect(front) as socket:
            idle = await front.connect()
            assert await idle.end() == b""  # a connection that only waits is closed in the meantime
            await socket.send("still here")
            assert await receive(socket) == "still here"


async def test_4_7_stopping_ends_websockets() -> None:
    async with front_of() as front:
        socket = await connect(front)
        await front.hostler.close(drain=0.1)
        assert isinstance(await closed(socket), ConnectionClosedError)


@SERVERS
async def test_4_7_unloading_ends_websockets(plain: bool) -> None:
    async with front_of(plain=plain) as front:
        socket = await connect(front)
        assert (await front.ask("POST", "/api/models/unload/a")).status == 200
        assert isinstance(await closed(socket), ConnectionClosedError)


# -- slow readers ------------------------------------------------------------------------------------------


def memory() -> int:
    """The largest size this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@SERVERS
async def test_4_7_a_client_that_does_not_read_stops_the_engine(plain: bool) -> None:
    """400 MB that nobody wants: they stay where they are made."""
    async with front_of(plain=plain) as front:
        client = await front.connect()
        before = memory()
        await client.send(request("GET", "/upstream/a/ws?flood=6400", headers=HANDSHAKE))
        assert (await client.interim()).status == 101
        for _ in range(20):  # others are served all the while
            assert (await front.get("/upstream/a/echo")).status == 200
        assert memory() - before < 64 * MEGABYTE
        received = 0
        async with asyncio.timeout(PATIENCE):
            while received < 6400 * (65_536 + 10):
                received += len(await client.reader.read(1 << 20))
        assert memory() - before < 64 * MEGABYTE
        client.leave()


async def fill(client: Client, most: int = 200 * MEGABYTE) -> bool:
    """Send until nothing more is taken; False when everything is."""
    frame = b"\x82\xff" + (65_536).to_bytes(8, "big") + bytes(4 + 65_536)
    loop = asyncio.get_running_loop()
    for _ in range(most // len(frame)):
        client.writer.write(frame)
        before = loop.time()
        try:
            async with asyncio.timeout(1):
                await client.writer.drain()
        except TimeoutError:
            assert loop.time() - before >= 0.9
            return True
    return False


@SERVERS
async def test_4_7_an_engine_that_does_not_read_stops_the_client(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client's end cannot arrive behind all that waits; but it is not waited for without end."""
    monkeypatch.setattr("hostler.gateway.tunnel.HELD_SECONDS", 0.1)
    async with front_of(plain=plain) as front, connect_raw(front, "/upstream/a/ws?stall=1") as client:
        before = memory()
        assert await fill(client)

        assert memory() - before < 64 * MEGABYTE
        assert front.status("a").active == 1
        monkeypatch.setattr("hostler.gateway.tunnel.STALL_SECONDS", 0.3)
        if plain:  # its wait has begun
            await front.kill("a")


async def test_4_7_a_reset_is_seen_on_a_connection_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostler.gateway.tunnel.HELD_SECONDS", 0.1)
    async with front_of() as front, connect_raw(front, "/upstream/a/ws?stall=1") as client:
        assert await fill(client)
        client.writer.get_extra_info("socket").setsockopt(
            socket_module.SOL_SOCKET, socket_module.SO_LINGER, struct.pack("ii", 1, 0)
        )
        client.leave()
        await front.until_idle()


async def test_4_7_an_engine_that_takes_nothing_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a server that does not tell; see `test_4_7_an_engine_that_does_not_read_stops_the_client`."""
    monkeypatch.setattr("hostler.gateway.tunnel.STALL_SECONDS", 0.3)
    async with front_of(plain=True) as front, connect_raw(front, "/upstream/a/ws?stall=1") as client:
        await fill(client, 20 * MEGABYTE)
        await front.until_idle()
