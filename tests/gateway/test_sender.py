"""What must hold: only headers that are the same but for the length of the body are taken for the same."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.config.schema import ApiKey
from hostler.errors import Unauthorized
from hostler.gateway.auth import KeyRing
from hostler.gateway.headers import Headers, first_values
from hostler.gateway.origin import Origin
from hostler.gateway.sender import Sender

NAMES = st.sampled_from([b"host", b"content-length", b"authorization", b"a"])
FIELDS = st.tuples(NAMES, st.sampled_from([b"1", b"23"]))


def sender(headers: Headers) -> Sender:
    return Sender(headers, first_values(headers))


@given(st.lists(FIELDS, max_size=5), st.lists(FIELDS, max_size=5))
def test_the_same_but_for_the_length(one: Headers, other: Headers) -> None:
    before = list(other)
    same = sender(list(one)).says(other)

    assert other == before
    lengths = [name for name, _ in one].count(b"content-length")
    if lengths == 0:
        assert not same  # a body of unknown size is nothing to be held
    elif lengths == 1:
        masked = [(name, b"" if name == b"content-length" else value) for name, value in one]
        assert same == (masked == [(n, b"" if n == b"content-length" else v) for n, v in other])
    elif same:
        assert [name for name, _ in one] == [name for name, _ in other]


def test_what_follows_is_worked_out_once_for_each_ring_of_keys() -> None:
    headers = [(b"host", b"h"), (b"authorization", b"Bearer k"), (b"content-length", b"5"), (b"x", b"y")]
    one, ring = sender(headers), KeyRing([ApiKey("k", name="ann")])
    known = one.knows(ring, "127.0.0.1")

    assert known.key is not None
    assert known.key.name == "ann"
    assert known.fields == b"host: h\r\nx: y\r\nx-forwarded-for: 127.0.0.1\r\n"
    assert one.knows(ring, "127.0.0.1") is known
    with pytest.raises(Unauthorized):
        one.knows(KeyRing([ApiKey("other")]), "127.0.0.1")
    assert b"authorization: Bearer k" in one.knows(KeyRing(), None).fields


def test_large_heads_are_not_kept_once_for_each_engine_and_path() -> None:
    known = sender([(b"host", b"h"), (b"content-length", b"5"), (b"x", b"y")]).knows(KeyRing(), None)
    first = known.start("http://a:1", Origin("http", "a", 1), b"/v1/x", "/v1/x")
    other = known.start("http://b:2", Origin("http", "b", 2), b"/v1/z", "/v1/z")

    assert first == (b"POST /v1/x HTTP/1.1\r\n", b"host: h\r\nx: y\r\nx-request-id: ")
    assert other[0] == b"POST /v1/z HTTP/1.1\r\n"
    assert other[1] is first[1]


HEAD = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX: content-length\r\n\r\n"
ONE = HEAD % 5 + b"hello"


class Parsed:
    """What httptools makes of `data`; `whole` says that it is one request."""

    def __init__(self, data: bytes) -> None:
        self.headers: Headers = []
        self.body = self.target = b""
        self.ends = 0
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.ends = 0
        self.whole = self.ends == 1 and parser.get_method() == b"POST"

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def learnt(data: bytes = ONE, body: bytes = b"hello") -> Sender:
    parsed = Parsed(data)
    one = sender(parsed.headers)
    one.learn(data, body, one.given[b"content-length"], parsed.target)
    return one


def test_a_request_is_known_by_its_head() -> None:
    one = learnt()

    assert one.learnt
    assert one.target == b"/v1/x"
    assert one.body_in(ONE) == b"hello"
    assert one.body_in(HEAD % 0) == b""
    assert one.body_in(HEAD % 12 + b"hello, world") == b"hello, world"
    for other in (ONE[:-1], ONE + b"!", ONE.replace(b"Host: h", b"Host: i"), ONE.replace(b"/v1", b"/v2")):
        assert one.body_in(other) is None


@given(
    st.lists(
        st.tuples(st.integers(0, len(ONE)), st.integers(0, 3), st.sampled_from([*b"\r\n :0159aZ\0\t,-+_"])),
        max_size=3,
    )
)
def test_whatever_is_known_parses_to_the_same(edits: list[tuple[int, int, int]]) -> None:
    one, data = learnt(), ONE
    for place, cut, byte in edits:
        data = data[:place] + bytes([byte]) + data[place + cut :]
    body = one.body_in(data)
    if body is None:
        return
    parsed = Parsed(data)

    assert parsed.whole
    assert (parsed.target, parsed.body) == (one.target, body)
    assert one.says(parsed.headers)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (ONE.replace(b"\r\n\r\n", b"\n\n"), b"hello"),
        (ONE.replace(b"\r\nContent-Length", b"\nContent-Length"), b"hello"),
        (ONE, b"ello"),
        (ONE.replace(b": 5", b": 05"), b"hello"),
    ],
)
def test_what_is_unusual_is_not_learnt(data: bytes, body: bytes) -> None:
    one = sender(Parsed(ONE).headers)
    one.learn(data, body, b"5", b"/v1/x")

    assert not one.learnt
