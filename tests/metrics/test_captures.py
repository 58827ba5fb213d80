"""What must hold: never more memory than the limit, no secret, and bytes as they were sent."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics import captures, zstd
from hostler.metrics.captures import (
    Budget,
    Capture,
    Captures,
    Collector,
    decode,
    rule_of,
    shown_headers,
    with_answer,
)


def capture(number: int, body: bytes | None = b"{}", **fields: Any) -> Capture:
    plain: dict[str, Any] = {"model": "a", "path": "/v1/x", "request_headers": {}, "response_headers": {},
                             "response_body": None}  # fmt: skip
    return Capture(id=number, request_body=body, **{**plain, **fields})


async def settled(kept: Captures) -> None:
    """Until nothing waits for the compressor."""
    while kept._waiting:
        await kept.get(next(iter(kept._waiting)))


async def test_a_capture_comes_back() -> None:
    kept = Captures(1 << 20, on_problem=pytest.fail)
    answer = kept.collector()
    assert answer is not None
    answer.feed(b"data: 1\n\n")
    answer.feed(b"data: 2\n\n")
    kept.add(capture(7, b'{"a": 1}', request_headers={"X": "y"}), answer)

    assert kept.has(7)
    found = await kept.get(7)

    assert found is not None
    assert (found.request_body, found.response_body) == (b'{"a": 1}', b"data: 1\n\ndata: 2\n\n")
    assert found.request_headers == {"X": "y"}
    assert not found.truncated
    assert kept.collected == 8 + 18
    assert await kept.get(8) is None
    kept.close()


async def test_many_small_ones_share_blocks() -> None:
    kept = Captures(200_000, on_problem=pytest.fail)
    for number in range(400):
        answer = kept.collector()
        assert answer is not None
        answer.feed(f"answer {number}".encode())
        kept.add(capture(number, b"question"), answer)
        assert kept.size <= 200_000
    await settled(kept)
    held = [number for number in range(400) if kept.has(number)]

    assert held == list(range(400))
    assert kept.collected < 50_000
    for number in (0, 1, 199, 399):
        found = await kept.get(number)
        assert found is not None
        assert (found.id, found.response_body) == (number, f"answer {number}".encode())
    kept.resize(2000)
    assert kept.size <= 2000
    assert kept.has(399)
    kept.close()
    assert kept.collected == 0


async def test_a_capture_can_be_read_while_it_is_compressed() -> None:
    kept = Captures(1000, on_problem=pytest.fail)
    kept.add(capture(1, b"x" * 300))
    assert kept._waiting
    found = await kept.get(1)

    assert found is not None
    assert found.request_body == b"x" * 300
    kept.close()


async def test_the_oldest_make_room() -> None:
    kept = Captures(20_000, on_problem=pytest.fail)
    for number in range(10):
        kept.add(capture(number, os.urandom(4000)))
        await settled(kept)
        assert kept.size <= 20_000

    assert [number for number in range(10) if kept.has(number)] == [6, 7, 8, 9]
    kept.resize(9000)
    assert [number for number in range(10) if kept.has(number)] == [8, 9]
    kept.resize(0)
    assert kept.size == 0
    assert kept.collector() is None
    kept.close()


async def test_what_is_larger_than_everything_is_told_once() -> None:
    said: list[str] = []
    kept = Captures(10_000, on_problem=said.append)
    for number in range(3):
        kept.add(capture(number, os.urandom(20_000)))
        await settled(kept)

    assert kept.skipped == 3
    assert len(said) == 1
    assert kept.size == 0
    assert kept.collected == 0
    kept.close()


async def test_what_is_in_progress_is_bounded() -> None:
    kept = Captures(1000, on_problem=pytest.fail)
    first, second = kept.collector(), kept.collector()
    assert first is not None
    assert second is not None
    first.feed(b"x" * 700)
    second.feed(b"y" * 700)
    second.feed(b"z")

    assert (second.held, second.truncated, first.truncated) == (300, True, False)
    assert kept.collected == 1000
    first.close()
    first.close()
    kept.add(capture(1, None), second)
    found = await kept.get(1)
    assert found is not None
    assert found.truncated
    assert found.response_body == b"y" * 300
    assert kept.collected == 0
    kept.close()


async def test_off_keeps_nothing() -> None:
    kept = Captures(0, on_problem=pytest.fail)
    kept.add(capture(1), Collector(Budget(10)))

    assert not kept.has(1)
    assert await kept.get(1) is None
    kept.close()


async def test_too_many_at_once_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MAX_WAITING", 0)
    kept = Captures(1000, on_problem=pytest.fail)
    kept.add(capture(1))

    assert (kept.skipped, kept.has(1), kept.collected) == (1, False, 0)
    kept.close()


def test_secrets_are_covered() -> None:
    headers = [
        (b"Authorization", b"Bearer s"),
        (b"X-API-Key", b"s"),
        (b"Cookie", b"s"),
        (b"A", b"1"),
        (b"a", b"2"),
    ]

    assert shown_headers(headers) == {
        "Authorization": "[REDACTED]",
        "X-Api-Key": "[REDACTED]",
        "Cookie": "[REDACTED]",
        "A": "1",
    }


@pytest.mark.parametrize(
    ("path", "request_body", "response_body"),
    [
        ("/v1/chat/completions", True, True),
        ("/v1/audio/speech", True, False),
        ("/v1/audio/transcriptions", False, True),
        ("/v1/images/edits", False, False),
    ],
)
def test_what_is_kept_of_which_path(path: str, request_body: bool, response_body: bool) -> None:
    assert (rule_of(path).request_body, rule_of(path).response_body) == (request_body, response_body)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", _raw_deflate), ("zstd", zstd.compress)],
)
@pytest.mark.parametrize("body", [b"", b"hello" * 1000])
def test_answers_are_kept_decoded(encoding: str, pack: Any, body: bytes) -> None:
    packed = capture(1, response_headers={"Content-Encoding": encoding, "X": "y"})

    found = with_answer(packed, pack(body))

    assert found.response_body == body
    assert found.response_headers == {"X": "y"}


def test_what_cannot_be_decoded_stays_as_it_is() -> None:
    for encoding, body in (("br", b"??"), ("gzip", b"no gzip"), ("zstd", b"no zstd")):
        found = with_answer(capture(1, response_headers={"content-encoding": encoding}), body)
        assert (found.response_body, found.response_headers) == (body, {"content-encoding": encoding})


def test_a_bomb_does_not_go_off() -> None:
    assert decode(zlib.compress(b"\0" * 10_000_000), "deflate", bound=100_000) is None
    assert decode(zstd.compress(b"\0" * 10_000_000), "zstd", bound=100_000) is None


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate", "zstd", "br", ""]))
def test_any_bytes_of_any_encoding(body: bytes, encoding: str) -> None:
    found = decode(body, encoding, bound=10_000)

    assert found is None or len(found) <= 10_000
