"""Logs over HTTP: history and then what comes, each byte once, whoever reads how slowly."""

from __future__ import annotations

import asyncio
import re

import pytest

from hostler.core import ModelId, State
from hostler.logs.text import strip_gaps

from .client import Client, request
from .server import Front, config, in_process, running, stub, until, until_logged

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

A = ModelId("a")
servers = pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])


async def follow(front: Front, path: str) -> Client:
    """A stream of which the headers have come."""
    client = await front.connect()
    await client.send(request("GET", path))
    answer = await client.head()
    assert answer.status == 200
    assert answer.get("content-type") == "text/plain; charset=utf-8"
    assert answer.get("x-accel-buffering") == "no"
    assert answer.get("x-content-type-options") == "nosniff"
    return client


@servers
@pytest.mark.parametrize("name", ["", "/proxy", "/upstream", "/a", "/a?no-history"])
async def test_headers_come_before_any_byte_was_written(name: str, plain: bool) -> None:
    async with running(config(in_process("a", 1)), plain=plain) as front:
        await follow(front, f"/logs/stream{name}")


@servers
async def test_history_comes_first_and_then_what_is_written(plain: bool) -> None:
    async with running(config(in_process("a", 1)), plain=plain) as front:
        log = front.log("a")
        log.write(b"old 1\nold 2\n")
        client = await follow(front, "/logs/stream/a")
        assert await client.until(b"old 2\n") == b"old 1\nold 2\n"
        log.write(b"new, no line yet")
        assert await client.until(b"yet") == b"new, no line yet"
        log.write(b"\xff\x00\r\n")
        assert await client.until(b"\n") == b"\xff\x00\r\n"


@pytest.mark.parametrize("suffix", ["?no-history", "?no-history=1", "?x=1&no-history="])
async def test_without_history(suffix: str) -> None:
    async with running(config(in_process("a", 1))) as front:
        front.log("a").write(b"old\n")
        client = await follow(front, f"/logs/stream/a{suffix}")
        front.log("a").write(b"new\n")

        assert await client.until(b"new\n") == b"new\n"


@pytest.mark.parametrize(
    "path",
    ["org/model:q4", "org%2Fmodel:q4", "org%2fmodel%3Aq4", "nick", "org/model:q4/and/more", "/org/model:q4/"],
)
async def test_ids_with_slashes_and_aliases(path: str) -> None:
    models = config(in_process("org/model:q4", 1, aliases=("nick",)), in_process("org", 2))
    async with running(models) as front:
        front.log("org/model:q4").write(b"here\n")
        client = await follow(front, f"/logs/stream/{path}")

        assert await client.until(b"\n") == b"here\n"
        assert (await front.get(f"/logs/{path}")).body == b"here\n"


async def test_an_id_that_looks_escaped_is_itself() -> None:
    async with running(config(in_process("a%2Fb?c", 1), in_process("a/b", 2))) as front:
        front.log("a%2Fb?c").write(b"odd\n")
        front.log("a/b").write(b"even\n")

        assert (await front.get("/logs/a%252Fb%3Fc")).body == b"odd\n"
        assert (await front.get("/logs/a%2Fb")).body == b"even\n"


@pytest.mark.parametrize("path", ["/logs/stream/nobody", "/logs/nobody", "/logs/stream/proxyx"])
async def test_an_unknown_name_is_told_what_there_is(path: str) -> None:
    async with running(config(in_process("a", 1), in_process("b/c", 2))) as front:
        answer = await front.get(path)

        assert answer.status == 400
        for known in ("'proxy'", "'upstream'", "'a'", "'b/c'"):
            assert known in answer.error["message"]


async def test_the_log_of_everything() -> None:
    """Engines and proxy together; a browser is shown the page."""
    async with running(config(in_process("a", 1), log_to_stdout="none")) as front:
        front.log("a").write(b"engine\n")
        front.log("proxy").info("proxy")
        answer = await front.get("/logs")

        assert answer.body == b"engine\n[INFO] proxy\n"
        assert answer.get("content-type") == "text/plain; charset=utf-8"
        assert (await front.get("/logs/upstream")).body == b"engine\n"
        assert (await front.get("/logs/proxy")).body.startswith(b"[INFO] proxy\n")
        page = await front.get("/logs", [("accept", "text/html,*/*")])
        assert (page.status, page.get("location")) == (302, "/ui/")


@pytest.mark.parametrize("copied", ["proxy", "upstream", "both", "none"])
async def test_engine_output_is_in_the_log_whatever_is_copied_to_stdout(copied: str) -> None:
    model = stub("a", stub_options={"startup_log": ["what the engine said"]})
    async with running(config(model, log_to_stdout=copied)) as front:
        await front.chat("a")

        for name in ("", "/upstream", "/a"):
            assert b"what the engine said\n" in (await front.get(f"/logs{name}")).body


async def test_a_stream_goes_on_over_stop_and_start() -> None:
    """Two lives of the engine, every line of each, in order."""
    async with running(config(stub("a", stub_options={"lines": 50}))) as front:
        client = await follow(front, "/logs/stream/a")
        seen = b""
        for _ in range(2):
            await front.chat("a")
            seen += await client.until(b"line 000000050\n")
            await front.ask("POST", "/api/models/unload/a")
            seen += await client.until(b"exiting")

        numbers = [int(number) for number in re.findall(rb"line (\d+)", seen)]
        assert sorted(numbers) == sorted([*range(1, 51), *range(1, 51)])
        assert seen == front.log("a").history()[: len(seen)]


@servers
async def test_a_slow_reader_harms_nobody_and_is_told_what_it_missed(plain: bool) -> None:
    """Its bytes and its announced gaps are what was written; another reader has everything."""
    size = 30_000_000
    async with running(config(in_process("a", 1)), plain=plain) as front:
        log = front.log("a")
        slow = await follow(front, "/logs/stream/a")
        written = 0
        line = b"x" * 99 + b"\n"
        while written < size:
            log.write(line * 500)
            written += len(line) * 500
            await asyncio.sleep(0)
        quick = await asyncio.wait_for(front.get("/health"), 5)
        assert quick.status == 200
        log.write(b"the end\n")
        written += len(b"the end\n")

        data, missed = strip_gaps(await slow.until(b"the end\n"))

        assert missed > 0
        assert len(data) + missed == written
        assert data.replace(b"x", b"").replace(b"\n", b"") == b"the end".replace(b"x", b"")


@servers
async def test_a_follower_that_leaves_is_forgotten(plain: bool) -> None:
    async with running(config(in_process("a", 1)), plain=plain) as front:
        clients = [await follow(front, "/logs/stream/a") for _ in range(10)]
        await until(lambda: front.log("a").waiting == 10, "ten to wait")

        for client in clients:
            client.leave()

        await until(lambda: front.log("a").waiting == 0, "nobody to wait")


async def test_followers_end_when_hostler_does() -> None:
    """With the rest of what was written, and with the end of their framing."""
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        clients = [await follow(front, f"/logs/stream{name}") for name in ("", "/proxy", "/upstream", "/a")]

        await front.hostler.close(drain=0)

        for client in clients:
            body, complete = await client.rest()
            assert complete
        assert b"exiting with code 0" in body


async def test_what_an_engine_prints_last_is_there() -> None:
    """A crash with its last words in the log of the model, though nobody followed it."""
    model = stub("a", stub_options={"lines": 2000, "exit_after_ready": 3, "exit_delay": 0.1})
    async with running(config(model)) as front:
        await front.ask("POST", "/api/models/load/a")
        await front.until("a", State.STOPPED)
        text = await until_logged(front.log("a"), "exiting with code 3")

        assert text.count("\nline ") + text.startswith("line ") == 2000
