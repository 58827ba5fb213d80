"""What must hold: a request that ended is in the activity, the captures, the numbers and the events, once."""

from __future__ import annotations

import msgspec
import pytest

from hostler.clock import ManualClock
from hostler.errors import QueueFull, StartFailed
from hostler.metrics.activity import ActivityStore
from hostler.metrics.bus import EventBus
from hostler.metrics.captures import Captures
from hostler.metrics.families import RequestFamilies
from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ErrorKind, RequestRecord, Tokens, shortened
from hostler.metrics.recorder import Recorder
from hostler.metrics.registry import Registry
from hostler.metrics.settings import StoreSettings


class Parts:
    """A recorder and everything it writes to."""

    def __init__(self, capture_bytes: int = 1 << 20) -> None:
        self.clock = ManualClock()
        self.store = ActivityStore(StoreSettings(), on_problem=pytest.fail)
        self.captures = Captures(capture_bytes, on_problem=pytest.fail)
        self.bus = EventBus()
        self.families = RequestFamilies(Registry(), {"a", "b"}.__contains__)
        self.recorder = Recorder(
            store=self.store,
            captures=self.captures,
            bus=self.bus,
            families=self.families,
            on_bug=pytest.fail,
            clock=self.clock,
        )

    def begin(self, model: str = "a") -> RequestRecord:
        return self.recorder.begin(model=model, path="/v1/chat/completions", request_id="r", key="ann")

    async def close(self) -> None:
        self.captures.close()
        await self.store.close()


async def test_a_request_from_its_beginning_to_its_end() -> None:
    parts = Parts()
    parts.bus.join()
    clock = parts.clock
    record = parts.begin()
    parts.recorder.capture_request(record, [(b"Authorization", b"s"), (b"A", b"b")], b'{"model":"a"}')
    clock.advance(3.0)
    record.granted, record.load_seconds, record.run = clock.monotonic(), 2.5, 4
    clock.advance(0.25)
    record.first_byte = clock.monotonic()
    record.status, record.content_type = 200, "application/json"
    collector = parts.recorder.capture_response(record, [(b"Content-Type", b"application/json")])
    assert collector is not None
    collector.feed(b"{}")
    clock.advance(0.25)
    record.first_token = clock.monotonic()
    record.tokens = Tokens(input=10, output=20, cached=-1, tokens_per_second=40.0, estimated=True)
    record.bytes_in, record.bytes_out, record.finish_reason = 13, 2, "stop"
    clock.advance(0.5)

    row = parts.recorder.finish(record)

    assert row is not None
    assert (row.queue_ms, row.load_ms, row.first_byte_ms, row.first_token_ms) == (500, 2500, 3250, 3500)
    assert (row.duration_ms, row.run, row.key, row.error_kind) == (4000, 4, "ann", ErrorKind.NONE)
    assert row.speed_estimated
    assert (await parts.store.page(ActivityQuery())).rows == [row]
    capture = await parts.captures.get(row.id)
    assert capture is not None
    assert (capture.request_body, capture.response_body) == (b'{"model":"a"}', b"{}")
    assert capture.request_headers == {"Authorization": "[REDACTED]", "A": "b"}
    events, _ = parts.bus.read(0)
    assert [msgspec.json.decode(event.data)["id"] for event in events] == [row.id]
    assert parts.families.requests.value("a", "2xx", "none") == 1
    assert parts.families.tokens.value("a", "output") == 20
    assert parts.families.load_wait.count("a") == 1
    assert parts.recorder.finish(record) is None
    assert parts.bus.end == 1
    await parts.close()


async def test_failures_say_whose_fault_they_are() -> None:
    parts = Parts()
    kinds = {}
    for name in ("refused", "not started", "engine", "client", "cancelled"):
        record = parts.begin("nobody knows")
        if name == "refused":
            record.fail(QueueFull("full"))
        elif name == "not started":
            record.fail(StartFailed("x" * 900))
        elif name == "cancelled":
            record.status = 200
            record.cancel()
        else:
            record.status = 500 if name == "engine" else 404
        row = parts.recorder.finish(record)
        assert row is not None
        assert len(row.error) <= 503
        kinds[name] = (row.status, row.error_kind.value)

    assert kinds == {
        "refused": (429, "client"),
        "not started": (502, "engine"),
        "engine": (500, "engine"),
        "client": (404, "client"),
        "cancelled": (200, "cancelled"),
    }
    assert parts.families.requests.value("other", "4xx", "client") == 2
    assert parts.families.requests.value("other", "2xx", "cancelled") == 1
    await parts.close()


async def test_nothing_is_held_when_captures_are_off() -> None:
    parts = Parts(capture_bytes=0)
    record = parts.begin()
    parts.recorder.capture_request(record, [], b"body")

    assert record.request_body is None
    assert parts.recorder.capture_response(record, []) is None
    parts.recorder.finish(record)
    await parts.close()


async def test_an_answer_that_failed_keeps_no_body_and_a_lost_one_no_room() -> None:
    parts = Parts()
    failed = parts.begin()
    parts.recorder.capture_request(failed, [], b"q")
    failed.status = 500
    assert parts.recorder.capture_response(failed, [(b"A", b"b")]) is None
    row = parts.recorder.finish(failed)
    assert row is not None
    capture = await parts.captures.get(row.id)
    assert capture is not None
    assert (capture.request_body, capture.response_body, capture.response_headers) == (b"q", None, {"A": "b"})

    before = parts.captures.held
    cut = parts.begin()
    parts.recorder.capture_request(cut, [], b"q")
    cut.status = 200
    collector = parts.recorder.capture_response(cut, [])
    assert collector is not None
    collector.feed(b"x")
    cut.response_headers = None
    parts.recorder.finish(cut)
    assert parts.captures.held == before
    await parts.close()


async def test_the_engines_own_time_counts_when_it_is_longer() -> None:
    parts = Parts()
    record = parts.begin()
    record.engine_ms = 1450.0
    row = parts.recorder.finish(record)

    assert row is not None
    assert row.duration_ms == 1450
    assert (row.queue_ms, row.first_byte_ms) == (-1, -1)
    await parts.close()


def test_errors_are_cut() -> None:
    assert shortened("x" * 500) == "x" * 500
    assert shortened("x" * 501) == "x" * 500 + "..."
