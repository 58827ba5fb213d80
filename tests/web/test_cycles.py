"""What must hold of requests that follow one another: one whose client is behind waits, and none is lost."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from test_held_requests import ASKED, OTHER, App, answer, fed
from test_server_contract import Connection

from hostler.gateway.edge import EXTENSION, Receive, Scope, Send
from hostler.web.protocol import HostlerProtocol

WRONG = b"POST /other HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nrubbish\r\n"


async def behind(app: App, *, known: bool = False) -> tuple[Connection, HostlerProtocol]:
    """A connection whose client was answered, and does not read."""
    connection, protocol = fed(app)
    for _ in range(2 if known else 1):
        await connection.feed(ASKED)
        answer(app.calls[-1])
    app.calls.clear()
    connection.wire.sent = b""
    protocol.pause_writing()
    return connection, protocol


def is_read(protocol: HostlerProtocol) -> bool:
    return not protocol.flow.read_paused


@pytest.mark.parametrize("known", [False, True])
async def test_who_does_not_read_is_answered_no_further(known: bool) -> None:
    app = App()
    connection, protocol = await behind(app, known=known)
    await connection.feed(ASKED)
    assert not is_read(protocol)
    await connection.feed(OTHER)
    assert (app.calls, app.asked, connection.wire.sent) == ([], [], b"")

    protocol.resume_writing()
    await connection.settle()
    await connection.settle()
    assert app.asked == [("/at", b"body"), ("/other", b"")]
    assert is_read(protocol)
    await connection.feed(ASKED)
    assert len(app.calls) == 1


async def test_what_was_asked_before_the_answer_waits_as_well() -> None:
    app = App()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    await connection.feed(OTHER)
    protocol.pause_writing()
    answer(app.calls[0])
    await connection.settle()
    assert app.asked == []

    protocol.resume_writing()
    await connection.settle()
    assert app.asked == [("/other", b"")]


@pytest.mark.parametrize("ahead", [b"", OTHER])
async def test_what_waits_may_turn_out_to_be_wrong(ahead: bytes) -> None:
    app = App()
    connection, protocol = await behind(app)
    await connection.feed(ahead + WRONG)
    protocol.resume_writing()
    await connection.settle()

    assert app.asked == ([("/other", b"")] if ahead else [])
    assert connection.wire.sent.startswith(b"HTTP/1.1 200" if ahead else b"HTTP/1.1 400")
    assert connection.wire.closed


@pytest.mark.parametrize("count", [1, 3])
async def test_nothing_that_a_client_leaves_behind_waits_for_the_collector(count: int) -> None:
    class Waits(App):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["type"] == "http.request"
            assert (await receive())["type"] == "http.disconnect"
            edge = scope["extensions"][EXTENSION]
            edge.on_disconnect(lambda: self.asked.append(("told", b"")))

    app = Waits()
    connection, protocol = fed(app)
    gc.collect()
    gc.disable()
    try:
        for _ in range(count):
            await connection.feed(OTHER)
        left: list[Callable[[], object]]
        left = [weakref.ref(protocol), *(weakref.ref(edge.cycle) for edge in protocol._edges)]
        protocol.connection_lost(None)
        for _ in range(3):
            await connection.settle()
        del connection, protocol

        assert app.asked == [("told", b"")]
        assert [one() for one in left] == [None] * (count + 1)
    finally:
        gc.enable()


async def test_who_leaves_is_gone_for_each_of_its_requests() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    began = asyncio.Event()

    class Waits(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            began.set()
            await receive()
            await receive()

    connection, protocol = fed(Waits())
    await connection.feed(OTHER)
    await began.wait()
    first = protocol.cycle
    await connection.feed(OTHER)
    protocol.connection_lost(None)
    await connection.settle()

    await connection.settle()

    assert first.disconnected
    assert not protocol.tasks
    assert told == []
