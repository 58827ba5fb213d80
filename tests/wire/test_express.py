"""What must hold of requests that are served at once: each of their ends looks like that of any other."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Never, cast

import pytest

from hostler.config.schema import ApiKey, Timeouts
from hostler.gateway.evidence import explained
from hostler.gateway.pool import Pool, Unreachable

from .client import TruncatedError, request
from .lane import EVENT, EVENTS, OK, Lane, asked, chunk, ended, lane, left_behind, told, warm
from .server import CHAT, question, turn, until

__all__ = ["lane"]

# In whole seconds for whoever configures it; tests need not wait so long.
PATIENCE = Timeouts(response_header=cast("int", 0.3))
USAGE = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(USAGE)


async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An engine that thinks, until it is left."""
    await reader.read(1)


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An engine that ends the connection."""


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Between two events."""
    writer.write(EVENTS + chunk(EVENT))
    await reader.read(1)


# -- answers -----------------------------------------------------------------------------------------------


ANSWERS = {
    "sized": (OK, 200, b"ok", ("2", None)),
    "empty": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"", ("0", None)),
    "chunked": (EVENTS + chunk(EVENT) + chunk(EVENT) + b"0\r\n\r\n", 200, EVENT * 2, (None, "chunked")),
    "trailers": (EVENTS + chunk(EVENT) + b"0\r\nx: y\r\n\r\n", 200, EVENT, (None, "chunked")),
    "no chunk": (EVENTS + b"0\r\n\r\n", 200, b"", (None, "chunked")),
    "error": (OK.replace(b"200 OK", b"400 No"), 400, b"ok", ("2", None)),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", (None, None)),
    "nothing, measured": (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", 204, b"", (None, None)),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b"", (None, None)),
    "interim": (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 H\r\nx: y\r\n\r\n" + OK, 200, b"ok", ("2", None)),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "status", "body", "framing"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer(
    lane: Lane, raw: bytes, status: int, body: bytes, framing: tuple[str | None, str | None]
) -> None:
    async with warm(raw) as (front, engine):
        client = await front.connect()
        for count in (2, 3):
            answer = await client.ask("POST", CHAT, question("a"), [("x-request-id", "mine")])
            assert (answer.status, answer.body, answer.complete) == (status, body, True)
            assert (answer.get("content-length"), answer.get("transfer-encoding")) == framing
            assert answer.get("x-request-id") == "mine"
            assert answer.get("date")
            kind = "client" if status == 400 else ""
            await ended(front, status=status, size=len(body), kind=kind, count=count)
        assert engine.connections == 1
    lane.took(2)


async def test_an_answer_that_comes_bit_by_bit(lane: Lane) -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + EVENTS + chunk(EVENT) + b"0\r\n\r\n"

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for place in range(0, len(whole), 7):
            writer.write(whole[place : place + 7])
            await turn(0)

    async with warm(slowly) as (front, _):
        answer = await front.chat("a")
        assert (answer.body, answer.complete) == (EVENT, True)
        await ended(front, status=200, size=len(EVENT), kind="")
    lane.took(1)


async def test_an_answer_without_a_length_ends_with_the_connection(lane: Lane) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nto the end")

    async with warm(old) as (front, engine):
        answer = await front.chat("a")
        assert (answer.body, answer.complete, answer.get("transfer-encoding")) == (
            b"to the end",
            True,
            "chunked",
        )
        await ended(front, status=200, size=10, kind="")
        assert (await front.chat("a")).complete
        assert engine.connections == 2
    lane.took(1)


@pytest.mark.parametrize("behind", [OK.replace(b"200 OK", b"500 No"), b"rubbish"])
async def test_what_comes_behind_an_answer_is_nobodys(lane: Lane, behind: bytes) -> None:
    async with warm(OK + behind) as (front, engine):
        answer = await front.chat("a")
        assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)
        await ended(front, status=200, size=2, kind="")
        assert (await front.chat("a")).body == b"ok"
        assert engine.connections == 2
    lane.took(1)


async def test_the_head_of_an_answer_does_not_wait_for_its_body(lane: Lane) -> None:
    async def head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS)
        await reader.read(1)

    async with warm(head) as (front, _):
        client = await asked(front)
        assert (await client.head()).get("x-accel-buffering") == "no"
        client.leave()
        await ended(front, status=200, size=0, kind="cancelled")
    lane.took(1)


async def test_what_is_known_of_a_request(lane: Lane) -> None:
    key = [("authorization", "Bearer k")]
    wish = [*key, ("x-request-id", "mine"), ("x-private", "1"), ("connection", "x-private")]
    settings = {"api_keys": (ApiKey("k", name="ann"),)}
    async with warm(JSON + USAGE, settings=settings, headers=key) as (front, engine):
        assert (await front.ask("POST", "/v/chat/completions", question("a"), wish)).body == USAGE
        row = await left_behind(front, 2, key)
        lines = await told(front, 1, "/v/chat/completions")
        logs = await front.get("/api/requests/mine/logs", key)

        assert (row["tokens"]["input_tokens"], row["tokens"]["output_tokens"]) == (3, 4)
        expected = {
            "model": "a", "req_path": "/chat/completions", "resp_status_code": 200, "request_id": "mine",
            "key": "ann", "run": 1, "bytes_in": len(engine.bodies[-1]), "bytes_out": len(USAGE),
            "finish_reason": "stop", "error_kind": "", "has_capture": True,
        }  # fmt: skip
        assert {name: row[name] for name in expected} == expected
        assert lines == [("200", len(USAGE))]
        assert logs.status == 200
        assert engine.heads[-1].startswith(b"POST /chat/completions HTTP/1.1\r\n")
        names = ("authorization", "x-request-id", "x-private", "x-forwarded-for", "host")
        assert [engine.header(name) for name in names] == [[], ["mine"], [], ["127.0.0.1"], ["front"]]
    lane.took(1)


# -- clients that leave, operators that cancel -------------------------------------------------------------


async def test_a_client_that_leaves_before_the_head(lane: Lane) -> None:
    async with warm(wait) as (front, engine):
        client = await asked(front)
        await until(lambda: len(engine.heads) == 2, "the engine to be asked")
        client.leave()
        await ended(front, status=0, size=0, kind="cancelled")
        await until(lambda: engine.left == 1, "the engine to be left")
    lane.took(1)


@pytest.mark.parametrize("headers", [(), [("connection", "close")]])
async def test_a_client_that_leaves_in_the_middle(lane: Lane, headers: Any) -> None:
    async with warm(half) as (front, engine):
        client = await asked(front, headers=headers)
        await client.until(EVENT) if (await client.head()).status == 200 else None
        client.leave()
        await ended(front, status=200, size=len(EVENT), kind="cancelled")
        await until(lambda: engine.left == 1, "the engine to be left")
    lane.took(1)


@pytest.fixture
def explaining(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set, a failure is explained; until then whoever explains one goes on looking."""
    begun = asyncio.Event()

    async def slowly(*_: object) -> Never:
        begun.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    for module in ("express", "request"):
        monkeypatch.setattr(f"hostler.gateway.{module}.explained", slowly)
    return begun


FAILURES = {
    "no head": (b"rubbish\r\n\r\n", 0, 0),
    "no chunk": (EVENTS + chunk(EVENT) + b"rubbish\r\n", 200, len(EVENT)),
}


@pytest.mark.parametrize(("raw", "status", "size"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_client_that_leaves_while_a_failure_is_explained(
    lane: Lane, explaining: asyncio.Event, raw: bytes, status: int, size: int
) -> None:
    async with warm(raw) as (front, _):
        client = await asked(front)
        await explaining.wait()
        client.leave()
        await ended(front, status=status, size=size, kind="cancelled")
    lane.took(1)


async def test_a_request_is_cancelled_before_its_head(lane: Lane) -> None:
    async with warm(wait) as (front, engine):
        client = await asked(front)
        await until(lambda: len(engine.heads) == 2, "the engine to be asked")
        (shown,) = front.hostler.gateway.in_flight.snapshot(0)
        assert (shown["model"], shown["req_path"], shown["method"]) == ("a", CHAT, "POST")
        assert (await front.ask("POST", f"/api/inflight/{shown['id']}/cancel")).status == 200
        answer = await client.read()
        assert (answer.status, answer.complete) == (499, True)
        await ended(front, status=499, size=len(answer.body), sent=0, kind="cancelled")
        await until(lambda: engine.left == 1, "the engine to be left")
        assert (await client.ask("POST", CHAT, question("b"))).status == 404  # the connection goes on
    lane.took(1)


async def test_requests_in_flight_are_shown_alike(lane: Lane) -> None:
    async with warm(half) as (front, _):
        client = await front.connect()
        wish = [("authorization", "Bearer secret"), ("x-request-id", "mine"), ("x-forwarded-for", "9.9.9.9")]
        await client.send(request("POST", "/v/chat/completions", question("a"), wish))
        await client.head()
        await client.until(EVENT)
        (shown,) = front.hostler.gateway.in_flight.snapshot(0)
        assert "secret" not in json.dumps(shown)
        expected = {
            "id": "2", "request_id": "mine", "model": "a", "req_path": "/chat/completions", "method": "POST",
            "remote_ip": "9.9.9.9", "resp_bytes": len(EVENT),
        }  # fmt: skip
        assert {name: shown[name] for name in expected} == expected
        assert shown["resp_headers"]["Content-Type"] == "text/event-stream"
        client.leave()
        await left_behind(front, 2)
    lane.took(1)


async def test_a_request_is_cancelled_behind_its_head(lane: Lane) -> None:
    async with warm(half) as (front, engine):
        client = await asked(front)
        await client.head()
        await client.until(EVENT)
        (entry,) = front.hostler.gateway.in_flight.entries()
        assert front.hostler.gateway.in_flight.cancel(str(entry.number))
        with pytest.raises(TruncatedError):
            await client.piece()
        await ended(front, status=200, size=len(EVENT), kind="cancelled")
        await until(lambda: engine.left == 1, "the engine to be left")
    lane.took(1)


@pytest.mark.parametrize(("raw", "status", "size"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_request_is_cancelled_while_its_failure_is_explained(
    lane: Lane, explaining: asyncio.Event, raw: bytes, status: int, size: int
) -> None:
    async with warm(raw) as (front, _):
        client = await asked(front)
        await explaining.wait()
        (entry,) = front.hostler.gateway.in_flight.entries()
        entry.cancel()
        if status:
            _, complete = await client.rest() if (await client.head()).status == 200 else (b"", True)
            assert not complete
            await ended(front, status=status, size=size, kind="cancelled")
        else:
            answer = await client.read()
            await ended(front, status=499, size=len(answer.body), sent=0, kind="cancelled")
    lane.took(1)


# -- engines that fail -------------------------------------------------------------------------------------


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
        row = await ended(front, status=200, size=len(said), kind="engine")
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
