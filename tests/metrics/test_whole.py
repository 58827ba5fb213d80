"""What must hold: a request that is written down in one step leaves what it would have left step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.clock import ManualClock
from hostler.core import ModelId
from hostler.fleet.lease import Lease
from hostler.gateway.observe import Observed
from hostler.metrics.accounts import Usage
from hostler.metrics.activity import ActivityStore
from hostler.metrics.bus import EventBus
from hostler.metrics.capture_parts import MAX_FRAME
from hostler.metrics.captures import Captures
from hostler.metrics.families import RequestFamilies
from hostler.metrics.query import ActivityQuery
from hostler.metrics.recorder import Recorder
from hostler.metrics.registry import Registry
from hostler.metrics.settings import StoreSettings
from hostler.metrics.whole import Whole

CHAT = "/v1/chat/completions"
KIND = "application/json"
LINES = b"host: x\r\nauthorization: Bearer s3cret\r\nx-request-id: r\r\ncontent-length: 2\r\n\r\n"
ANSWER_LINES = b"Content-Type: application/json\r\nSet-Cookie: s3cret\r\nDate: now\r\n\r\n"
TIMINGS = {"predicted_n": 3, "predicted_ms": 2000.5, "predicted_per_second": 7.5}
ANSWERS = st.one_of(
    st.sampled_from([b"", b"{}", b'{"error": {"message": "lost"}}', b'{"error": "\xff"}', b"no JSON"]),
    st.builds(
        lambda given, made, reason, more: json.dumps(
            {"usage": {"prompt_tokens": given, "completion_tokens": made}, **more,
             "choices": [{"finish_reason": reason}]}).encode(),
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from(["stop", "", None, "\ud800"]),
        st.sampled_from([{}, {"timings": TIMINGS}]),
    ),
)  # fmt: skip


class Desk:
    """A recorder and everything it writes to."""

    def __init__(self, captures: int = 1 << 20, on_bug: Callable[[str], None] = pytest.fail) -> None:
        self.clock = ManualClock()
        self.store = ActivityStore(StoreSettings(), on_problem=pytest.fail)
        self.captures = Captures(captures, on_problem=lambda text: None, clock=self.clock)
        self.bus = EventBus()
        self.registry = Registry()
        self.families = RequestFamilies(self.registry, {"a"}.__contains__)
        self.recorder = Recorder(
            store=self.store,
            captures=self.captures,
            bus=self.bus,
            families=self.families,
            on_bug=on_bug,
            clock=self.clock,
        )

    async def left(self) -> dict[str, Any]:
        """Everything that is left of the requests."""
        self.recorder.flush()
        rows = (await self.store.page(ActivityQuery())).rows
        captures = [await self.captures.get(row.id) for row in rows]
        kept = [None if one is None else msgspec.structs.asdict(one) for one in captures]
        return {"rows": rows, "captures": kept, "page": self.registry.render(), "events": self.bus.end}

    async def close(self) -> None:
        self.captures.close()
        assert self.captures.held == 0
        await self.store.close()


def whole(desk: Desk, answer: bytes, *, took: float, priority: int, path: str = CHAT) -> bool:
    began = desk.clock.monotonic()
    came = began + took / 2
    desk.clock.advance(took)
    return desk.recorder.finish_whole(
        Whole("a", path, "r", "ann", 3, priority, began, came, KIND, LINES, b"{}", ANSWER_LINES, answer)
    )


def stepwise(desk: Desk, answer: bytes, *, took: float, priority: int, path: str = CHAT) -> None:
    began = desk.clock.monotonic()
    record = desk.recorder.begin(model="a", path=path, request_id="r", key="ann", began=began)
    observed = Observed(desk.recorder, record, desk.clock)
    observed.granted(Lease(ModelId("a"), 3, "", 0.0, False, 0.0, priority), began)
    assert observed.sending_lines(LINES, b"{}") == LINES
    given = {b"content-type": KIND.encode()}
    observed.answering(200, ANSWER_LINES, given, began + took / 2)
    if answer:
        observed.passed(answer)
    desk.clock.advance(took)
    observed.finish(len(answer))


@given(ANSWERS, st.sampled_from([0.0, 0.0004, 0.0015, 3.25]), st.integers(0, 1))
async def test_in_one_step_as_step_by_step(answer: bytes, took: float, priority: int) -> None:
    one, other = Desk(), Desk()
    assert whole(one, answer, took=took, priority=priority)
    stepwise(other, answer, took=took, priority=priority)
    left = await one.left()

    assert left == await other.left()
    assert len(left["rows"]) == left["events"] == 1
    assert abs(one.captures.held - other.captures.held) <= 2  # no piece, or an empty one
    assert "s3cret" not in repr(left)
    await one.close()
    await other.close()


async def test_what_is_kept_and_shown_of_its_headers() -> None:
    desk = Desk()
    assert whole(desk, b"{}", took=1.0, priority=0)
    (capture,) = (await desk.left())["captures"]

    assert capture["request_headers"] == {
        "Host": "x", "Authorization": "[REDACTED]", "X-Request-Id": "r", "Content-Length": "2",
    }  # fmt: skip
    assert capture["response_headers"] == {
        "Content-Type": "application/json", "Set-Cookie": "[REDACTED]", "Date": "now",
    }  # fmt: skip
    await desk.close()


@pytest.mark.parametrize(
    ("answer", "path", "limit"),
    [
        (b"x" * MAX_FRAME, CHAT, 1 << 20),  # it is not small
        (b"x" * MAX_FRAME, CHAT, 0),  # though there are no captures
        (b"x" * 600, CHAT, 1000),  # there may be no room for it
        (b"{}", "/v1/audio/speech", 1 << 20),  # whose answers are not kept
    ],
)
async def test_what_is_not_written_down_in_one_step(answer: bytes, path: str, limit: int) -> None:
    desk = Desk(captures=limit)

    assert not whole(desk, answer, took=1.0, priority=0, path=path)
    assert (await desk.left())["rows"] == []
    assert desk.captures.held == 0
    await desk.close()


async def test_captures_may_be_off_or_turned_off() -> None:
    desk = Desk(captures=0)
    assert whole(desk, b"{}", took=1.0, priority=0)
    assert (await desk.left())["captures"] == [None]
    desk.captures.resize(1 << 20)
    assert whole(desk, b"{}", took=1.0, priority=0)
    desk.captures.resize(0)
    assert (await desk.left())["captures"] == [None, None]
    assert desk.captures.held == 0
    await desk.close()


async def test_many_in_a_flood_stay_within_their_bounds() -> None:
    desk = Desk()
    for number in range(2000):
        assert whole(desk, b'{"n": %d}' % number, took=0.0001, priority=0)
        assert desk.captures.held < 1 << 20
    left = await desk.left()

    assert left["events"] == 2000
    assert [row.id for row in left["rows"]] == sorted((row.id for row in left["rows"]), reverse=True)
    assert left["captures"][0]["response_body"] == b'{"n": 1999}'
    assert desk.families.requests.value("a", "2xx", "none") == 2000
    await desk.close()


@pytest.mark.parametrize("way", [whole, stepwise], ids=["in one step", "step by step"])
async def test_one_that_cannot_be_written_down_takes_no_other_with_it(
    way: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str, __: int, answer: bytes) -> Usage:
        if answer == b"bad":
            raise ValueError("a bug")
        return Usage()

    monkeypatch.setattr("hostler.metrics.whole.whole_usage", broken)
    monkeypatch.setattr("hostler.gateway.observe.whole_usage", broken)
    told: list[str] = []
    desk = Desk(on_bug=told.append)
    for answer in (b"{}", b"bad", b"{}"):
        way(desk, answer, took=1.0, priority=0)
    left = await desk.left()

    assert len(left["rows"]) == left["events"] == 2
    assert told == ["unexpected ValueError while request r for a was written down: a bug"]
    await desk.close()
