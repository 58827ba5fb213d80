"""What is served at once and what is not, and what goes on around it: the same on both ways."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from hostler.config.schema import ApiKey, Filters, Profile, Selector
from hostler.core import State
from hostler.gateway.rewrite import BodyFilter

from . import certificate
from .client import Client, request
from .lane import EVENT, EVENTS, OK, Lane, asked, chunk, ended, lane, left_behind, told, warm
from .server import CHAT, config, engine_port, question, running, stub, until

__all__ = ["lane"]

MEGABYTE = 1_048_576
FORM = [("content-type", "application/x-www-form-urlencoded")]


# -- which way ---------------------------------------------------------------------------------------------


async def test_names_and_filters_are_no_obstacle(lane: Lane) -> None:
    filters = Filters(strip_params=("top_k",), set_params={"seed": 1}, set_params_by_id={"other": {"n": 2}})
    async with warm(aliases=("other",), use_model_name="real", filters=filters) as (front, engine):
        for name, more in (("a", {}), ("other", {"n": 2})):
            assert (await front.ask("POST", CHAT, question(name) | {"top_k": 5})).body == b"ok"
            sent = json.loads(engine.bodies[-1])
            assert sent == question("real") | {"seed": 1} | more
        row = await left_behind(front, 3)
        assert (row["model"], row["bytes_in"]) == ("a", len(engine.bodies[-1]))
    lane.took(2)


async def test_a_selector_and_a_pin_go_the_ordinary_way(lane: Lane) -> None:
    settings = {
        "selectors": {"any": Selector("any", "warm", ("a",))},
        "profiles": {"p": Profile("p", "", {"pinned": "a"})},
    }
    async with warm(settings=settings) as (front, engine):
        assert (await front.chat("any")).body == b"ok"
        front.hostler.gateway.profiles.activate("p")
        assert (await front.chat("pinned")).body == b"ok"
        assert (await front.chat("a")).body == b"ok"
        assert [json.loads(body)["model"] for body in engine.bodies] == ["a"] * 4
        lane.took(0)
        front.hostler.gateway.profiles.activate(None)
        assert (await front.chat("a")).body == b"ok"
    lane.took(1)


async def test_what_else_goes_the_ordinary_way(lane: Lane) -> None:
    body = question("a")
    async with warm() as (front, engine):
        timed = await front.ask("POST", CHAT, body, [("x-server-timing", "1")])
        assert "ttfb" in (timed.get("server-timing") or "")
        assert (await front.ask("POST", CHAT, b"model=a", FORM)).body == b"ok"
        assert (await front.ask("POST", CHAT + "?model=a", b"{}")).body == b"ok"
        assert (await front.ask("POST", CHAT, body | {"x": "y" * 70_000})).body == b"ok"
        assert (await front.ask("POST", f"/upstream/a{CHAT}", body)).body == b"ok"
        assert (await front.chat("nobody")).status == 404
        capitals = [("content-type", "MULTIPART/FORM-DATA; boundary=x")]
        assert (await front.ask("POST", CHAT, body, capitals)).status == 400
        assert (await front.ask("POST", CHAT, b"[]")).status == 400
        assert (await front.ask("POST", CHAT, b"")).status == 400
        assert len(engine.heads) == 6
    lane.took(0)


async def test_a_key_opens_what_it_is_for(lane: Lane) -> None:
    keys = (ApiKey("k"), ApiKey("b", models=("b",)), ApiKey("l", scopes=("logs",)))
    async with warm(settings={"api_keys": keys}, headers=[("x-api-key", "k")]) as (front, engine):
        for key, status in (("k", 200), ("b", 403), ("l", 403), ("x", 401)):
            answer = await front.ask("POST", CHAT, question("a"), [("authorization", f"Bearer {key}")])
            assert answer.status == status
        assert len(engine.heads) == 2
        assert engine.header("authorization") == []
    lane.took(1)


async def test_a_bug_is_told_as_one(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("a bug")

    async with warm(use_model_name="real") as (front, _):
        monkeypatch.setattr(BodyFilter, "apply", fail)
        client = await front.connect()
        for _ in range(2):
            assert (await client.ask("POST", CHAT, question("a"))).status == 500
        await until(lambda: b"RuntimeError" in front.log("proxy").history(), "it to be in the log")
    lane.took(0)


async def test_a_model_has_no_more_requests_than_it_may(lane: Lane) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + chunk(EVENT))
        await reader.read(1)

    async with warm(wait, concurrency_limit=1) as (front, _):
        first = await asked(front)
        await first.head()
        second = await asked(front)
        await front.until_waiting("a", 1)
        third = await asked(front)
        await front.until_waiting("a", 2)
        for client, other in ((first, second), (second, third)):
            client.leave()
            await other.head()
        third.leave()
        await ended(front, status=200, size=len(EVENT), kind="cancelled", count=4)
    lane.took(1)


async def test_there_is_nothing_to_say_of_a_load(lane: Lane) -> None:
    async with warm(EVENTS + chunk(EVENT) + b"0\r\n\r\n", send_loading_state=True) as (front, _):
        assert (await front.ask("POST", CHAT, question("a", stream=True))).body == EVENT
    lane.took(1)


# -- connections -------------------------------------------------------------------------------------------


async def test_one_after_the_other(lane: Lane) -> None:
    async with warm() as (front, engine):
        client = await front.connect()
        for _ in range(10):
            assert (await client.ask("POST", CHAT, question("a"))).body == b"ok"
            assert (await client.ask("GET", "/health")).body == b"OK"
        assert engine.connections == 1
        await ended(front, status=200, size=2, kind="", count=11)
    lane.took(10)


async def test_many_side_by_side(lane: Lane) -> None:
    async with warm() as (front, _):

        async def ask() -> None:
            async with await front.connect() as client:
                for _ in range(10):
                    assert (await client.ask("POST", CHAT, question("a"))).body == b"ok"

        await asyncio.gather(*(ask() for _ in range(8)))
        await ended(front, status=200, size=2, kind="", count=81)
    assert len(lane.taken) > (40 if lane.short else -1)  # the others found no warm connection


async def test_what_is_asked_before_there_is_an_answer_waits(lane: Lane) -> None:
    go = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(OK)

    one = request("POST", CHAT, question("a"))
    async with warm(later) as (front, engine):
        client = await front.connect()
        await client.send(one)
        await until(lambda: len(engine.heads) == 2, "the first to be asked")
        await client.send(one + request("GET", "/health") + one)
        go.set()
        assert [(await client.read()).body for _ in range(4)] == [b"ok", b"ok", b"OK", b"ok"]
        await client.send(one * 3)
        assert [(await client.read()).body for _ in range(3)] == [b"ok"] * 3
        await left_behind(front, 7)
    lane.took(1)


async def test_a_body_in_pieces(lane: Lane) -> None:
    whole = request("POST", CHAT, question("a"))
    async with warm() as (front, engine):
        client = await front.connect()
        for place in range(0, len(whole), 40):
            await client.send(whole[place : place + 40])
            await asyncio.sleep(0)
        assert (await client.read()).body == b"ok"
        assert json.loads(engine.bodies[-1]) == question("a")
    lane.took(1)


async def test_a_body_that_takes_its_time(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostler.web.held.HELD_SECONDS", 0.0)
    whole = request("POST", CHAT, question("a"))
    async with warm() as (front, engine):
        client = await front.connect()
        await client.send(whole[:-5])
        await until(lambda: bool(front.server.server_state.tasks), "it to be begun")
        await client.send(whole[-5:])
        assert (await client.read()).body == b"ok"
        assert json.loads(engine.bodies[-1]) == question("a")
    lane.took(0)


async def test_who_leaves_before_the_body(lane: Lane) -> None:
    async with warm() as (front, _):
        client = await front.connect()
        await client.send(request("POST", CHAT, question("a"))[:-5])
        client.leave()
        assert await told(front, 2) == [("200", 2), ("-", 0)]
        await left_behind(front, 1)
    lane.took(0)


async def test_the_last_request_of_a_connection(lane: Lane) -> None:
    async with warm() as (front, _):
        client = await asked(front, headers=[("connection", "close")])
        answer = await client.read()
        assert (answer.body, answer.get("connection")) == (b"ok", "close")
        assert await client.end() == b""
    lane.took(1)


async def test_over_tls(lane: Lane, tmp_path: Path) -> None:
    files = certificate.make(tmp_path)

    async def ask(port: int) -> tuple[bytes, bool]:
        context: ssl.SSLContext = certificate.client_context(files)
        streams = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        async with Client(*streams) as client:
            answer = await client.ask("POST", CHAT, question("a"))
            return answer.body, answer.complete

    async with warm(in_pieces, tls=files) as (front, _):
        assert await ask(front.port) == (b"ok", True)
        assert await ask(front.port) == (EVENT * 3, True)
        await until(lambda: "| 0 leases" in front.fleet, "no lease")
    lane.took(1)


async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for piece in (EVENTS, *[chunk(EVENT)] * 3, b"0\r\n\r\n"):
        writer.write(piece)
        await writer.drain()


# -- clients that are slow ---------------------------------------------------------------------------------


SIZE = 24 * MEGABYTE


class Torrent:
    """Writes as fast as it is let, and says when it is not."""

    def __init__(self) -> None:
        self.written = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // 65_536):
            writer.write(b"x" * 65_536)
            await writer.drain()
            self.written += 65_536
        await reader.read(1)


async def held_back(lane: Lane) -> None:
    """The connection to the engine is not read."""
    if lane.short:
        await until(lambda: lane.taken[0]._paused, "the engine to be held back")


async def test_a_slow_client_holds_its_engine_back(lane: Lane) -> None:
    async with warm(Torrent()) as (front, _):
        client = await asked(front)
        await client.head()
        await held_back(lane)
        assert (await front.get("/health")).body == b"OK"
        body, complete = await client.rest()
        assert (len(body), complete) == (SIZE, True)
        await ended(front, status=200, size=SIZE, kind="")
    lane.took(1)


async def test_a_slow_client_leaves(lane: Lane) -> None:
    async with warm(Torrent()) as (front, engine):
        client = await asked(front)
        await client.head()
        await held_back(lane)
        client.leave()
        row = await left_behind(front, 2)
        assert (row["resp_status_code"], row["error_kind"]) == (200, "cancelled")
        await until(lambda: engine.left == 1, "the engine to be left")
    lane.took(1)


async def test_a_slow_client_is_cancelled(lane: Lane) -> None:
    async with warm(Torrent()) as (front, _):
        client = await asked(front)
        await client.head()
        await held_back(lane)
        front.hostler.gateway.in_flight.entries()[0].cancel()
        assert not (await client.rest())[1]
        row = await left_behind(front, 2)
        assert (row["resp_status_code"], row["error_kind"]) == (200, "cancelled")
    lane.took(1)


async def test_the_connection_to_the_engine_still_hears_after_a_slow_client(lane: Lane) -> None:
    size = 512 * 1024
    async with warm(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size) as (front, engine):
        for _ in range(5):
            answer = await front.chat("a")
            assert (answer.complete, len(answer.body)) == (True, size)
        assert engine.connections == 1
    lane.took(5)


# -- what happens to the model meanwhile -------------------------------------------------------------------


async def test_an_engine_that_is_killed(lane: Lane) -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        stream = await front.stream("a", tokens=100_000, chunk_delay=0.005)
        await stream.piece()
        await front.kill("a")
        body, complete = await stream.rest()
        assert not complete
        assert b"killed by SIGKILL" in body
        row = await left_behind(front, 2)
        assert (row["resp_status_code"], row["error_kind"], row["run"]) == (200, "engine", 1)
        assert (await front.chat("a")).status == 200
        assert front.status("a").run == 2
    lane.took(1)


async def test_an_engine_that_is_unloaded(lane: Lane) -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        stream = await front.stream("a", tokens=100_000, chunk_delay=0.005)
        await stream.piece()
        assert (await front.ask("POST", "/api/models/unload/a")).body == b"OK"
        assert not (await stream.rest())[1]
        await left_behind(front, 2)
        assert front.states() == {}
    lane.took(1)


async def test_a_request_that_is_served_keeps_its_model(lane: Lane) -> None:
    async with running(config(stub("a"), stub("b"))) as front:
        await front.chat("a")
        stream = await front.stream("a", tokens=20, chunk_delay=0.01)
        waiting = asyncio.create_task(front.chat("b"))
        await front.until_waiting("b", 1)
        body, complete = await stream.rest()
        assert (complete, body.endswith(b"data: [DONE]\n\n")) == (True, True)
        assert (await waiting).status == 200
        assert front.states() == {"b": "ready"}
    lane.took(1)


@pytest.mark.parametrize("stays", [True, False])
async def test_another_configuration(lane: Lane, stays: bool) -> None:
    """Changed or taken away, the model serves whom it has let in, and is then gone."""
    port = engine_port()
    async with running(config(stub("a", port=port))) as front:
        await front.chat("a")
        stream = await front.stream("a", tokens=20, chunk_delay=0.01)
        other = stub("a", port=port, stub_options={"ready_after": 0.1}) if stays else stub("b")
        front.hostler.replace(config(other))
        _, complete = await stream.rest()
        assert complete
        await until(lambda: front.states() == {}, "the old engine to be gone")
        assert (await front.chat("a")).status == (200 if stays else 404)
    lane.took(1)


@pytest.mark.parametrize("drain", [30.0, 0.2])
async def test_a_stop_waits_for_what_is_served(lane: Lane, drain: float) -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        tokens = 20 if drain > 1 else 100_000
        stream = await front.stream("a", tokens=tokens, chunk_delay=0.01)
        closing = asyncio.create_task(front.hostler.close(drain=drain))
        _, complete = await stream.rest()
        assert complete == (drain > 1)
        await closing
        assert front.status("a").state is State.SHUTDOWN
        assert not front.hostler.gateway.in_flight.entries()
        assert (await told(front, 2))[-1][0] == "200"
    lane.took(1)
