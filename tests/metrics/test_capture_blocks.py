"""What must hold: a capture comes out of its block as it went in, decoded, and no bomb goes off."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics import zstd
from hostler.metrics.capture_blocks import Capture, Parts, packed, unpacked, whole


def capture(number: int, body: bytes | None = b"{}", headers: dict[str, str] | None = None) -> Capture:
    return Capture(
        id=number, model="a", path="/v1/x", request_headers={}, request_body=body,
        response_headers=headers or {}, response_body=None,
    )  # fmt: skip


bodies = st.none() | st.binary(max_size=300)
answers = st.none() | st.lists(st.binary(max_size=100), max_size=5)


@given(st.lists(st.tuples(bodies, answers), max_size=6))
def test_any_captures_come_back(made: list[tuple[bytes | None, list[bytes] | None]]) -> None:
    wanted = [whole(Parts(capture(number, body), answer)) for number, (body, answer) in enumerate(made)]
    block = packed(Parts(capture(number, body), answer) for number, (body, answer) in enumerate(made))

    assert [unpacked(block, number) for number in range(len(made))] == wanted
    assert unpacked(block, len(made)) is None
    # The pieces are gone: they have made room for the block.
    assert not any(answer for _, answer in made)


def test_large_pieces() -> None:
    body, pieces = b"q" * 1_000_000, [b"a" * 200_000, b"b", b"c" * 70_000]
    block = packed([Parts(capture(1), [b"small"]), Parts(capture(2, body), list(pieces))])
    found = unpacked(block, 2)

    assert found is not None
    assert (found.request_body, found.response_body) == (body, b"".join(pieces))


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", _raw_deflate), ("zstd", zstd.compress),
     ("", bytes)],
)  # fmt: skip
@pytest.mark.parametrize("body", [b"", b"hello" * 1000])
def test_answers_are_kept_decoded(encoding: str, pack: Any, body: bytes) -> None:
    sent = pack(body)
    one = capture(1, headers={"Content-Encoding": encoding, "X": "y"})
    found = whole(Parts(one, [sent[:7], sent[7:]]))

    assert found.response_body == body
    assert found.response_headers == {"X": "y"}
    assert unpacked(packed([Parts(one, [sent[:7], sent[7:]])]), 1) == found


@pytest.mark.parametrize(("encoding", "body"), [("br", b"??"), ("gzip", b"no gzip"), ("zstd", b"no zstd")])
def test_what_cannot_be_decoded_stays_as_it_is(encoding: str, body: bytes) -> None:
    one = capture(1, headers={"content-encoding": encoding})
    found = unpacked(packed([Parts(one, [body])]), 1)

    assert found is not None
    assert (found.response_body, found.response_headers) == (body, {"content-encoding": encoding})


@pytest.mark.parametrize(("encoding", "pack"), [("deflate", zlib.compress), ("zstd", zstd.compress)])
def test_a_bomb_does_not_go_off(encoding: str, pack: Any) -> None:
    bomb = pack(b"\0" * 20_000_000)
    tracemalloc.start()
    try:
        found = whole(Parts(capture(1, headers={"content-encoding": encoding}), [bomb]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.response_body == bomb
    assert peak < 500_000


def test_what_expands_is_never_there_as_a_whole() -> None:
    answer = gzip.compress(bytes(range(256)) * 40 + b"\0" * 2_000_000)
    answer += gzip.compress(b"x" * 2_000_000)
    pieces = [answer, b""]
    sent = len(answer)
    tracemalloc.start()
    try:
        block = packed([Parts(capture(1, headers={"content-encoding": "gzip"}), pieces)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sent < 10_000
    assert len(block) < 10_000
    assert peak < 500_000


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate", "zstd", "br", "", "gzip, br"]))
def test_any_bytes_of_any_encoding(body: bytes, encoding: str) -> None:
    found = unpacked(packed([Parts(capture(1, headers={"content-encoding": encoding}), [body])]), 1)

    assert found is not None
    assert found.response_body is not None
