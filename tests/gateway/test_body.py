"""What must hold: a body is read whole or refused with the reason, and its claim on memory is returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.errors import Busy, ClientError, TooLarge
from hostler.gateway.body import BodyBudget, Receive, peek_form, peek_json, read_body
from hostler.gateway.edge import ClientGone


def feed(*pieces: bytes, leaves: bool = False) -> Receive:
    messages: list[Mapping[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": leaves or index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    if leaves:
        messages.append({"type": "http.disconnect"})
    queue = iter(messages)

    async def receive() -> Mapping[str, Any]:
        return next(queue)

    return receive


@pytest.mark.parametrize("pieces", [[b""], [b"abc"], [b"a", b"", b"bc"], [b"x" * 10] * 10])
async def test_pieces_become_one_body(pieces: list[bytes]) -> None:
    budget = BodyBudget(1000)

    body = await read_body(feed(*pieces), [], 100, budget)

    assert body == b"".join(pieces)
    assert budget.held == len(body)


@pytest.mark.parametrize(
    ("headers", "pieces"), [([(b"content-length", b"11")], [b""]), ([], [b"x" * 11]), ([], [b"x"] * 11)]
)
async def test_a_body_above_the_limit_is_refused_and_leaves_nothing_claimed(
    headers: list[tuple[bytes, bytes]], pieces: list[bytes]
) -> None:
    budget = BodyBudget(1000)

    with pytest.raises(TooLarge, match="maxBodyMB"):
        await read_body(feed(*pieces), headers, 10, budget)

    assert budget.held == 0


async def test_bodies_together_have_a_bound() -> None:
    budget = BodyBudget(15)
    await read_body(feed(b"x" * 10), [], 100, budget)

    with pytest.raises(Busy) as caught:
        await read_body(feed(b"x" * 3, b"x" * 3), [], 100, budget)

    assert caught.value.retry_after == 1
    assert budget.held == 10


async def test_a_client_that_leaves_leaves_nothing_claimed() -> None:
    budget = BodyBudget(15)

    with pytest.raises(ClientGone):
        await read_body(feed(b"abc", b"def", leaves=True), [], 100, budget)

    assert budget.held == 0


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"model":"a"}', ("a", False)),
        (b'{"x":{"model":"no"},"model":"a/b","stream":true}', ("a/b", True)),
        (b'{"model":7}', ("7", False)),
        (b'{"model":true,"stream":1}', ("true", False)),
        (b'{"model":null}', ("", False)),
        (b'{"model":["a"]}', ("", False)),
        (b"{}", ("", False)),
        ('{"model":"grün"}'.encode(), ("grün", False)),
    ],
)
def test_peek_json(body: bytes, found: tuple[str, bool]) -> None:
    assert peek_json(body) == found


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b'{"model":"a"', b"\xff\xfe", b'{"model":"\xff"}', b"[" * 100_000]
)
def test_what_is_no_json_object_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        peek_json(body)

    assert caught.value.status == 400


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_peek(body: bytes) -> None:
    try:
        model, stream = peek_json(body)
    except ClientError:
        return
    assert isinstance(model, str)
    assert isinstance(stream, bool)


def test_peek_form() -> None:
    assert peek_form(b"model=a%2Fb&stream=true", b"model=q") == ("a/b", True)
    assert peek_form(b"x=1", b"model=q") == ("q", False)
    assert peek_form(b"", b"") == ("", False)
    with pytest.raises(ClientError):
        peek_form(b"a=1&" * 2000, b"")
