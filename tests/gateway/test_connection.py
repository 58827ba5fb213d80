"""What must hold: an answer arrives whole and once, however its bytes are split, or fails visibly."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.errors import UpstreamFailed
from hostler.gateway.connection import MAX_HEAD_BYTES, Connection
from hostler.gateway.origin import Origin
from hostler.gateway.sinks import ConnectionLost, ResponseHead

ORIGIN = Origin("http", "127.0.0.1", 1)

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
TRAILED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED
TO_THE_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"


class FakeTransport:
    """Records what is written and whether it was closed."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False
        self.reading = True
        self.protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Keeper:
    """Stands in for the pool."""

    def __init__(self) -> None:
        self.kept: list[Connection] = []
        self.lost: list[Connection] = []

    def give_back(self, connection: Connection) -> None:
        self.kept.append(connection)

    def forget(self, connection: Connection) -> None:
        self.lost.append(connection)


class Recorder:
    """A sink that keeps everything, and insists on the order."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.ended = 0
        self.settled = 0
        self.error: UpstreamFailed | None = None

    def on_head(self, head: ResponseHead) -> None:
        assert self.head is None
        self.head = head

    def on_settled(self) -> None:
        assert self.head is not None
        assert not self.ended
        self.settled += 1

    def on_data(self, data: bytes) -> None:
        assert self.head is not None
        assert not self.ended
        assert data
        self.body += data

    def on_chunk(self, chunk: bytes, start: int) -> None:
        self.on_data(chunk[start:-2])

    def on_end(self) -> None:
        assert self.error is None
        self.ended += 1

    def on_failure(self, error: UpstreamFailed) -> None:
        assert not self.ended
        assert self.error is None
        self.error = error


def connect() -> tuple[Connection, FakeTransport, Keeper]:
    keeper = Keeper()
    connection = Connection(ORIGIN, keeper)
    transport = FakeTransport()
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    return connection, transport, keeper


def play(
    answer: bytes, *, split: int = 0, method: str = "POST", close: bool = False
) -> tuple[Recorder, Keeper]:
    connection, _, keeper = connect()
    sink = Recorder()
    connection.send(b"HEAD", b"BODY", sink, method=method)
    size = split or len(answer)
    for start in range(0, len(answer), size):
        connection.data_received(answer[start : start + size])
    if close:
        connection.connection_lost(None)
    return sink, keeper


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, TRAILED, CONTINUED])
@pytest.mark.parametrize("split", [0, 1, 2, 7])
def test_an_answer_is_the_same_however_it_is_split(answer: bytes, split: int) -> None:
    sink, keeper = play(answer, split=split)

    assert sink.head is not None
    assert sink.head.status == 200
    assert sink.body == b"hello"
    assert sink.ended == 1
    assert len(keeper.kept) == 1


def test_a_body_without_length_ends_with_the_connection() -> None:
    sink, keeper = play(TO_THE_END, close=True)

    assert sink.body == b"hello"
    assert sink.ended == 1
    assert keeper.kept == []


@pytest.mark.parametrize("answer", [SIZED[:-1], CHUNKED[:-5], CHUNKED[:-2], SIZED[:20]])
def test_an_answer_that_breaks_off_is_a_failure(answer: bytes) -> None:
    sink, _ = play(answer, close=True)

    assert sink.ended == 0
    assert sink.error is not None
    assert "middle of its answer" in sink.error.message


def test_no_answer_at_all_is_told_apart() -> None:
    sink, _ = play(b"", close=True, split=1)

    assert isinstance(sink.error, ConnectionLost)


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\x00\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_what_is_not_an_answer_fails_and_ends_the_connection(answer: bytes) -> None:
    connection, transport, keeper = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="POST")

    connection.data_received(answer)

    assert sink.error is not None
    assert transport.closed
    assert keeper.kept == []


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-A: 1\r\n\r\n"


@pytest.mark.parametrize("split", [0, 1, 7])
def test_a_switched_connection_is_given_away(split: int) -> None:
    connection, transport, keeper = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="GET", upgrade=True)
    size = split or len(SWITCH)
    for start in range(0, len(SWITCH), size):
        last = start + size >= len(SWITCH)
        connection.data_received(SWITCH[start : start + size] + (b"\x81\0" if last else b""))

    assert sink.head is not None
    assert sink.head.status == 101
    assert (b"x-a", b"1") in sink.head.headers
    assert not transport.reading
    heir = asyncio.Protocol()
    given, early = connection.detach(heir)
    assert cast("object", given) is transport
    assert early == b"\x81\0"
    assert transport.protocol is heir
    assert keeper.lost == [connection]
    connection.abandon()
    assert not transport.closed
    with pytest.raises(UpstreamFailed):
        connection.detach(heir)


def test_a_connection_that_is_gone_before_it_is_taken() -> None:
    connection, _, _ = connect()
    connection.send(b"", b"", Recorder(), method="GET", upgrade=True)
    connection.data_received(SWITCH)
    connection.connection_lost(None)
    with pytest.raises(UpstreamFailed):
        connection.detach(asyncio.Protocol())


def test_who_asked_for_a_switch_takes_another_answer_too() -> None:
    connection, _, keeper = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="GET", upgrade=True)
    connection.data_received(SIZED.replace(b"200 OK", b"426 Upgrade Required\r\nUpgrade: websocket"))
    assert (sink.body, sink.ended) == (b"hello", 1)
    assert keeper.kept == [connection]


@pytest.mark.parametrize("extra", [b"x", SIZED])
def test_bytes_after_the_answer_spoil_the_connection(extra: bytes) -> None:
    connection, transport, _ = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="POST")

    connection.data_received(SIZED)
    connection.data_received(extra)

    assert sink.ended == 1
    assert sink.body == b"hello"
    assert transport.closed


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, TRAILED, CONTINUED])
@pytest.mark.parametrize(
    "behind",
    [
        SIZED.replace(b"hello", b"other"),
        CHUNKED,
        SWITCH,
        b"x",
        b"HTTP/1.1 999 What\r\n\r\n",
        b"\r\n",
        SIZED[:30],
    ],
    ids=["sized", "chunked", "switch", "rubbish", "no status", "empty line", "half a head"],
)
def test_what_comes_behind_an_answer_in_the_same_read_is_nobodys(answer: bytes, behind: bytes) -> None:
    """The answer is whole, and told once, with its own head; what carried more is not used again."""
    connection, transport, keeper = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="POST")

    connection.data_received(answer + behind)

    assert sink.head is not None
    assert sink.head.status == 200
    assert sink.head.headers
    assert (sink.body, sink.ended, sink.error) == (b"hello", 1, None)
    if behind != b"\r\n":  # which RFC 9112 (section 2.2) has a reader overlook
        assert transport.closed
        assert keeper.kept == []


@pytest.mark.parametrize("head", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"])
def test_head_has_no_body(head: bytes) -> None:
    sink, _ = play(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", method="HEAD")

    assert sink.ended == 1
    assert sink.body == b""


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_statuses_without_body(status: bytes) -> None:
    sink, keeper = play(b"HTTP/1.1 " + status + b"\r\nX: y\r\n\r\n")

    assert sink.ended == 1
    assert len(keeper.kept) == 1


def test_connection_close_is_respected() -> None:
    sink, keeper = play(SIZED.replace(b"X-A: 1", b"Connection: close"))

    assert sink.ended == 1
    assert keeper.kept == []


def test_giving_up_ends_the_connection_so_that_the_engine_notices() -> None:
    connection, transport, _ = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="POST")
    connection.data_received(CHUNKED[:60])

    connection.abandon()
    connection.connection_lost(None)

    assert transport.closed
    assert sink.ended == 0
    assert sink.error is None


@given(answer=st.binary(max_size=300), split=st.integers(1, 50))
def test_no_bytes_at_all_break_it(answer: bytes, split: int) -> None:
    sink, _ = play(b"HTTP/1.1 200 OK\r\n" + answer, split=split, close=True)

    assert sink.ended == 1 or sink.error is not None
