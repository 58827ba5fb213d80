"""What must hold: each of the three ways to show a key works, and nothing else does."""

import base64

import pytest

from hostler.config.schema import ApiKey
from hostler.errors import Unauthorized
from hostler.gateway.auth import KeyRing, shown_key
from hostler.gateway.headers import first_values

RING = KeyRing([ApiKey("first", name="one"), ApiKey("schlüssel", name="two")])


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([(b"authorization", b"Bearer first")], "one"),
        ([(b"authorization", b"bearer first ")], "one"),
        ([(b"authorization", basic("anyone:first"))], "one"),
        ([(b"authorization", basic("x:schlüssel"))], "two"),
        ([(b"x-api-key", b"first")], "one"),
        ([(b"x-api-key", "schlüssel".encode())], "two"),
        ([(b"authorization", b"Basic !!!"), (b"x-api-key", b"first")], "one"),
    ],
)
def test_accepted(headers: list[tuple[bytes, bytes]], name: str) -> None:
    key = RING.check(first_values(headers))

    assert key is not None
    assert key.name == name


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer firs")],
        [(b"authorization", b"first")],
        [(b"authorization", basic("first"))],
        [(b"authorization", basic("first:"))],
        [(b"x-api-key", b"")],
        [(b"authorization", b"Bearer wrong"), (b"x-api-key", b"first")],
        [(b"x-api-key", b"\xff\xfe")],
    ],
)
def test_refused_without_saying_what_was_wrong(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized) as caught:
        RING.check(first_values(headers))

    assert caught.value.message == "unauthorized: invalid or missing API key"


def test_without_keys_everybody_is_let_in() -> None:
    assert KeyRing().check({}) is None


def test_keys_never_show_in_a_repr() -> None:
    assert "first" not in repr(ApiKey("first"))
    assert shown_key({b"x-api-key": b"first"}) == b"first"
