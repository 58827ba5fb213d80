"""http.md section 4.9, without its faults: what a client reads while its model loads."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hostler.clock import ManualClock
from hostler.core import State
from hostler.errors import StartFailed
from hostler.gateway import loading
from hostler.gateway.edge import Message
from hostler.gateway.loading import LoadingStream, Snapshot, describe
from hostler.process.progress import Progress


class Bench:
    """A stream whose wait a test plays."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.now = Snapshot(State.STOPPED, 3, None, "")
        self.clock = ManualClock()
        self.looks = 0
        self.stream = LoadingStream(
            self.send, "m", self.look, request_id=b"r", headers=[(b"x", b"y")], clock=self.clock
        )

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def look(self) -> Snapshot:
        self.looks += 1
        return self.now

    @property
    def text(self) -> str:
        body = b"".join(message.get("body", b"") for message in self.sent)
        events = [
            json.loads(event[6:]) for event in body.decode().split("\n\n") if event.startswith("data: {")
        ]
        return "".join(
            event["choices"][0]["delta"]["reasoning_content"] for event in events if "choices" in event
        )

    async def said(self, words: str) -> None:
        async with asyncio.timeout(10):
            while words not in self.text:
                await asyncio.sleep(0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(loading, "INTERVAL", 0.001)
    return Bench()


async def test_4_9_the_shape_of_the_stream(bench: Bench) -> None:
    task = asyncio.ensure_future(bench.stream.run())
    await bench.said("#3")
    bench.now = Snapshot(State.STARTING, 1, Progress("loading weights", 0.5), "noise")
    await bench.said("50%")
    task.cancel()
    await asyncio.wait([task])
    await bench.stream.ready()

    assert bench.sent[0]["status"] == 200
    assert (b"content-type", b"text/event-stream") in bench.sent[0]["headers"]
    assert (b"x", b"y") in bench.sent[0]["headers"]
    assert bench.text.splitlines() == [
        "━━━━━",
        "llama-swap loading model: m",
        "Queue position: #3 (0 s)",
        "Loading weights 50% (0 s)",
        "Done! (0.00s)",
        "━━━━━",
        " ",
    ]
    first: Any = json.loads(bench.sent[1]["body"][6:])
    assert (first["object"], first["model"], first["id"]) == ("chat.completion.chunk", "m", "chatcmpl-r")
    assert first["choices"][0]["finish_reason"] is None


async def test_what_does_not_change_is_not_said_again(bench: Bench) -> None:
    task = asyncio.ensure_future(bench.stream.run())
    async with asyncio.timeout(10):
        while bench.looks < 20:
            await asyncio.sleep(0)
    assert bench.text.count("Queue position") == 1

    bench.clock.advance(loading.HEARTBEAT)
    await bench.said("(10 s)")
    task.cancel()


async def test_a_failure_is_an_event_of_its_own(bench: Bench) -> None:
    await bench.stream.failed(StartFailed("it broke"), "/v1/chat/completions")

    event, done = (message["body"] for message in bench.sent)
    assert json.loads(event[6:])["error"]["message"] == "it broke"
    assert event.endswith(b"\n\n")
    assert done == b"data: [DONE]\n\n"
    assert [message["more_body"] for message in bench.sent] == [True, False]


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (Snapshot(State.STOPPING, 1, None, "x"), "Queue position: #1"),
        (Snapshot(State.STARTING, 1, None, ""), "Loading"),
        (Snapshot(State.STARTING, None, None, "\x1b[1mhello\x07"), "Loading – [1mhello"),
        (Snapshot(State.STARTING, 1, Progress("warming up"), "last"), "Warming up – last"),
        (Snapshot(State.STARTING, 1, None, "x" * 500), "Loading – " + "x" * 120),
    ],
)
def test_one_line_about_a_wait(snapshot: Snapshot, said: str) -> None:
    assert describe(snapshot) == said
