"""What must hold of answers that wait for the end of the turn: they are written before anything else is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from test_held_requests import ASKED, App, fed
from test_server_contract import Connection

from hostler.gateway.known_answers import KnownAnswer, known_answer
from hostler.gateway.outbox import Outbox
from hostler.gateway.sinks import ResponseHead
from hostler.web.call import Call
from hostler.web.protocol import HostlerProtocol

HEADERS = [(b"content-length", b"2"), (b"x-a", b"100%")]
SAID = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 100%\r\n\r\nok"


class Waits(App):
    """Puts its answers into an outbox."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()

    def flush(self) -> None:
        self.outbox.flush()


def known() -> KnownAnswer:
    found = known_answer(ResponseHead(200, HEADERS, dict(HEADERS), 2), SAID, 2)
    assert found is not None
    return found


def answer(call: Call, outbox: Outbox | None) -> None:
    call.answer(known(), [b"3"], b"mine", b"yes", outbox)


async def answered() -> tuple[Connection, HostlerProtocol, Waits]:
    app = Waits()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    answer(app.calls[-1], app.outbox)
    assert connection.wire.sent == b""
    return connection, protocol, app


def is_there(connection: Connection) -> bool:
    sent = connection.wire.sent
    return (
        sent.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: 100%\r\nx-request-id: mine\r\ndate: ")
        and sent.count(b"\r\n\r\nyes") == 1
    )


ENDS: dict[str, Callable[[HostlerProtocol], object]] = {
    "stop": HostlerProtocol.shutdown,
    "half": HostlerProtocol.eof_received,
    "rubbish": lambda protocol: protocol.data_received(b"\0\0\r\n\r\n"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_the_end_of_a_connection_comes_behind_its_answer(
    end: Callable[[HostlerProtocol], object],
) -> None:
    connection, protocol, _ = await answered()
    end(protocol)

    assert is_there(connection)
    protocol.connection_lost(None)


async def test_it_is_written_at_the_end_of_the_turn() -> None:
    connection, protocol, _ = await answered()
    await asyncio.sleep(0)

    assert is_there(connection)
    assert not connection.wire.closed
    protocol.connection_lost(None)


async def test_the_answer_behind_it_comes_behind_it() -> None:
    app = Waits()
    connection, protocol = fed(app)
    await connection.feed(ASKED)
    protocol.data_received(b"GET /other HTTP/1.1\r\nhost: h\r\n\r\n")
    answer(app.calls[-1], app.outbox)
    await connection.settle()

    assert is_there(connection)
    assert connection.wire.sent.endswith(b"ok")
    assert app.asked == [("/other", b"")]
    protocol.connection_lost(None)


async def test_the_last_answer_of_a_connection_does_not_wait() -> None:
    app = Waits()
    connection, protocol = fed(app)
    await connection.feed(ASKED.replace(b"host: h", b"host: h\r\nconnection: close"))
    answer(app.calls[-1], app.outbox)

    assert b"\r\nconnection: close\r\n" in connection.wire.sent
    assert connection.wire.closed == "closed"
    protocol.connection_lost(None)


async def test_who_has_left_is_sent_nothing() -> None:
    connection, protocol, app = await answered()
    connection.wire.closed = "aborted"
    protocol.connection_lost(None)
    app.flush()

    assert connection.wire.sent == b""
