"""What must hold: only headers that are the same but for the length of the body are taken for the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.config.schema import ApiKey
from hostler.errors import Unauthorized
from hostler.gateway.auth import KeyRing
from hostler.gateway.headers import Headers, first_values
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
