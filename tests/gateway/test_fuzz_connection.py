"""Engines that answer garbage: an answer comes whole and right, or visibly fails; nothing hangs or crashes.

What our connection takes for a whole answer, h11 must take for the same one, reading the same bytes by
itself. `HOSTLER_FUZZ_CASES` and `HOSTLER_FUZZ_SEED` ask for more and other cases.
"""

from __future__ import annotations

import os
import random
import re
from typing import cast

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_connection import CHUNKED, CONTINUED, SIZED, TO_THE_END, TRAILED, FakeTransport, Recorder, connect

from hostler.gateway.connection import MAX_HEAD_BYTES, Connection
from wire.fuzzing import mutated

CASES = int(os.environ.get("HOSTLER_FUZZ_CASES", "10000"))
SEED = int(os.environ.get("HOSTLER_FUZZ_SEED", "1"))
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
ANSWERS = (SIZED, CHUNKED, TRAILED, CONTINUED, TO_THE_END, NO_CONTENT)
PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\0", b":", b";", b",", b"\xff", b"0", b"-1", b"\r\n\r\n", b"\r\n ",
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2 ", b"200", b"100", b"101", b"304", b"999", b"0200", b"2 00",
    b"Content-Length: 5\r\n", b"Content-Length: 4\r\n", b"content-length: 99999999999999999999\r\n",
    b"Content-Length : 5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length:\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n", b"Transfer-Encoding:\r\n", b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"fffffffffffffffff\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
)  # fmt: skip


HEAD = re.compile(rb"[\r\n]*(HTTP/1\.[01] (\d)\d\d)( [^\r\n]*)?((?:\r\n[^\r\n]+)*\r\n\r\n)")
ENCODING = re.compile(rb"\r\nTransfer-Encoding:[^\r\n]*")


def play(answer: bytes, size: int, method: str) -> tuple[Recorder, FakeTransport, int]:
    """Feed an answer in pieces, then close; the sink, the transport, how often it was kept for others."""
    connection, transport, keeper = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method=method)
    for start in range(0, len(answer), size):
        if transport.closed:
            break
        connection.data_received(answer[start : start + size])
    kept = len(keeper.kept)
    connection.connection_lost(None)
    assert (sink.ended == 1) != (sink.error is not None)
    return sink, transport, kept


def understood_by_h11(answer: bytes, method: str) -> tuple[int, bytes] | None:
    """The status and body of the whole answer that h11 finds; None when there is none."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(readable(answer))
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.ProtocolError:
        return None


def readable(answer: bytes) -> bytes:
    """`answer` without what h11 takes offence at and nobody reads.

    That is: blank lines before a status line, what it says in words, and a transfer encoding where there is
    nothing to transfer, in an interim answer or among the trailers.
    """
    heads = b""
    while found := HEAD.match(answer):
        fields = found[4]
        if found[2] == b"1":
            fields = ENCODING.sub(b"", fields)
        heads += found[1] + b" X" + fields
        answer = answer[found.end() :]
        if found[2] != b"1":
            break
    if re.search(rb"\r\ntransfer-encoding: *chunked\r\n", heads.lower()):
        body, last, trailers = answer.partition(b"\r\n0\r\n")
        answer = body + last + ENCODING.sub(b"", b"\r\n" + trailers)[2:]
    return heads + answer


def test_what_is_taken_for_an_answer_is_one() -> None:
    for number in range(CASES):
        dice = random.Random(f"{SEED}/{number}")
        answer = mutated(dice.choice(ANSWERS), dice, PIECES)
        method = dice.choice(("GET", "POST", "GET", "HEAD"))
        sink, _, kept = play(answer, dice.choice((1, 3, 10, 1000)), method)
        about = f"case {number}: {method} {answer!r}"
        if not sink.ended:
            assert not kept, about
            continue
        assert sink.head is not None
        expected = understood_by_h11(answer, method)
        assert expected == (sink.head.status, sink.body), about


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50), st.sampled_from(["GET", "HEAD"]))
def test_any_bytes_end_in_one_way(answer: bytes, size: int, method: str) -> None:
    play(answer, size, method)
    play(b"HTTP/1.1 200 OK\r\n" + answer, size, method)
    play(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + answer, size, method)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_ends_at_any_byte_fails_or_is_whole(answer: bytes) -> None:
    for end in range(len(answer)):
        sink, _, _ = play(answer[:end], 1000, "GET")
        if sink.ended:
            assert answer is TO_THE_END  # which cannot tell
            assert end >= answer.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_split_makes_no_difference(answer: bytes) -> None:
    outcomes = set()
    for size in (*range(1, 20), 1000):
        sink, _, kept = play(answer, size, "GET")
        assert sink.head is not None
        outcomes.add((sink.head.status, tuple(sink.head.headers), sink.body, sink.ended, kept))
    assert len(outcomes) == 1


@pytest.mark.parametrize("endless", [b"X: y\r\n", b"y" * 1000, b"HTTP/1.1 102 P\r\n\r\n", b"\r\n"])
def test_a_head_that_never_ends_is_given_up(endless: bytes) -> None:
    connection, transport, _ = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="GET")
    start = b"" if endless.startswith((b"HTTP", b"\r\n")) else b"HTTP/1.1 200 OK\r\nX: "
    connection.data_received(start or endless)
    fed = 0
    while not transport.closed and fed < 4 * MAX_HEAD_BYTES:
        connection.data_received(endless * 50)
        fed += 50 * len(endless)

    assert transport.closed
    assert sink.error is not None
    assert fed <= MAX_HEAD_BYTES + 50 * len(endless)


@pytest.mark.parametrize("endless", [b"X: y\r\n", b"y" * 1000])
def test_trailers_that_never_end_are_given_up(endless: bytes) -> None:
    connection, transport, _ = connect()
    sink = Recorder()
    connection.send(b"", b"", sink, method="GET")
    connection.data_received(CHUNKED[:-2] + b"X: ")
    fed = 0
    while not transport.closed and fed < 4 * MAX_HEAD_BYTES:
        connection.data_received(endless * 50)
        fed += 50 * len(endless)

    assert transport.closed
    assert sink.error is not None


def test_the_fake_is_enough() -> None:
    """The parts of a transport that a connection touches; a new one must be added there."""
    connection: Connection = connect()[0]
    assert cast("object", connection.transport).__class__ is FakeTransport
