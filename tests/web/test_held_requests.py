"""What must hold of a request that is held back for its body: it is offered once, or served as any other.

Nothing that arrives may be lost, nor any order changed, whatever comes with it, behind it, or not at all.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from test_server_contract import Connection, body, start

from hostler.gateway.edge import Message, Receive, Scope, Send
from hostler.web.call import Call
from hostler.web.protocol import HostlerProtocol

HEAD = b"POST /at HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\n"
ASKED = HEAD + b"body"
OTHER = b"GET /other HTTP/1.1\r\nhost: h\r\n\r\n"
CLOSING = ASKED.replace(b"host: h", b"host: h\r\nconnection: close")


class Owner:
    def __init__(self) -> None:
        self.left = 0

    def lost(self) -> None:
        self.left += 1


class App:
    """Takes what is offered, or does not; `asked` is what was served in the ordinary way, with its body."""

    at_once = frozenset((b"/at",))

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.calls: list[Call] = []
        self.owner = Owner()
        self.asked: list[tuple[str, bytes]] = []

    def serve_now(self, call: Call) -> bool:
        self.calls.append(call)
        if self.takes:
            call.owner = self.owner
        return self.takes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = b""
        more = True
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                self.asked.append((scope["path"], b"(left)"))
                return
            found, more = found + message["body"], message["more_body"]
        self.asked.append((scope["path"], found))
        await send(start((b"content-length", b"2")))
        await send(body(b"ok"))


def answer(call: Call, data: bytes = b"now") -> None:
    writer = call.writer()
    writer.begin(200, [(b"content-length", b"%d" % len(data))], len(data))
    writer.write(data)
    writer.end()


def fed(app: App) -> tuple[Connection, HostlerProtocol]:
    connection = Connection(app)
    assert isinstance(connection.protocol, HostlerProtocol)
    return connection, connection.protocol


async def test_a_whole_request_is_offered_and_needs_no_task() -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED.replace(b"host", b"HOST"))

    (call,) = app.calls
    assert (call.method, call.target, call.body) == (b"POST", b"/at", b"body")
    assert call.headers == [(b"host", b"h"), (b"content-length", b"4")]
    assert call.given[b"host"] == b"h"
    assert call.scheme == "http"
    assert connection.state.tasks == set()
    answer(call)
    assert connection.wire.sent.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n")
    assert connection.wire.sent.endswith(b"\r\n\r\nnow")
    assert not connection.wire.closed
    assert call.owner is None
    assert connection.state.total_requests == 1
    assert protocol.timeout_keep_alive_task is not None
    protocol.connection_lost(None)
    assert app.owner.left == 0


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_a_body_in_pieces_is_offered_when_it_is_whole(size: int) -> None:
    app = App()
    connection, protocol = fed(app)
    for place in range(0, len(ASKED), size):
        assert app.calls == []
        await connection.feed(ASKED[place : place + size])

    assert [call.body for call in app.calls] == [b"body"]
    answer(app.calls[0])
    await connection.feed(ASKED)
    assert len(app.calls) == 2
    protocol.connection_lost(None)


async def test_what_is_not_taken_is_served_as_any_other() -> None:
    app = App(takes=False)
    connection, protocol = fed(app)
    for _ in range(2):
        sent = await connection.feed(ASKED)
        assert sent.endswith(b"ok")

    assert app.asked == [("/at", b"body")] * 2
    assert len(app.calls) == 2
    protocol.connection_lost(None)


ORDINARY = {
    "another path": ASKED.replace(b"/at", b"/at/"),
    "a query": ASKED.replace(b"/at", b"/at?x"),
    "another method": ASKED.replace(b"POST", b"PUT"),
    "chunks": HEAD.replace(b"content-length: 4", b"transfer-encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n",
    "a wish to switch": ASKED.replace(b"host: h", b"host: h\r\nconnection: upgrade\r\nupgrade: h2c"),
    "an old client": ASKED.replace(b"1.1", b"1.0"),
    "leave to send": ASKED.replace(b"host: h", b"host: h\r\nexpect: 100-continue"),
    "a large body": HEAD.replace(b": 4", b": 65537") + b"x" * 65_537,
}


@pytest.mark.parametrize("data", ORDINARY.values(), ids=ORDINARY.keys())
async def test_what_is_not_simple_is_not_held(data: bytes) -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(data)

    assert app.calls == []
    assert [found for _, found in app.asked] == [
        data[data.index(b"\r\n\r\n") + 4 :] if b"chunked" not in data else b"body"
    ]
    protocol.connection_lost(None)


AGAIN = {
    "longer": (HEAD.replace(b": 4", b": 11") + b"longer body", b"longer body"),
    "shorter": (HEAD.replace(b": 4", b": 1") + b"x", b"x"),
    "another client": (ASKED.replace(b"host: h", b"host: h\r\nx: y"), b"body"),
    "too long": (HEAD.replace(b": 4", b": 65537") + b"x" * 65_537, None),
    "another method": (ASKED.replace(b"POST", b"PUT"), None),
    "an old client": (ASKED.replace(b"1.1", b"1.0"), None),
    "no length": (HEAD.replace(b"content-length: 4", b"transfer-encoding: chunked") + b"0\r\n\r\n", None),
}


@pytest.mark.parametrize(("data", "offered"), AGAIN.values(), ids=AGAIN.keys())
async def test_the_same_headers_do_not_make_it_the_same_request(data: bytes, offered: bytes | None) -> None:
    app = App()
    connection, protocol = fed(app)
    for _ in range(2):
        await connection.feed(ASKED)
        answer(app.calls[-1])
    await connection.feed(data)

    assert [call.body for call in app.calls[2:]] == ([] if offered is None else [offered])
    assert len(app.asked) == (offered is None)
    for call in app.calls[2:]:
        length = next(value for name, value in call.headers if name == b"content-length")
        assert int(length) == len(call.body)
    protocol.connection_lost(None)


async def test_a_body_that_takes_long_is_waited_for_in_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hostler.web.held.HELD_SECONDS", 0.0)
    app = App()
    connection, protocol = fed(app)
    await connection.feed(HEAD + b"bo")
    assert connection.state.tasks  # it has begun, and waits
    assert app.asked == []
    await connection.feed(b"dy")

    assert (app.calls, app.asked) == ([], [("/at", b"body")])
    await connection.feed(ASKED)
    assert len(app.calls) == 1
    protocol.connection_lost(None)


BEHIND = {
    "the same": (ASKED, 2, ""),
    "another": (OTHER, 2, ""),
    "many": (OTHER + ASKED + OTHER, 4, ""),
    "half a head": (OTHER[:20], 1, ""),
    "rubbish": (b"\0\1", 1, "closed"),
    "a wrong head": (b"GET / HTTP/1.1\r\n\r\n", 1, "closed"),
    "a wish to switch": (
        OTHER.replace(b"host: h", b"host: h\r\nconnection: upgrade\r\nupgrade: websocket"),
        2,
        "",
    ),
}


@pytest.mark.parametrize(("behind", "answers", "end"), BEHIND.values(), ids=BEHIND.keys())
async def test_what_comes_behind_in_the_same_read(behind: bytes, answers: int, end: str) -> None:
    """Its turn comes later; the first one then takes the ordinary way, which knows of turns."""
    app = App()
    connection, protocol = fed(app)
    sent = await connection.feed(ASKED + behind)

    assert app.calls == []
    assert sent.count(b"HTTP/1.1 200 OK") == answers
    assert app.asked[0] == ("/at", b"body")
    assert connection.wire.closed == end
    protocol.connection_lost(None)


@pytest.mark.parametrize("data", [ASKED + b"\r\n", CLOSING + ASKED, CLOSING + b"\0"])
async def test_what_is_no_request_behind_it_does_not_matter(data: bytes) -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(data)
    (call,) = app.calls
    answer(call)
    await connection.settle()

    assert connection.wire.sent.endswith(b"\r\n\r\nnow")
    assert app.asked == []
    protocol.connection_lost(None)


@pytest.mark.parametrize(("behind", "answers", "end"), BEHIND.values(), ids=BEHIND.keys())
async def test_what_comes_while_a_call_is_served_waits_for_its_end(
    behind: bytes, answers: int, end: str
) -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    assert await connection.feed(behind) == b""
    assert len(app.calls) == 1
    answer(app.calls[0])
    await connection.settle()

    assert connection.wire.sent.count(b"HTTP/1.1 200 OK") == answers
    assert b"\r\n\r\nnow" in connection.wire.sent.partition(b"\r\n\r\nok")[0]
    assert connection.wire.closed == end
    assert not end or b"connection: close" in connection.wire.sent
    protocol.connection_lost(None)


async def test_a_request_behind_a_request_of_the_ordinary_way_waits() -> None:
    app = App()
    connection, protocol = fed(app)
    sent = await connection.feed(OTHER + ASKED)
    assert sent.count(b"HTTP/1.1 200 OK") == 2
    assert app.calls == []
    await connection.feed(ASKED)
    assert len(app.calls) == 1
    protocol.connection_lost(None)


async def test_a_call_may_follow_a_request_that_was_not_switched() -> None:
    app = App()
    connection, protocol = fed(app)
    upgrade = OTHER.replace(b"host: h", b"host: h\r\nconnection: upgrade\r\nupgrade: websocket")
    await connection.feed(upgrade + ASKED)
    assert app.asked == [("/other", b"")]
    (call,) = app.calls
    assert call.body == b"body"
    answer(call)
    protocol.connection_lost(None)


async def test_the_last_request_of_a_connection() -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(CLOSING)
    answer(app.calls[0])
    assert b"\r\nconnection: close\r\n" in connection.wire.sent
    assert connection.wire.closed == "closed"
    protocol.connection_lost(None)


@pytest.mark.parametrize("sent", [HEAD, HEAD + b"bo"])
async def test_who_leaves_before_the_body_is_known_to_have_asked(sent: bytes) -> None:
    """The access log has a line for every head that has come."""
    app = App()
    connection, protocol = fed(app)
    await connection.feed(sent)
    protocol.connection_lost(None)
    await connection.settle()

    assert (app.calls, app.asked) == ([], [("/at", b"(left)")])
    assert connection.state.tasks == set()


async def test_a_stop_lets_a_request_that_has_begun_to_come_be_answered() -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(HEAD)
    protocol.shutdown()
    assert not connection.wire.is_closing()
    sent = await connection.feed(b"body")

    assert app.asked == [("/at", b"body")]
    assert b"connection: close" in sent
    assert connection.wire.closed == "closed"
    protocol.connection_lost(None)


async def test_a_stop_lets_a_call_end() -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    protocol.shutdown()
    assert not connection.wire.is_closing()
    answer(app.calls[0])
    assert connection.wire.closed == "closed"
    protocol.connection_lost(None)


@pytest.mark.parametrize("behind", [b"", ASKED, OTHER + OTHER[:9]])
async def test_the_owner_is_told_once_that_the_client_left(behind: bytes) -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    if behind:
        await connection.feed(behind)
    protocol.connection_lost(ConnectionResetError())

    assert app.owner.left == 1
    (call,) = app.calls
    writer = call.writer()
    assert not writer.write(b"nobody hears this")
    writer.end()
    assert connection.wire.sent == b""


@pytest.mark.parametrize(("length", "how"), [(None, "closed"), (9, "closed"), (0, "aborted")])
async def test_a_call_is_broken_off_so_that_it_can_be_seen(length: int | None, how: str) -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    writer = app.calls[0].writer()
    writer.begin(200, [], length)
    writer.flush()
    app.calls[0].abort()

    assert connection.wire.closed == how
    assert await connection.feed(ASKED) == b""
    protocol.connection_lost(None)


@pytest.mark.parametrize("end", [answer, Call.abort])
async def test_nothing_is_left_to_the_collector(end: Callable[[Call], Any]) -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    end(app.calls.pop())
    protocol.connection_lost(None)
    gone = weakref.ref(protocol)
    connection.wire.protocol = asyncio.Protocol()
    gc.disable()
    try:
        del connection, protocol
        assert gone() is None
    finally:
        gc.enable()
