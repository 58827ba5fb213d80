"""Logs as records over HTTP: queries, formats, resume, several models at once, runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hostler.app import Hostler
from hostler.config.schema import LogCause, Logs
from hostler.logs.files import LogFiles
from hostler.web import log_queries

from .client import Client, request
from .server import Front, config, in_process, question, running, stub, until, until_logged

LOG = ["INFO: one", "WARNING: two", "ERROR: three", "INFO: four"]


def printing(name: str, *lines: str, **fields: Any) -> Any:
    return stub(name, stub_options={"startup_log": list(lines)}, **fields)


async def records(front: Front, path: str) -> list[dict[str, Any]]:
    answer = await front.get(path)
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines() if line]


async def events(client: Client, count: int) -> list[dict[str, str]]:
    """The next `count` server-sent events that carry data."""
    found: list[dict[str, str]] = []
    seen = b""
    while len(found) < count:
        seen += await client.piece()
        *whole, seen = seen.split(b"\n\n")
        for event in whole:
            fields = dict(
                line.split(": ", 1) for line in event.decode().split("\n") if not line.startswith(":")
            )
            if "data" in fields:
                found.append(fields)
    return found[:count]


async def test_a_history_as_records() -> None:
    async with running(config(printing("a", *LOG))) as front:
        await front.chat("a")
        found = await records(front, "/logs/a?format=ndjson")

    assert [record["kind"] for record in found[:2]] == ["start", "line"]
    start = found[0]
    assert (start["run"], start["reason"], start["pid"] > 0) == (1, "request", True)
    lines = [record for record in found if record["kind"] == "line"]
    assert [(line["text"], line["level"], line["stream"]) for line in lines[:3]] == [
        ("INFO: one", "info", "stderr"),
        ("WARNING: two", "warn", "stderr"),
        ("ERROR: three", "error", "stderr"),
    ]
    assert all(line["cursor"].startswith(front.hostler.logs.epoch) for line in lines)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tail=2", None),
        ("grep=two", ["WARNING: two"]),
        ("grep=o&invert&level=warn", ["ERROR: three"]),
        ("level=error", ["ERROR: three"]),
        ("head=1&grep=e", ["INFO: one"]),
        ("stream=proxy", []),
        ("since=1h&level=warn", ["WARNING: two", "ERROR: three"]),
        ("run=1&level=error", ["ERROR: three"]),
    ],
)
async def test_queries(query: str, expected: list[str] | None) -> None:
    async with running(config(printing("a", *LOG))) as front:
        await front.chat("a")
        await until_logged(front.log("a"), "/completions")
        lines = (await front.get(f"/logs/a?{query}")).body.decode().splitlines()
        everything = front.log("a").history().decode().splitlines()

    assert lines == (expected if expected is not None else everything[-2:])


@pytest.mark.parametrize(
    "query", ["grep=(", "since=never", "tail=x", "format=xml", "run=0", "cursor=x", "level=loud"]
)
@pytest.mark.parametrize("path", ["/logs/a", "/logs/stream/a"])
async def test_a_query_that_is_wrong_is_a_400_that_says_why(path: str, query: str) -> None:
    async with running(config(in_process("a", 1))) as front:
        answer = await front.get(f"{path}?{query}")

    assert answer.status == 400
    assert query.split("=")[0] in str(answer.error["param"])


async def test_an_event_source_goes_on_where_it_was() -> None:
    async with running(config(in_process("a", 1))) as front:
        log = front.log("a")
        log.write(b"1\n2\n3\n")
        async with await front.connect() as client:
            await client.send(request("GET", "/logs/stream/a", None, [("accept", "text/event-stream")]))
            head = await client.head()
            assert head.get("content-type") == "text/event-stream"
            first = (await events(client, 2))[:2]  # what came with them was lost with the connection
        log.write(b"4\n")

        async with await front.connect() as client:
            headers = [("accept", "text/event-stream"), ("last-event-id", first[-1]["id"])]
            await client.send(request("GET", "/logs/stream/a", None, headers))
            await client.head()
            rest = await events(client, 2)
            log.write(b"5\n")
            rest += await events(client, 1)

    texts = [json.loads(event["data"])["text"] for event in (*first, *rest)]
    assert texts == ["1", "2", "3", "4", "5"]


async def test_a_cursor_of_nobody_is_a_gap_or_a_410() -> None:
    async with running(config(in_process("a", 1))) as front:
        front.log("a").write(b"1\n")
        found = await records(front, "/logs/a?format=ndjson&cursor=0ther:9.1.9")
        gone = await front.get("/logs/stream/a?format=ndjson&cursor=0ther:9.1.9&on_gap=fail")

    assert [(r["kind"], r.get("missed"), r.get("text")) for r in found] == [
        ("gap", None, None),
        ("line", None, "1"),
    ]
    assert gone.status == 410
    assert gone.error["details"]["earliest"].startswith(front.hostler.logs.epoch)


async def test_several_models_in_one_order() -> None:
    async with running(config(in_process("a", 1, aliases=("nick",)), in_process("b", 2))) as front:
        for number in range(4):
            front.log("ab"[number % 2]).write(b"%d\n" % number)
            front.hostler.hub.proxy.info(f"p{number}")
        both = await front.get("/logs?model=nick&model=b")
        found = await records(front, "/logs?model=a&model=proxy&format=ndjson&grep=[0-9]$")
        everything = await records(front, "/logs?format=ndjson&head=4")

    assert both.body.decode() == "[a] 0\n[b] 1\n[a] 2\n[b] 3\n"
    assert [(r["model"], r["text"]) for r in found] == [
        ("a", "0"),
        ("proxy", "[INFO] p0"),
        ("proxy", "[INFO] p1"),
        ("a", "2"),
        ("proxy", "[INFO] p2"),
        ("proxy", "[INFO] p3"),
    ]
    assert len(everything) == 4


async def test_a_stream_of_everything_takes_in_models_to_come() -> None:
    async with running(config(in_process("a", 1))) as front:
        client = await front.connect()
        await client.send(request("GET", "/logs/stream?format=ndjson&no-history"))
        await client.head()
        front.hostler.replace(config(in_process("a", 1), in_process("new", 2)))
        front.log("new").write(b"hello\n")
        seen = await client.until(b"hello")

    assert json.loads(seen.splitlines()[-1])["model"] == "new"


async def test_a_stream_that_is_silent_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_queries, "HEARTBEAT_SECONDS", 0.01)
    async with running(config(in_process("a", 1))) as front:
        client = await front.connect()
        await client.send(request("GET", "/logs/stream/a?format=sse"))
        await client.head()
        assert await client.until(b": still here\n\n: still here\n\n")
        front.log("a").write(b"awake\n")
        await client.until(b"awake")


async def test_runs_are_listed() -> None:
    async with running(config(printing("a", *LOG))) as front:
        await front.chat("a")
        await front.ask("POST", "/api/models/unload/a")
        await front.chat("a")
        answer = (await front.get("/logs/runs/a")).json()
        previous = await front.get("/logs/a?run=-1&grep=three")

    newest, first = answer["runs"]
    assert (newest["run"], first["run"]) == (2, 1)
    assert "exit" not in newest
    assert (first["reason"], first["code"] is None or first["code"] >= 0) == ("api", True)
    assert first["seconds"] > 0
    assert first["bytes"] > 0
    assert previous.body == b"ERROR: three\n"


async def test_logs_and_cursors_outlive_hostler(tmp_path: Path) -> None:
    async def lives(lines: list[bytes], query: str) -> list[str]:
        files = LogFiles(tmp_path)
        async with Hostler(config(in_process("a", 1)), log_files=files) as hostler:
            for line in lines:
                hostler.logs.log("a").take(line, "stdout")
            found = await hostler.logs.read("a", after=query or None)
            cursors.append(hostler.logs.cursor_of(found[-1]))
            return [record.text for record in found]

    cursors: list[str] = []
    assert await lives([b"1\n", b"2\n"], "") == ["1", "2"]
    assert await lives([b"3\n"], cursors[0]) == ["3"]
    assert await lives([], "") == ["1", "2", "3"]


async def test_the_memory_of_a_stopped_model_is_given_back(tmp_path: Path) -> None:
    hostler = Hostler(config(printing("a", *LOG)), log_files=LogFiles(tmp_path))
    async with hostler:
        await hostler.fleet.load(next(iter(hostler.config.models)))
        log = hostler.logs.log("a")
        assert log.history()
        await hostler.fleet.unload_all()
        await until(lambda: not log.history(), "the memory to be given back")

        assert b"ERROR: three\n" in await hostler.logs.on_disk("a")
        assert [r.text for r in await hostler.logs.read("a") if r.kind == "line"][:1] == ["INFO: one"]
        await asyncio.sleep(0)


async def test_what_an_engine_printed_while_it_served_a_request() -> None:
    async with running(config(stub("a"))) as front:
        await front.ask("POST", "/v1/chat/completions", question("a"), [("x-request-id", "first")])
        await front.ask("POST", "/v1/chat/completions", question("a"), [("x-request-id", "second")])
        await until(lambda: front.log("a").history().count(b"POST /v1/chat") == 2, "both to be printed")
        first = await front.get("/api/requests/first/logs?format=ndjson")
        unknown = await front.get("/api/requests/nobody/logs")

    found = [json.loads(line) for line in first.body.splitlines()]
    assert all(record["model"] == "a" for record in found)
    assert sum("POST /v1/chat" in record.get("text", "") for record in found) <= 1
    assert unknown.status == 404


async def test_a_failure_says_where_its_log_is_and_what_users_know_of_it() -> None:
    causes = (LogCause("no_gpu", "cannot find .* GPU", "there is no GPU", "plug one in"),)
    broken = stub("a", stub_options={"startup_log": ["cannot find any GPU"], "exit_before_ready": 3})
    models = config(broken, in_process("b", 1), logs=Logs(causes=causes))
    async with running(models) as front:
        answer = await front.chat("a")
        details = answer.error["details"]
        log = await front.get(f"/logs/a?cursor={details['cursor']}&grep=GPU")

    assert details["cause"] == {"kind": "no_gpu", "message": "there is no GPU", "advice": "plug one in"}
    assert details["run"] == 1
    assert log.body == b"cannot find any GPU\n"


async def test_an_engine_that_dies_under_a_request_says_why() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        hanging = asyncio.create_task(front.chat("a", first_delay=600))
        await until(lambda: front.status("a").active == 1, "the request to be served")
        await front.kill("a")
        details = (await hanging).error["details"]

    assert details["exit"] == "killed by SIGKILL"
    assert details["cause"]["kind"]
    assert details["cursor"].startswith(front.hostler.logs.epoch)
