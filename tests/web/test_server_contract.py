"""What Hostler relies on in uvicorn and httptools; to pass before their version ranges are widened.

`hostler.web.protocol` is a subclass of something that promises nothing to subclasses. What it uses is used
here, on a connection without a socket, so that a new version that moves it is found by name.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hostler.gateway.edge import EXTENSION, Message, Receive, Scope, Send
from hostler.web.protocol import HostlerProtocol
from hostler.web.server import Server, make_server

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(asyncio.Transport):
    """The client's end: what was written, and whether it still can be."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = ""
        self.protocol: asyncio.BaseProtocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = self.closed or "eof"

    def close(self) -> None:
        self.closed = "closed"

    def abort(self) -> None:
        self.closed = "aborted"

    def is_closing(self) -> bool:
        return self.closed in ("closed", "aborted")

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol


class Connection:
    """A protocol of ours (or uvicorn's) with `app` behind it."""

    def __init__(self, app: App, kind: type[HttpToolsProtocol] = HostlerProtocol) -> None:
        config = uvicorn.Config(
            cast("Any", app), http=kind, ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        config.load()
        self.state = ServerState()
        self.protocol = kind(config, self.state, {}, asyncio.get_running_loop())
        self.wire = Wire()
        self.protocol.connection_made(self.wire)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def feed(self, data: bytes) -> bytes:
        """What is answered to `data`."""
        before = len(self.wire.sent)
        self.protocol.data_received(data)
        await self.settle()
        return self.wire.sent[before:]


GET = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"


def answering(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(dict(message))

    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.mark.parametrize(
    "name",
    [
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_header",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
        "_unset_keepalive_if_required",
        "shutdown",
        "pause_writing",
        "resume_writing",
    ],
)
def test_what_is_overridden_or_called_exists(name: str) -> None:
    assert inspect.isfunction(getattr(HttpToolsProtocol, name))


async def test_what_is_read_of_a_connection_exists() -> None:
    connection = Connection(answering(start(), body(b"ok")))
    protocol = connection.protocol
    assert vars(protocol)["cycle"] is None
    assert isinstance(protocol.parser, httptools.HttpRequestParser)
    await connection.feed(GET)

    for name in ("transport", "flow", "loop", "pipeline", "headers", "url", "timeout_keep_alive_task"):
        assert hasattr(protocol, name), name
    for name in (
        "scope",
        "transport",
        "flow",
        "message_event",
        "on_response",
        "keep_alive",
        "disconnected",
        "more_body",
        "response_started",
        "response_complete",
        "chunked_encoding",
        "expected_content_length",
        "send",
    ):
        assert hasattr(protocol.cycle, name), name
    protocol.connection_lost(None)
    assert vars(protocol)["parser"] is None


async def test_the_scope_is_what_the_gateway_reads() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        cycles.append(scope["extensions"][EXTENSION].cycle)
        await answering(start(), body(b""))(scope, receive, send)

    cycles: list[object] = []
    connection = Connection(app)
    await connection.feed(GET)

    scope = seen[0]
    assert (scope["type"], scope["method"], scope["scheme"]) == ("http", "GET", "http")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"q=1")
    assert scope["headers"] == [(b"host", b"h")]
    assert scope["http_version"] == "1.1"
    assert scope["root_path"] == ""
    assert cycles == [connection.protocol.cycle]
    # Answered: nothing that refers to itself may be left to the collector.
    assert scope["extensions"][EXTENSION].cycle is None
    connection.protocol.connection_lost(None)


async def test_an_answer_without_a_length_is_chunked_unless_that_was_decided() -> None:
    connection = Connection(answering(start(), body(b"one", more=True), body(b"")))
    assert (await connection.feed(GET)).endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n")
    old = await connection.feed(GET.replace(b"1.1", b"1.0"))
    assert b"transfer-encoding" not in old
    assert old.endswith(b"connection: close\r\n\r\none")
    assert connection.wire.closed == "closed"
    connection.protocol.connection_lost(None)


async def test_the_end_of_an_answer_is_told_and_the_next_request_begun() -> None:
    connection = Connection(answering(start((b"content-length", b"2")), body(b"ok")))
    sent = await connection.feed(GET + GET)

    assert sent.count(b"HTTP/1.1 200 OK") == 2
    assert connection.state.total_requests == 2
    assert connection.protocol._edges == []  # type: ignore[attr-defined]
    assert connection.protocol.timeout_keep_alive_task is not None
    connection.protocol.connection_lost(None)
    assert connection.protocol.timeout_keep_alive_task is None


async def test_a_disconnect_is_told_without_anybody_asking() -> None:
    gone: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][EXTENSION].on_disconnect(lambda: gone.append("now"))
        await send(start())
        await asyncio.get_running_loop().create_future()

    connection = Connection(app)
    await connection.feed(GET)
    cycle = connection.protocol.cycle
    assert isinstance(cycle, RequestResponseCycle)
    connection.protocol.connection_lost(None)

    assert gone == ["now"]
    assert cycle.disconnected
    await cycle.send(cast("Any", body(b"nobody hears this")))  # and that is no error
    for task in connection.state.tasks:
        task.cancel()
    await connection.settle()


async def test_who_asks_after_the_disconnect_is_told_at_once() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        message = await receive()
        assert message["type"] == "http.disconnect"
        scope["extensions"][EXTENSION].on_disconnect(lambda: told.append("late"))

    connection = Connection(app)
    await connection.feed(GET)
    connection.protocol.connection_lost(None)
    await connection.settle()

    assert told == ["late"]


@pytest.mark.parametrize(
    ("headers", "version", "how"),
    [
        ((), b"1.1", "closed"),  # the last chunk is missing
        (((b"content-length", b"9"),), b"1.1", "closed"),  # bytes are missing
        ((), b"1.0", "aborted"),  # only a reset can tell
    ],
)
async def test_an_answer_is_broken_off_so_that_it_can_be_seen(
    headers: tuple[tuple[bytes, bytes], ...], version: bytes, how: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(*headers))
        await send(body(b"part", more=True))
        scope["extensions"][EXTENSION].abort()

    connection = Connection(app)
    sent = await connection.feed(GET.replace(b"1.1", version))

    assert b"part" in sent
    assert not sent.endswith(b"0\r\n\r\n")
    assert connection.wire.closed == how
    connection.protocol.connection_lost(None)


async def test_the_parser_stops_where_a_protocol_would_be_switched() -> None:
    """And tells the offset; the rest has to be fed again."""
    parser = httptools.HttpRequestParser(object())
    first = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as stopped:
        parser.feed_data(first + GET)

    assert stopped.value.args == (len(first),)
    parser.feed_data(GET)


async def test_trailers_are_not_headers() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        seen.append(scope)
        await answering(start(), body(b""))(scope, receive, send)

    connection = Connection(app)
    await connection.feed(
        b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nauthorization: Bearer forged\r\n\r\n"
    )

    assert seen[0]["headers"] == [(b"host", b"h"), (b"transfer-encoding", b"chunked")]
    connection.protocol.connection_lost(None)


async def test_a_connection_can_be_taken_over() -> None:
    """And uvicorn then neither answers on it nor forgets to count it."""
    taken: list[bytes] = []
    over = asyncio.get_running_loop().create_future()

    class Inner(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            taken.append(data)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        taken.append(connection.protocol.take_over(Inner()))  # type: ignore[attr-defined]
        await over

    connection = Connection(app)
    upgrade = b"GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert await connection.feed(upgrade + b"early") == b""

    (known,) = connection.state.connections
    assert connection.wire.protocol is known
    known.data_received(b"late")
    assert taken == [b"early", b"late"]
    over.set_result(None)
    await connection.settle()
    assert connection.state.tasks == set()
    assert connection.wire.sent == b""
    known.shutdown()
    assert connection.wire.closed == "closed"
    known.connection_lost(None)
    assert connection.state.connections == set()


async def test_a_connection_that_is_not_taken_over_goes_on() -> None:
    connection = Connection(answering(start((b"content-length", b"2")), body(b"ok")))
    upgrade = b"GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    sent = await connection.feed(upgrade + GET + upgrade)

    assert sent.count(b"HTTP/1.1 200 OK") == 3
    connection.protocol.connection_lost(None)


def test_the_server_has_what_is_driven_from_outside() -> None:
    from hostler.logs.monitor import LogMonitor

    server = make_server(answering(), log=LogMonitor("proxy", epoch="e"), tls=None)

    assert issubclass(Server, uvicorn.Server)
    assert inspect.iscoroutinefunction(uvicorn.Server.startup)
    assert server.should_exit is False
    for name in ("servers", "stop_listening"):
        assert name == "servers" or hasattr(server, name)
    assert server.config.http_protocol_class is HostlerProtocol
    assert server.config.lifespan_class is not None
    assert server.server_state.connections == set()
