"""Engines that fail a request which is served at once: what the client, the log and the activity then say."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Never, cast

import pytest

from hostler.config.schema import Timeouts
from hostler.gateway.evidence import explained
from hostler.gateway.observe import Observed
from hostler.gateway.pool import Pool, Unreachable
from hostler.metrics.recorder import Recorder
from hostler.web.call import Call

from .client import TruncatedError, request
from .lane import EVENT, EVENTS, OK, Lane, asked, chunk, close, ended, lane, wait, warm
from .server import CHAT, config, in_process, question, raw_engine, running, turn, until
from .test_fuzz_engine import BROKEN as BROKEN_BODIES
from .test_fuzz_engine import CHUNKED, GARBAGE

__all__ = ["lane"]

# In whole seconds for whoever configures it; tests need not wait so long.
PATIENCE = Timeouts(response_header=cast("int", 0.3))

BROKEN = {
    "between events": (EVENTS + chunk(EVENT) * 2, True),
    "within an event": (EVENTS + chunk(EVENT + b"data: "), False),
    "no event": (EVENTS, True),
    "by length": (OK.replace(b": 2", b": 9"), False),
    "rubbish": (EVENTS + chunk(EVENT) + b"rubbish\r\n", True),
    "rubbish at once": (EVENTS + b"rubbish\r\n", True),
}


@pytest.mark.parametrize(("raw", "event"), BROKEN.values(), ids=BROKEN.keys())
async def test_an_engine_that_breaks_off(lane: Lane, raw: bytes, event: bool) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async with warm(breaks) as (front, _):
        answer = await front.chat("a")
        assert (answer.status, answer.complete) == (200, False)
        said, last = answer.body, answer.body[answer.body.rfind(b"data: ") :]
        if event:
            assert json.loads(last[6:])["src"] == "hostler"
            said = said[: -len(last)]
        assert b"hostler" not in said
        row = await ended(front, status=200, size=len(answer.body), sent=len(said), kind="engine")
        assert row["error_msg"].startswith("a: the engine at ")
        assert front.log("proxy").history().count(row["error_msg"].encode()) == 1
    lane.took(1)


NO_ANSWER = {
    "rubbish": (b"rubbish\r\n\r\n", "not valid HTTP"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-len", "in the middle of its answer"),
    "a switch": (b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "switched protocols"),
    "two lengths": (OK.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\n"), "not valid HTTP"),
    "a strange coding": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\n\r\n",
        "unknown transfer|not valid HTTP",
    ),
}


@pytest.mark.parametrize(("raw", "why"), NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_an_engine_that_says_nothing_of_use(lane: Lane, raw: bytes, why: str) -> None:
    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async with warm(says) as (front, engine):
        client = await front.connect()
        answer = await client.ask("POST", CHAT, question("a"), [("x-request-id", "mine")])
        assert (answer.status, answer.get("x-request-id")) == (502, "mine")
        assert any(one in answer.error["message"] for one in why.split("|"))
        assert answer.error["details"]["log_url"] == "http://front/logs/stream/a"
        await ended(front, status=502, size=len(answer.body), sent=0, kind="engine")
        assert len(engine.heads) == 2  # what was begun is not begun again
        assert (await client.ask("POST", CHAT, question("b"))).status == 404
    lane.took(1)


async def test_an_engine_that_had_just_closed_an_idle_connection(lane: Lane) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if engine.connections == 2:
            writer.write(OK)

    async with warm(once) as (front, engine):
        assert (await front.chat("a")).body == b"ok"
        assert engine.connections == 2
        assert engine.bodies[1] == engine.bodies[2] != b""
        await ended(front, status=200, size=2, kind="")
    lane.took(1)


async def test_it_is_asked_again_once(lane: Lane) -> None:
    async with warm(close) as (front, engine):
        answer = await front.chat("a")
        assert (answer.status, engine.connections) == (502, 2)
        assert "closed the connection without answering" in answer.error["message"]
        await ended(front, status=502, size=len(answer.body), sent=0, kind="engine")
    lane.took(1)


async def test_it_is_not_asked_again_when_it_had_its_time(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("express", "upstream"):
        monkeypatch.setattr(f"hostler.gateway.{module}.STALE_SECONDS", -1.0)
    async with warm(close) as (front, engine):
        assert (await front.chat("a")).status == 502
        assert engine.connections == 1
    lane.took(1)


@pytest.mark.parametrize(
    ("error", "status", "kind", "why"),
    [
        (Unreachable("nobody there"), 502, "engine", "closed the connection without answering"),
        (RuntimeError("a bug"), 500, "us", "its log says why"),
    ],
)
async def test_there_is_no_connection_to_ask_again(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: str, why: str
) -> None:
    async def connect(pool: Pool) -> Never:
        raise error

    async with warm(close) as (front, _):
        monkeypatch.setattr(Pool, "connect", connect)
        answer = await front.chat("a")
        assert (answer.status, why in answer.error["message"]) == (status, True)
        await ended(front, status=status, size=len(answer.body), sent=0, kind=kind)
        assert (b"unexpected RuntimeError" in front.log("proxy").history()) == (status == 500)
    lane.took(1)


@pytest.mark.parametrize("end", ["leaves", "cancelled"])
async def test_it_ends_while_a_connection_is_made(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    connecting = asyncio.Event()

    async def connect(pool: Pool) -> Never:
        connecting.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with warm(close) as (front, _):
        monkeypatch.setattr(Pool, "connect", connect)
        client = await asked(front)
        await connecting.wait()
        if end == "leaves":
            client.leave()
            await ended(front, status=0, size=0, kind="cancelled")
        else:
            front.hostler.gateway.in_flight.entries()[0].cancel()
            answer = await client.read()
            await ended(front, status=499, size=len(answer.body), sent=0, kind="cancelled")
    lane.took(1)


@pytest.mark.parametrize(
    ("place", "name", "complete"),
    [
        (Call, "answer", False),
        (Recorder, "finish_whole", True),
        (Recorder, "capture_response", True),
    ],
)
async def test_a_bug_at_the_end_leaves_nothing_behind(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, place: type, name: str, complete: bool
) -> None:
    if not lane.short:
        pytest.skip("the other way has a task of its own, and catches what that raises")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async with warm() as (front, _):
        client = await front.connect()
        assert (await client.ask("POST", CHAT, question("a"))).body == b"ok"
        monkeypatch.setattr(place, name, fail)
        if name == "capture_response":
            monkeypatch.setattr(Recorder, "finish_whole", lambda *_: False)
        if complete:
            assert (await client.ask("POST", CHAT, question("a"))).body == b"ok"
        else:
            await client.send(request("POST", CHAT, question("a")))
            with pytest.raises(TruncatedError):
                await client.head()
        assert b"a bug" in front.log("proxy").history()
        await front.until_idle()
        assert front.hostler.gateway.in_flight.entries() == []
        assert front.hostler.gateway.budget.held == 0
        monkeypatch.undo()
        assert (await front.chat("a")).body == b"ok"


async def test_a_bug_on_the_way_leaves_nothing_behind(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("a bug")

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + chunk(EVENT))
        await reader.read(1)

    async with warm(events) as (front, _):
        monkeypatch.setattr(Observed, "passed", fail)
        assert not (await front.chat("a")).complete
        await front.until_idle()
        assert front.hostler.gateway.in_flight.entries() == []


async def test_an_engine_that_takes_too_long(lane: Lane) -> None:
    async with warm(wait, timeouts=PATIENCE) as (front, engine):
        answer = await front.chat("a")
        assert answer.status == 502
        assert "did not begin to answer within 0.3 s" in answer.error["message"]
        await ended(front, status=502, size=len(answer.body), sent=0, kind="engine")
        await until(lambda: engine.left == 1, "the engine to be left")
    lane.took(1)


async def test_patience_ends_with_the_head(lane: Lane) -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS)
        await turn(0.4)
        writer.write(chunk(EVENT) + b"0\r\n\r\n")

    async with warm(slowly, timeouts=PATIENCE) as (front, _):
        answer = await front.chat("a")
        assert (answer.body, answer.complete) == (EVENT, True)
    lane.took(1)


async def test_what_went_wrong_is_not_forgotten_while_it_is_explained(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(*arguments: Any) -> Any:
        await turn(0.4)
        return await explained(*arguments)

    for module in ("express", "request"):
        monkeypatch.setattr(f"hostler.gateway.{module}.explained", slowly)
    async with warm(b"rubbish\r\n\r\n", timeouts=PATIENCE) as (front, _):
        answer = await front.chat("a")
        assert "not valid HTTP" in answer.error["message"]
        await ended(front, status=502, size=len(answer.body), sent=0, kind="engine")
    lane.took(1)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_engines_that_lie_or_stop_at_any_byte(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on a connection that had carried a good answer: 502, or a body that is visibly broken."""
    monkeypatch.setattr("hostler.fleet.lease.FATE_PATIENCE", 0.001)
    stops = [CHUNKED[:size] for size in range(1, len(CHUNKED))]
    said = OK

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            writer.write(said)
            if said is not OK:
                return

    lies = [*GARBAGE, *BROKEN_BODIES, *stops]
    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        for lie in lies:
            said = OK
            assert (await front.chat("a")).body == b"ok"
            said = lie
            answer = await front.chat("a")
            assert (answer.status, answer.complete) in ((502, True), (200, False)), lie[:200]
            assert (answer.status == 502) or b"\r\n\r\n" in lie
        await front.until_idle()
    lane.took(len(lies))
