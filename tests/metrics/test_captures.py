"""What must hold: never more memory than the limit, no secret, what is kept comes back as it was."""

from __future__ import annotations

import asyncio
import os
import random
import tracemalloc
from typing import Any

import msgspec
import pytest

from hostler.clock import ManualClock
from hostler.metrics import captures, zstd
from hostler.metrics.capture_blocks import Capture
from hostler.metrics.capture_parts import OVERHEAD, Budget, Collector, RawCapture, rule_of, shown_headers
from hostler.metrics.captures import Captures


def capture(number: int, body: bytes | None = b"{}", **fields: Any) -> Capture:
    plain: dict[str, Any] = {"model": "a", "path": "/v1/x", "request_headers": {}, "response_headers": {},
                             "response_body": None}  # fmt: skip
    return Capture(id=number, request_body=body, **{**plain, **fields})


def keep(kept: Captures, one: Capture, answer: Collector | None = None) -> None:
    """As the recorder does: the request is held while it runs."""
    held = None if one.request_body is None else kept.hold(one.request_body)
    truncated = held is None and one.request_body is not None
    kept.add(msgspec.structs.replace(one, request_body=held, truncated=truncated), answer)


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
    keep(kept, capture(7, b'{"a": 1}', request_headers={"X": "y"}), answer)

    assert kept.has(7)
    found = await kept.get(7)

    assert found is not None
    assert (found.request_body, found.response_body) == (b'{"a": 1}', b"data: 1\n\ndata: 2\n\n")
    assert found.request_headers == {"X": "y"}
    assert not found.truncated
    assert kept.held == 8 + 18 + OVERHEAD
    assert await kept.get(8) is None
    kept.close()


async def test_many_small_ones_share_blocks() -> None:
    clock = ManualClock()
    kept = Captures(200_000, on_problem=pytest.fail, clock=clock)
    for number in range(400):
        clock.advance(0.1)
        answer = kept.collector()
        assert answer is not None
        answer.feed(f"answer {number}".encode())
        keep(kept, capture(number, b"question"), answer)
        assert kept.held <= 200_000
        if number % 40 == 0:
            await settled(kept)
    await settled(kept)
    held = [number for number in range(400) if kept.has(number)]

    assert held == list(range(400))
    assert kept.held == kept.size < 60_000
    for number in (0, 1, 199, 399):
        found = await kept.get(number)
        assert found is not None
        assert (found.id, found.response_body) == (number, f"answer {number}".encode())
    kept.resize(2000)
    assert kept.size <= 2000
    assert kept.has(399)
    kept.close()
    assert kept.held == 0


async def test_what_comes_faster_than_anybody_could_look_is_not_compressed() -> None:
    clock = ManualClock()
    kept = Captures(100_000, on_problem=pytest.fail, clock=clock)
    for number in range(1000):
        clock.advance(0.0001)
        keep(kept, capture(number, b"question"))
        assert kept.held <= 100_000
    await settled(kept)
    held = [number for number in range(1000) if kept.has(number)]

    assert held[-1] == 999
    assert len(held) > 50
    assert kept._packed < 1000  # the first block only, and that is gone again
    found = await kept.get(999)
    assert found is not None
    assert found.request_body == b"question"
    kept.close()


async def test_a_flood_of_small_ones_does_not_fill_the_buffer_as_it_came() -> None:
    kept = Captures(100_000_000, on_problem=pytest.fail, clock=ManualClock())
    for number in range(3000):
        keep(kept, capture(number, b"question"))
    await settled(kept)
    held = [number for number in range(3000) if kept.has(number)]

    newest = held[-captures.MAX_FRESH_COUNT :]
    assert newest == list(range(3000 - captures.MAX_FRESH_COUNT, 3000))
    assert kept.size < captures.MAX_FRESH_COUNT * (OVERHEAD + 100) + 20_000
    kept.close()
    assert kept.held == 0


async def test_a_capture_can_be_read_while_it_is_compressed() -> None:
    kept = Captures(5000, on_problem=pytest.fail)
    keep(kept, capture(1, b"x" * 300))
    assert kept._waiting
    found = await kept.get(1)

    assert found is not None
    assert found.request_body == b"x" * 300
    kept.close()


async def test_the_oldest_make_room() -> None:
    clock = ManualClock()
    kept = Captures(20_000, on_problem=pytest.fail, clock=clock)
    for number in range(10):
        clock.advance(1)
        keep(kept, capture(number, os.urandom(4000)))
        await settled(kept)
        assert kept.size <= 20_000

    assert [number for number in range(10) if kept.has(number)] == [7, 8, 9]
    kept.resize(9000)
    assert [number for number in range(10) if kept.has(number)] == [8, 9]
    kept.resize(0)
    assert kept.size == 0
    assert kept.collector() is None
    kept.close()


async def test_what_finds_no_room_is_told_once() -> None:
    said: list[str] = []
    kept = Captures(OVERHEAD, on_problem=said.append)
    running = kept.collector()
    assert running is not None
    running.feed(b"x" * 900)
    for number in range(3):
        keep(kept, capture(number, None))

    assert kept.skipped == 3
    assert ["no room in captureBuffer for the capture of request 0" in text for text in said] == [True]
    assert (kept.size, kept.held) == (0, 900)
    running.close()
    kept.close()


async def test_a_request_that_is_too_large_is_left_out() -> None:
    kept = Captures(10_000, on_problem=pytest.fail)
    keep(kept, capture(1, os.urandom(5001)))
    await settled(kept)
    found = await kept.get(1)

    assert found is not None
    assert (found.request_body, found.truncated) == (None, True)
    kept.close()
    assert kept.held == 0


async def test_what_is_in_progress_is_bounded() -> None:
    kept = Captures(1000, on_problem=lambda text: None)
    first, second = kept.collector(), kept.collector()
    assert first is not None
    assert second is not None
    first.feed(b"x" * 700)
    second.feed(b"y" * 700)
    second.feed(b"z")

    assert (second.held, second.truncated, first.truncated) == (300, True, False)
    assert kept.held == 1000
    first.close()
    first.close()
    assert kept.held == 300
    kept.resize(2000)
    keep(kept, capture(1, None), second)
    found = await kept.get(1)
    assert found is not None
    assert found.truncated
    assert found.response_body == b"y" * 300
    kept.close()
    assert kept.held == 0


async def test_running_requests_push_out_the_oldest_but_a_giant_not_everything() -> None:
    kept = Captures(40_000, on_problem=pytest.fail)
    for number in range(20):
        keep(kept, capture(number, os.urandom(1000)))
        await settled(kept)
    before = [number for number in range(20) if kept.has(number)]
    giant = kept.collector()
    assert giant is not None
    for _ in range(100):
        giant.feed(b"x" * 1000)
    left = [number for number in range(20) if kept.has(number)]

    assert giant.truncated
    assert left == before[-len(left) :] != before
    assert kept.size > 10_000
    assert kept.held <= 40_000
    giant.close()
    kept.close()


async def test_memory_never_holds_more_than_the_limit() -> None:
    """Measured, with bytes that do not shrink: what runs, waits, is being compressed, is kept."""
    limit = 8_000_000
    kept = Captures(limit, on_problem=lambda text: None)
    chance = random.Random(1)
    await kept.get(0)
    tracemalloc.start()
    try:
        number, running = 0, []
        for _ in range(150):
            answer = kept.collector()
            assert answer is not None
            running.append((answer, kept.hold(chance.randbytes(chance.randrange(300_000)))))
            for collector, _ in running:
                for _ in range(10):
                    collector.feed(chance.randbytes(10_000))
            if len(running) > 5:
                answer, body = running.pop(chance.randrange(5))
                number += 1
                kept.add(capture(number, body), answer)
                del answer, body
                await asyncio.sleep(0)
            assert kept.held <= limit
        while kept._waiting:
            await asyncio.sleep(0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Beside them: lists, tables, the piece at work, and a buffer that grows by an eighth at a time.
    assert peak < 1.25 * limit
    assert kept.size > limit / 8
    for answer, body in running:
        answer.close()
        kept.let_go(body)
    kept.close()
    assert kept.held == 0


async def test_off_keeps_nothing() -> None:
    kept = Captures(0, on_problem=pytest.fail)
    keep(kept, capture(1), Collector(Budget(10)))

    assert not kept.has(1)
    assert await kept.get(1) is None
    kept.close()


async def test_too_many_at_once_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MAX_WAITING", 0)
    kept = Captures(5000, on_problem=pytest.fail)
    keep(kept, capture(1))

    assert (kept.skipped, kept.has(1), kept.held) == (1, False, 0)
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
    ("lines", "expected"),
    [
        (b"", {}),
        (b"\r\n", {}),
        (b"A: 1\r\na: 2\r\n\r\n", {"A": "1"}),
        (b"a:1\r\nb: \t x: y \r\n", {"A": "1", "B": "x: y"}),
        (b"authorization: Bearer s\r\nX-API-KEY:s\r\ncookie : s\r\n",
         {"Authorization": "[REDACTED]", "X-Api-Key": "[REDACTED]", "Cookie": "[REDACTED]"}),
        (b"authorization: Bearer\r\n s: x\r\n\ts\r\nb: 1\r\n", {"Authorization": "[REDACTED]", "B": "1"}),
        (b"a: 1\r\n 2\r\n", {"A": "1 2"}),
        (b"no header\r\n at all\r\n", {}),
        (b"a: \xe9\r\nempty:\r\n", {"A": "\xe9", "Empty": ""}),
    ],
)  # fmt: skip
def test_headers_as_they_were_sent(lines: bytes, expected: dict[str, str]) -> None:
    assert shown_headers(lines) == expected


@pytest.mark.parametrize("size", [10, 200_000])
async def test_headers_as_they_were_sent_are_kept_with_small_and_large_bodies(size: int) -> None:
    kept = Captures(4_000_000, on_problem=pytest.fail)
    body = kept.hold(b"x" * size)
    kept.add(RawCapture(1, "a", "/v1/x", b"cookie: s3cret\r\na: 1\r\n", body, [(b"set-cookie", b"s3cret")]))
    found = await kept.get(1)

    assert found is not None
    assert (found.request_headers, found.response_headers) == (
        {"Cookie": "[REDACTED]", "A": "1"}, {"Set-Cookie": "[REDACTED]"},
    )  # fmt: skip
    assert found.request_body == b"x" * size
    kept._pack()
    await settled(kept)
    assert kept._blocks
    assert b"s3cret" not in zstd.ZstdDecompressor().decompress(bytes(kept._blocks[0].data), 1_000_000)
    assert await kept.get(1) == found
    kept.close()
    assert kept.held == 0


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
