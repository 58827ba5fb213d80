"""What must hold of requests that are known by their head: the parser would have found the same."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_held_requests import ASKED, HEAD, App, answer, fed
from test_server_contract import Connection

from hostler.web.protocol import HostlerProtocol

# What tells requests apart, or nearly.
PIECES = (b"\r", b"\n", b"\r\n", b" ", b"0", b"5", b"44", b"+", b"a", b"\0", b"x: y\r\n", ASKED, HEAD)


def unparsed(protocol: HostlerProtocol, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the parser is given from now on."""
    seen: list[bytes] = []
    parser = protocol.parser

    class Spy:
        def feed_data(self, data: bytes) -> None:
            seen.append(data)
            parser.feed_data(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(parser, name)

    monkeypatch.setattr(protocol, "parser", Spy())
    return seen


async def known(
    app: App, connection: Connection, protocol: HostlerProtocol, monkeypatch: pytest.MonkeyPatch
) -> list[bytes]:
    """Ask twice, after which their head is known; returns what the parser sees from then on."""
    for number in (1, 2):
        await connection.feed(ASKED)
        answer(app.calls[-1])
        assert len(app.calls) == number
    connection.wire.sent = b""
    return unparsed(protocol, monkeypatch)


async def test_from_the_third_on_a_request_is_known_by_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    connection, protocol = fed(app)
    seen = await known(app, connection, protocol, monkeypatch)
    for text in (b"body", b"longer than that", b""):
        await connection.feed(HEAD.replace(b"4", b"%d" % len(text)) + text)
        call = app.calls[-1]
        assert (call.target, call.body) == (b"/at", text)
        assert call.headers == [(b"host", b"h"), (b"content-length", b"%d" % len(text))]
        answer(call)

    assert seen == []
    assert len(app.calls) == 5
    assert connection.wire.sent.count(b"HTTP/1.1 200 OK") == 3
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "reads",
    [
        (HEAD, b"body"),
        (ASKED[:-1], b"y"),
        (ASKED[:20], ASKED[20:]),
        (b"\r\n" + ASKED,),
        (ASKED.replace(b"host: h", b"host: i"),),
    ],
)
async def test_what_does_not_come_in_one_piece_goes_through_the_parser(
    reads: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App()
    connection, protocol = fed(app)
    seen = await known(app, connection, protocol, monkeypatch)
    for data in reads:
        await connection.feed(data)

    assert seen == list(reads)
    assert [call.body for call in app.calls] == [b"body"] * 3
    answer(app.calls[-1])
    await connection.feed(ASKED)
    assert len(app.calls) == 4
    protocol.connection_lost(None)


async def test_a_known_request_that_is_not_taken_is_offered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    connection, protocol = fed(app)
    await known(app, connection, protocol, monkeypatch)
    app.takes = False
    for number in (3, 4):
        sent = await connection.feed(ASKED)
        assert sent.endswith(b"ok")
        assert len(app.calls) == number
    app.takes = True
    await connection.feed(ASKED)

    assert app.asked == [("/at", b"body")] * 2
    assert len(app.calls) == 5
    protocol.connection_lost(None)


async def test_two_known_requests_in_one_read_are_both_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    connection, protocol = fed(app)
    await known(app, connection, protocol, monkeypatch)
    await connection.feed(ASKED + ASKED)
    for _ in range(2):
        await connection.settle()

    assert app.asked == [("/at", b"body")] * 2
    assert connection.wire.sent.count(b"HTTP/1.1 200 OK") == 2
    protocol.connection_lost(None)


async def test_a_known_request_before_the_one_before_is_answered_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App()
    connection, protocol = fed(app)
    seen = await known(app, connection, protocol, monkeypatch)
    await connection.feed(ASKED)
    await connection.feed(ASKED)

    assert len(app.calls) == 3
    assert seen == [ASKED]
    answer(app.calls[-1])
    for _ in range(2):
        await connection.settle()
    assert app.asked == [("/at", b"body")]
    protocol.connection_lost(None)


async def test_a_body_that_ends_like_the_beginning_of_a_request_teaches_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App()
    connection, protocol = fed(app)
    other = b"POST /other HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n"
    await connection.feed(ASKED)
    answer(app.calls[-1])
    await connection.feed(other)
    await connection.feed(b"POST slop" + ASKED)
    await connection.settle()
    if len(app.calls) == 2:
        answer(app.calls[-1])
    seen = unparsed(protocol, monkeypatch)
    await connection.feed(b"POST slop" + ASKED)

    assert seen == [b"POST slop" + ASKED]
    assert app.asked[0] == ("/other", b"POST slop")
    protocol.connection_lost(None)


SPLITS = st.lists(st.integers(1, len(ASKED) + 8), max_size=2)
EDITS = st.lists(
    st.tuples(st.integers(0, len(ASKED)), st.integers(0, 4), st.sampled_from([b"", *PIECES])), max_size=3
)


async def outcome(before: bytes, reads: list[bytes]) -> tuple[list[object], bytes, str]:
    """What is offered and said, after `before` was asked for twice."""
    app = App()
    connection, protocol = fed(app)
    for _ in range(2):
        await connection.feed(before)
        answer(app.calls[-1])
    app.calls.clear()
    connection.wire.sent = b""
    for data in reads:
        if not connection.wire.closed:
            await connection.feed(data)
        while app.calls and not app.calls[-1].response_complete:
            answer(app.calls[-1])
            await connection.settle()
    offered: list[object] = [(call.target, call.headers, call.body) for call in app.calls]
    said = re.sub(rb"\r\ndate: [^\r]+", b"", connection.wire.sent)
    closed = connection.wire.closed
    protocol.connection_lost(None)
    return [*offered, *app.asked], said, closed


@settings(max_examples=300, deadline=None)
@given(EDITS, SPLITS)
def test_a_known_head_changes_nothing(edits: list[tuple[int, int, bytes]], splits: list[int]) -> None:
    data = ASKED
    for place, cut, piece in edits:
        data = data[:place] + piece + data[place + cut :]
    places = sorted({0, len(data), *(min(place, len(data)) for place in splits)})
    reads = [data[one:two] for one, two in itertools.pairwise(places)]

    async def both() -> None:
        known = await outcome(ASKED, reads)
        unknown = await outcome(ASKED.replace(b"host: h", b"host: other"), reads)
        assert known == unknown

    asyncio.run(both())
