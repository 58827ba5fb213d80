"""What must hold: a head that is known is what the parser would have made of it."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_connection import ORIGIN, Recorder, connect

from hostler.errors import UpstreamFailed
from hostler.gateway.connection import Connection
from hostler.gateway.headers import Headers, first_values
from hostler.gateway.known_answers import MAX_KNOWN, MAX_LEARNT, KnownAnswer, KnownAnswers
from hostler.gateway.pool import Pool
from hostler.gateway.sinks import ResponseHead

HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: 100%% e\r\nDate: Fri, 27 Nov 2026 15:00:00 GMT\r\n"
    b"Content-Type: application/json\r\ncontent-length: %d\r\nX-A: 1\r\n\r\n"
)
ONE = HEAD % 5 + b"hello"


class Parsed:
    """What httptools makes of one whole answer; `body` is None when it is not one."""

    def __init__(self, data: bytes) -> None:
        self.headers: Headers = []
        self.body: bytes | None = None
        self._pieces: list[bytes] = []
        self.ended = 0
        parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.ended = 0
        if self.ended == 1:
            self.status = parser.get_status_code()
            self.body = b"".join(self._pieces)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self.ended += 1


def head_of(data: bytes) -> ResponseHead:
    found = Parsed(data)
    given_values = first_values(found.headers)
    return ResponseHead(200, found.headers, given_values, int(given_values[b"content-length"]))


def learnt(data: bytes = ONE, body: int = 5) -> KnownAnswers:
    known = KnownAnswers()
    known.learn(head_of(data), data, body)
    return known


def test_what_varies_is_read_from_where_it_stands() -> None:
    data = (HEAD % 12).replace(b"27 Nov", b"28 Nov") + b"hello"
    found = learnt().read(data)

    assert found is not None
    known, values, length, place = found
    assert known.varying == (b"date", b"content-length")
    assert values == [b"Fri, 28 Nov 2026 15:00:00 GMT", b"12"]
    assert (length, data[place:]) == (12, b"hello")
    assert known.headers(values) == [
        (name, {b"date": values[0], b"content-length": values[1]}.get(name, value))
        for name, value in head_of(ONE).headers
    ]


EDITS = st.lists(
    st.tuples(st.integers(0, len(ONE)), st.integers(0, 3), st.sampled_from([*b"\r\n :0159aZ\0\t,%"])),
    max_size=3,
)


@given(EDITS)
def test_whatever_is_known_parses_to_the_same(edits: list[tuple[int, int, int]]) -> None:
    data = ONE
    for place, cut, byte in edits:
        data = data[:place] + bytes([byte]) + data[place + cut :]
    found = learnt().read(data)
    if found is None:
        return
    known, values, length, place = found
    whole = data[:place] + data[place : place + length].ljust(length, b"x")
    parsed = Parsed(whole)

    assert parsed.body == whole[place:]
    assert parsed.status == 200
    assert parsed.headers == known.headers(values)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (ONE.replace(b"\r\n\r\n", b"\n\n"), 5),
        (ONE.replace(b"X-A: 1", b"Date: Fri, 27 Nov 2026 15:00:00 GMT"), 5),
        (ONE.replace(b"X-A: 1", b"X-A: " + b"1" * 5_000), 5),
        (ONE.replace(b"Fri, ", b""), 5),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ONE, 5),
        (ONE, 4),
        (ONE.replace(b"X-A: 1", b"Connection: date"), 5),
    ],
)
def test_what_is_unusual_is_not_learnt(data: bytes, body: int) -> None:
    known = KnownAnswers()
    known.learn(head_of(data if b"\n\n" not in data and data[9:12] == b"200" else ONE), data, body)

    assert len(known) == 0
    assert known.read(ONE) is None


def test_a_length_that_no_parser_takes_is_not_known() -> None:
    known = learnt()

    assert known.read(ONE.replace(b"length: 5", b"length: 999999999999999")) is not None
    assert known.read(ONE.replace(b"length: 5", b"length: 99999999999999999999")) is None


def test_an_engine_that_always_says_something_else_is_given_up() -> None:
    known = KnownAnswers()
    for number in range(2 * MAX_LEARNT):
        data = ONE.replace(b"X-A: 1", b"X-A: %d" % (1000 + number))
        known.learn(head_of(data), data, 5)

    assert len(known) == MAX_KNOWN
    assert known.read(ONE.replace(b"X-A: 1", b"X-A: %d" % (1000 + MAX_LEARNT - 1))) is not None
    assert known.read(ONE.replace(b"X-A: 1", b"X-A: %d" % (1000 + MAX_LEARNT))) is None


class KnownRecorder(Recorder):
    """A sink that notes what was known."""

    def __init__(self) -> None:
        super().__init__()
        self.known = ""

    def on_known(self, known: KnownAnswer, values: list[bytes], length: int) -> None:
        self.known = "head"
        self.on_head(ResponseHead(known.head.status, known.headers(values), known.head.given, length))

    def on_whole(self, known: KnownAnswer, values: list[bytes], body: bytes) -> None:
        self.on_known(known, values, len(body))
        self.known = "all"
        self.body = body
        self.on_end()


def ask(connection: Connection, known: KnownAnswers, *reads: bytes) -> KnownRecorder:
    sink = KnownRecorder()
    connection.send_known(b"", b"", sink, known, None)
    for data in reads:
        connection.data_received(data)
    return sink


@pytest.mark.parametrize("split", range(1, len(ONE) + 1))
def test_a_known_answer_is_the_same_however_it_is_split(split: int) -> None:
    known = KnownAnswers()
    connection, _, keeper = connect()
    first = ask(connection, known, ONE)
    second = ask(connection, known, *[part for part in (ONE[:split], ONE[split:]) if part])

    assert first.known == ""
    end = ONE.index(b"\r\n\r\n") + 4
    assert second.known == ("all" if split == len(ONE) else "head" if split >= end else "")
    for sink in (first, second):
        assert sink.head is not None
        assert sink.head.headers == head_of(ONE).headers
        assert (sink.body, sink.ended, sink.error) == (b"hello", 1, None)
    assert keeper.kept == [connection] * 2


@pytest.mark.parametrize(
    "reads", [(ONE + b"more",), (ONE[:-2], ONE[-2:] + b"more"), (ONE[:-5], b"hellomore")]
)
def test_what_comes_behind_a_known_answer_spoils_the_connection(reads: tuple[bytes, ...]) -> None:
    connection, transport, keeper = connect()
    known = learnt()
    sink = ask(connection, known, *reads)

    assert (sink.body, sink.ended) == (b"hello", 1)
    assert transport.closed
    assert keeper.kept == []


@pytest.mark.parametrize("reads", [(ONE[:-2],), (ONE[:-5],), (ONE[:-5], b"he")])
def test_a_known_answer_that_breaks_off_is_a_failure(reads: tuple[bytes, ...]) -> None:
    connection, _, _ = connect()
    sink = ask(connection, learnt(), *reads)
    connection.connection_lost(None)

    assert sink.known == "head"
    assert sink.ended == 0
    assert isinstance(sink.error, UpstreamFailed)
    assert "middle of its answer" in sink.error.message


def test_a_sink_that_leaves_at_the_head_hears_no_more() -> None:
    class Leaver(KnownRecorder):
        def on_known(self, known: KnownAnswer, values: list[bytes], length: int) -> None:
            super().on_known(known, values, length)
            connection.abandon()

    connection, transport, keeper = connect()
    sink = Leaver()
    connection.send_known(b"", b"", sink, learnt(), None)
    connection.data_received(ONE[:-2])

    assert (sink.body, sink.settled) == (b"", 0)
    assert transport.closed
    assert keeper.kept == []


def test_other_requests_are_answered_by_the_parser() -> None:
    known = KnownAnswers()
    connection, _, _ = connect()
    ask(connection, known, ONE)
    sink = KnownRecorder()
    connection.send(b"", b"", sink, method="HEAD")
    connection.data_received(HEAD % 5)

    assert (sink.known, sink.body, sink.ended) == ("", b"", 1)


def test_a_pool_forgets_the_answers_of_an_engine_that_is_gone() -> None:
    pool = Pool(ORIGIN)
    pool.answers.learn(head_of(ONE), ONE, 5)
    assert len(pool.answers) == 1
    pool.close()
    assert len(pool.answers) == 0
