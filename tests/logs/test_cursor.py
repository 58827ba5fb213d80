"""The text form of a cursor."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.errors import ClientError
from hostler.logs.cursor import Chunk, Cursor


@given(st.text("0123456789abcdef", min_size=1, max_size=16), st.integers(0, 10**19 - 1))
def test_text_form_and_back(epoch: str, position: int) -> None:
    cursor = Cursor(epoch, position)
    assert str(cursor) == f"{epoch}:{position}"
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(f" {cursor} ") == cursor


@pytest.mark.parametrize(
    "text", ["", "12", "ab:", ":12", "ab:-1", "ab:1.5", "ab:1:2", "ab:1e3", "a b:1", "ab:٣", "x:" + "9" * 20]
)
def test_what_is_no_cursor_is_the_clients_fault(text: str) -> None:
    with pytest.raises(ClientError, match="not a log cursor") as caught:
        Cursor.parse(text)
    assert caught.value.param == "cursor"


def test_a_long_one_is_cut_in_the_message() -> None:
    with pytest.raises(ClientError) as caught:
        Cursor.parse("x" * 10_000)
    assert len(caught.value.message) < 300


def test_values_are_frozen() -> None:
    chunk = Chunk(b"a", 0, Cursor("e", 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.missed = 1  # type: ignore[misc]  # that it cannot be is the point
    assert not hasattr(chunk, "__dict__")
