"""What must hold of requests that are served at once: each of their ends looks like that of any other."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Never

import pytest

from hostler.config.schema import ApiKey, Telemetry
from hostler.core import ModelId

from .client import TruncatedError, request
from .lane import EVENT, EVENTS, OK, Engine, Lane, asked, chunk, ended, lane, left_behind, told, wait, warm
from .server import CHAT, config, question, raw_engine, turn, until

__all__ = ["lane"]

USAGE = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(USAGE)


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Between two events."""
    writer.write(EVENTS + chunk(EVENT))
    await reader.read(1)


# -- answers -----------------------------------------------------------------------------------------------


DATED = b"\r\ndate: Fri, 27 Nov 2026 15:00:00 GMT\r\n"
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
    "its own date": (OK.replace(b"\r\n\r\n", DATED + b"connection: Date\r\n\r\n"), 200, b"ok", ("2", None)),
    "its own length": (
        OK.replace(b"\r\n\r\n", b"\r\nconnection: x, Content-Length\r\n\r\n"), 200, b"ok", ("2", None)
    ),
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


async def test_the_trace_of_a_client_goes_on(lane: Lane) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    collector = Engine()
    async with raw_engine(collector.serve) as traces:
        telemetry = Telemetry(endpoint=f"http://127.0.0.1:{traces}/v1/traces")
        async with warm(settings={"telemetry": telemetry}) as (front, engine):
            await front.ask("POST", CHAT, question("a"), [("traceparent", parent)])
            (sent,) = engine.header("traceparent")
            assert sent.split("-")[1] == parent.split("-")[1]
            assert sent != parent
            await left_behind(front, 2)
    assert bytes.fromhex(parent.split("-")[1]) in b"".join(collector.bodies)
    lane.took(1)


async def test_a_key_that_was_taken_away_opens_nothing(lane: Lane) -> None:
    """Not even where the same client has shown it before, on the same connection."""
    key = [("x-api-key", "k")]
    async with warm(settings={"api_keys": (ApiKey("k"),)}, headers=key) as (front, engine):
        client = await front.connect()
        assert (await client.ask("POST", CHAT, question("a"), key)).status == 200
        model = front.hostler.config.models[ModelId("a")]
        front.hostler.replace(config(model, api_keys=(ApiKey("other"),)))
        assert (await client.ask("POST", CHAT, question("a"), key)).status == 401
        front.hostler.replace(config(model))
        assert (await client.ask("POST", CHAT, question("a"), key)).status == 200
        assert engine.header("x-api-key") == ["k"]  # nobody asks for it here any more
    lane.took(2)


async def test_a_connection_header_cannot_take_away_what_an_engine_needs(lane: Lane) -> None:
    wish = [("connection", "host, content-length, x-forwarded-for, x-request-id"), ("x-request-id", "mine")]
    async with warm() as (front, engine):
        client = await front.connect()
        for model in ("a", "a", "nobody", "a"):
            await client.ask("POST", CHAT, question(model), wish)
            assert len(engine.header("host")) == 1
            assert engine.header("content-length") == [str(len(engine.bodies[-1]))]
        assert engine.header("host")[0].startswith("127.0.0.1:")
        assert [engine.header(name) for name in ("x-forwarded-for", "x-request-id")] == [
            ["127.0.0.1"],
            ["mine"],
        ]
    lane.took(3)


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
