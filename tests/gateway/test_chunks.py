"""What must hold of answers in chunks: whole chunks are passed on as they came, and no byte of it differs."""

from __future__ import annotations

import itertools
from typing import cast

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_connection import Recorder, connect

from hostler.gateway.connection import Connection
from hostler.gateway.edge import Writer
from hostler.gateway.observe import Observed
from hostler.gateway.relay import MAX_UNSEEN, Passage
from hostler.gateway.sinks import ResponseHead

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
TEXT = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"1", b"5", b"a", b"0", b";"]), min_size=1).map(
    b"".join
)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Client:
    """Takes an answer as `AnswerWriter` does; what it was sent is parsed at the end."""

    def __init__(self) -> None:
        self.flow = self.state = self
        self.disconnected = False
        self.write_paused = False
        self.through = None
        self.sent = HEAD
        self.as_they_came = 0

    def write(self, data: bytes) -> bool:
        self.sent += framed(data)
        self.through = self._take  # type: ignore[assignment]
        return self.write_paused

    def _take(self, chunk: bytes) -> None:
        self.as_they_came += 1
        self.sent += chunk

    def on_drain(self, callback: object) -> None:
        """Nobody waits here."""

    def body(self) -> bytes:
        found: list[bytes] = []
        ended: list[bool] = []

        class Reader:
            def on_body(self, data: bytes) -> None:
                found.append(data)

            def on_message_complete(self) -> None:
                ended.append(True)

        httptools.HttpResponseParser(Reader()).feed_data(self.sent + LAST)
        assert ended == [True]
        return b"".join(found)


class Seen:
    """Is keen on the first `keen` pieces that it sees."""

    def __init__(self, keen: int = 1) -> None:
        self.pieces: list[bytes] = []
        self._keen = keen
        self.fails = False

    def passed(self, data: bytes) -> bool:
        self.pieces.append(data)
        if self.fails:
            raise RuntimeError("a bug")
        return len(self.pieces) < self._keen


class Relayed(Passage):
    """A passage that is told of its head and its end."""

    def on_head(self, head: ResponseHead) -> None:
        self.ended = 0

    def on_settled(self) -> None:
        """The head was handed on before."""

    def on_end(self) -> None:
        self.look()
        self.ended += 1

    def on_failure(self, error: Exception) -> None:
        raise AssertionError(error)


def relayed(connection: Connection, keen: int = 1) -> tuple[Relayed, Client, Seen]:
    client, seen = Client(), Seen(keen)
    relay = Relayed()
    relay._connection, relay.writer = connection, cast("Writer", client)
    relay.observed = cast("Observed", seen)
    connection.send(b"", b"", relay, method="POST")
    return relay, client, seen


def reads(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[one:two] for one, two in itertools.pairwise(places)]


@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(st.integers(0, 300), max_size=8))
@example([b"1\r\n1", b"\r\n\r\n", b"5"], [])
def test_whatever_the_reads_are_the_client_gets_the_same(texts: list[bytes], cuts: list[int]) -> None:
    data = HEAD + b"".join(map(framed, texts)) + LAST
    connection, _, keeper = connect()
    relay, client, seen = relayed(connection)
    for read in reads(data, cuts):
        connection.data_received(read)

    assert client.body() == b"".join(texts)
    assert relay.sent == len(b"".join(texts))
    assert b"".join(seen.pieces) == b"".join(texts)
    assert relay.ended == 1
    assert keeper.kept == [connection]


@given(st.lists(TEXT, min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_chunks_that_come_alone_mix_with_others(texts: list[bytes], split: set[int]) -> None:
    connection, _, _ = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="POST")
    connection.data_received(HEAD)
    for number, text in enumerate(texts):
        chunk = framed(text)
        cut = len(chunk) - number - 1 if number in split else len(chunk)
        for read in (chunk[:cut], chunk[cut:]):
            if read:
                connection.data_received(read)
    connection.data_received(LAST)

    assert sink.body == b"".join(texts)
    assert sink.ended == 1


def test_a_chunk_that_comes_alone_is_not_taken_apart() -> None:
    connection, _, _ = connect()
    relay, client, seen = relayed(connection)
    connection.data_received(HEAD)
    for _ in range(10):
        connection.data_received(framed(b"event"))

    assert client.as_they_came == 9  # the first one was looked at
    assert (relay.sent, seen.pieces) == (50, [b"event"])
    relay.look()
    assert b"".join(seen.pieces) == b"event" * 10


def test_a_client_that_is_gone_is_sent_no_chunk() -> None:
    connection, _, _ = connect()
    _, client, _ = relayed(connection)
    connection.data_received(HEAD)
    for gone in (False, False, True):
        client.disconnected = gone
        connection.data_received(framed(b"event"))

    assert client.as_they_came == 1


def test_what_is_not_looked_at_yet_is_bounded() -> None:
    connection, _, _ = connect()
    _, _, seen = relayed(connection)
    connection.data_received(HEAD)
    for _ in range(500):
        connection.data_received(framed(b"x" * 100))

    assert 500 * 100 - len(b"".join(seen.pieces)) <= MAX_UNSEEN
    assert len(seen.pieces) < 20


def test_what_went_wrong_when_it_was_looked_at_is_not_looked_at_again() -> None:
    connection, _, _ = connect()
    relay, _, seen = relayed(connection)
    connection.data_received(HEAD)
    seen.fails = True
    with pytest.raises(RuntimeError):
        connection.data_received(framed(b"one"))
    relay.look()

    assert seen.pieces == [b"one"]


def test_each_piece_is_looked_at_until_the_first_token_is_found() -> None:
    connection, _, _ = connect()
    _, _, seen = relayed(connection, keen=4)
    connection.data_received(HEAD)
    for _ in range(10):
        connection.data_received(framed(b"x" * 100))

    assert seen.pieces == [b"x" * 100] * 4


@pytest.mark.parametrize("chunk", [b"05\r\nhello\r\n", b"5;a=b\r\nhello\r\n"])
def test_other_ways_to_write_a_size_are_the_parsers(chunk: bytes) -> None:
    connection, _, _ = connect()
    _, client, _ = relayed(connection)
    connection.data_received(HEAD)
    connection.data_received(framed(b"one"))
    connection.data_received(chunk)

    assert client.as_they_came == 0
    assert client.body() == b"onehello"


@pytest.mark.parametrize(
    "chunk", [b"+5\r\nhello\r\n", b"0x5\r\nhello\r\n", b"-5\r\nhello\r\n", b"\r\nhello\r\n"]
)
def test_what_is_no_chunk_fails(chunk: bytes) -> None:
    connection, transport, _ = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="POST")
    connection.data_received(HEAD)
    connection.data_received(framed(b"one"))
    connection.data_received(chunk)

    assert sink.body == b"one"
    assert sink.error is not None
    assert transport.closed
