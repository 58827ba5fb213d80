"""Every parameter of the log routes: on what is held and on what goes on, alone, together, and wrong."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hostler.logs.files import LogFiles
from hostler.logs.source import SourceLog

from .client import request
from .server import Front, config, in_process, running

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

# What there is when a reader comes, and what comes afterwards: (log, stream, line).
HELD = [
    ("a", "stdout", "INFO: a one"),
    ("b", "stdout", "INFO: b one"),
    ("a", "stderr", "WARNING: a two"),
    ("b", "stderr", "ERROR: b two"),
    ("a", "stderr", "  of the warning"),
]
LATER = [
    ("a", "stdout", "INFO: a three"),
    ("b", "stdout", "WARNING: b three"),
    ("a", "stderr", "ERROR: a four"),
    ("a", "stderr", "  of the error"),
    ("b", "stdout", "INFO: b last"),
    ("a", "stdout", "INFO: a last"),
]

QUERIES = [
    ("", "a", "one two warning three four error last"),
    ("tail=1", "a", "warning three four error last"),
    ("tail=0", "a", "three four error last"),
    ("head=4", "a", "one two warning three"),
    ("no-history", "a", "three four error last"),
    ("grep=two|four", "a", "two four"),
    ("grep=two|four&invert", "a", "one warning three error last"),
    ("grep=TWO", "a", ""),
    ("grep=(?i)TWO", "a", "two"),
    ("grep=^%20%20of", "a", "warning error"),
    ("level=warn", "a", "two warning four error"),
    ("level=WARNING&stream=stderr", "a", "two warning four error"),
    ("level=error", "a", "four error"),
    ("stream=stdout", "a", "one three last"),
    ("stream=stderr&grep=two&invert=1", "a", "warning four error"),
    ("stream=stderr&head=3", "a", "two warning four"),
    ("tail=1&grep=o", "a", "warning four error"),
    ("since=1h&level=error", "a", "four error"),
    ("until=1h", "a", ""),
    ("since=1h&tail=2&level=debug", "a", "two warning three four error last"),
    ("run=1", "a", "one two warning three four error last"),
    ("model=a&model=b&level=error", "", "two four error"),
    ("model=b", "", "one two three last"),
    ("model=a&model=b&head=3", "", "one one two"),
    ("model=proxy", "", ""),
    ("model=upstream&level=error", "", "two four error"),
    ("model=proxy&model=upstream&head=3", "", "one one two"),
    ("level=error", "upstream", "two four error"),
    ("model=b&model=a&grep=last", "", "last last"),
]


def write(front: Front, lines: list[tuple[str, str, str]]) -> None:
    for name, stream, line in lines:
        log = front.log(name)
        assert isinstance(log, SourceLog)
        log.take(line.encode() + b"\n", stream)


def begin(front: Front) -> None:
    for name in "ab":
        log = front.log(name)
        assert isinstance(log, SourceLog)
        log.begin_run(1)
        log.event("start", {"reason": "request"})
    write(front, HELD)


def words(body: bytes) -> list[str]:
    """The last word of each line."""
    records = [json.loads(line) for line in body.splitlines() if line]
    return [record["text"].split()[-1] for record in records if record["kind"] == "line"]


def there_was(query: str, name: str, expected: str) -> list[str]:
    """What of `expected` a reader gets that does not wait for what comes."""
    held = {line.split()[-1] for log, _, line in HELD if name not in ("a", "b") or log == name}
    return [word for word in expected.split() if word in held and "no-history" not in query]


@pytest.mark.parametrize(("query", "name", "expected"), QUERIES)
async def test_what_is_selected(query: str, name: str, expected: str) -> None:
    path = f"/{name}" if name else ""
    async with running(config(in_process("a", 1), in_process("b", 2))) as front:
        begin(front)
        held = words((await front.get(f"/logs{path}?format=ndjson&{query}")).body)
        client = await front.connect()
        await client.send(request("GET", f"/logs/stream{path}?format=ndjson&{query}"))
        await client.head()
        # The stream has its place from here on; what comes now is live.
        write(front, LATER)
        live = b""
        async with asyncio.timeout(20):
            while len(words(live)) < len(expected.split()):
                live += await client.piece()

    assert held == there_was(query, name, expected)
    assert words(live) == expected.split()


WRONG = [
    ("format=xml", "format", "text, ndjson, sse"),
    ("tail=x", "tail", "number of lines"),
    ("tail=-1", "tail", "number of lines"),
    ("head=1.5", "head", "number of lines"),
    ("head=1&tail=1", "head", "exclude each other"),
    ("grep=(", "grep", "missing )"),
    ("grep=(?<=a)b", "grep", "RE2"),
    ("grep=" + "a" * 1001, "grep", "longer than 1000"),
    ("invert", "invert", "needs grep"),
    ("grep=a&invert=maybe", "invert", "true or false"),
    ("level=loud", "level", "debug, info, warn, error"),
    ("stream=stdin", "stream", "stdout, stderr, proxy"),
    ("since=never", "since", "2026-01-02T03:04:05Z"),
    ("since=10", "since", "10m"),
    ("since=0001-01-01T00:00:00", "since", "2026-01-02T03:04:05Z"),
    ("until=-5m", "until", "10m"),
    ("since=1m&until=2m", "since", "after until"),
    ("run=0", "run", "from 1"),
    ("run=two", "run", "from 1"),
    ("run=1&model=a&model=b", "run", "one model"),
    ("cursor=x", "cursor", "not a log cursor"),
    ("cursor=e:1", "cursor", "not a log cursor"),
    ("on_gap=wait", "on_gap", "fail"),
    ("model=nobody", None, "'a'"),
    ("model=A2", None, "did you mean 'a'?"),
]


@pytest.mark.parametrize("path", ["/logs/a", "/logs/stream/a"])
@pytest.mark.parametrize(("query", "param", "words"), WRONG, ids=[query[:30] for query, *_ in WRONG])
async def test_what_is_wrong_is_a_400_that_says_why(
    path: str, query: str, param: str | None, words: str
) -> None:
    async with running(config(in_process("a", 1), in_process("b", 2))) as front:
        answer = await front.get(f"{path}?{query}")

    assert answer.status == 400
    assert answer.error["param"] == param
    assert words in answer.error["message"]


async def test_a_run_that_never_was() -> None:
    async with running(config(in_process("a", 1))) as front:
        begin_one = front.log("a")
        assert isinstance(begin_one, SourceLog)
        begin_one.begin_run(1)
        begin_one.event("start", {})
        answer = await front.get("/logs/a?run=-1")

    assert (answer.status, answer.error["param"]) == (404, "run")


async def test_no_expression_can_hold_the_server_up() -> None:
    """Python's own engine needs longer than the universe is old for this one."""
    async with running(config(in_process("a", 1))) as front:
        front.log("a").write((b"a" * 5000 + b"!\n") * 10)
        async with asyncio.timeout(10):
            answer = await front.get("/logs/a?grep=^(a%2B)%2B$|(a|aa)%2Bc")

    assert (answer.status, answer.body) == (200, b"")


async def test_times_with_zones() -> None:
    now = datetime.now(UTC)
    times = [now.isoformat(), now.isoformat().replace("+00:00", "Z"), now.astimezone().isoformat()]
    async with running(config(in_process("a", 1))) as front:
        front.log("a").write(b"after\n")
        found = [await front.get(f"/logs/a?since={time}") for time in times]
        before = [await front.get(f"/logs/a?until={time}") for time in times]

    assert [answer.body for answer in found] == [b"after\n"] * 3
    assert [answer.body for answer in before] == [b""] * 3


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize("models", [("a",), ("a", "b")])
async def test_the_earliest_cursor_is_one_to_go_on_from(
    tmp_path: Path, models: tuple[str, ...], *, files: bool
) -> None:
    """What a 410 says is taken with on_gap=fail, in memory and in files, of one log and of several."""
    log_files = LogFiles(tmp_path, max_bytes=200_000, segment_bytes=20_000) if files else None
    async with running(config(in_process("a", 1), in_process("b", 2)), files=log_files) as front:
        query = "format=ndjson" + "".join(f"&model={name}" for name in models)
        for name in models:
            front.log(name).write(b"first\n")
        first = (await front.get(f"/logs?{query}")).body.splitlines()[-1]
        cursor = json.loads(first)["cursor"]
        for number in range(4000):
            for name in models:
                front.log(name).write(b"%099d\n" % number)
            if number % 200 == 0 and log_files is not None:
                await log_files.flushed()
        gone = await front.get(f"/logs?{query}&cursor={cursor}&on_gap=fail")
        earliest = gone.error["details"]["earliest"]
        held = await front.get(f"/logs?{query}&cursor={earliest}&on_gap=fail")

    assert gone.status == 410
    assert held.status == 200
    records = [json.loads(line) for line in held.body.splitlines()]
    assert {record["kind"] for record in records} == {"line"}
    assert len(records) > 1000
    assert records[-1]["text"] == f"{3999:099d}"


async def test_a_cursor_whose_successors_are_gone() -> None:
    """Gaps with the number of bytes, or with on_gap=fail a 410 that says where there is something."""
    async with running(config(in_process("a", 1))) as front:
        log = front.log("a")
        log.write(b"first\n")
        first = json.loads((await front.get("/logs/a?format=ndjson")).body.splitlines()[-1])
        for number in range(3000):
            log.write(b"%099d\n" % number)
        query = f"format=ndjson&cursor={first['cursor']}"
        answers = [await front.get(f"{path}?{query}&on_gap=fail") for path in ("/logs/a", "/logs/stream/a")]
        records = [json.loads(line) for line in (await front.get(f"/logs/a?{query}")).body.splitlines()]
        earliest = answers[0].error["details"]["earliest"]
        held = await front.get(f"/logs/a?format=ndjson&cursor={earliest}&on_gap=fail")

    assert [answer.status for answer in answers] == [410, 410]
    assert answers[1].error["details"]["earliest"] == earliest
    assert held.status == 200
    assert [json.loads(line)["text"] for line in held.body.splitlines()] == [r["text"] for r in records[1:]]
    assert [record["kind"] == "gap" for record in records].index(False) == 1, "one gap, however many writes"
    given = sum(len(record["text"]) + 1 for record in records if record["kind"] == "line")
    missed = sum(record["missed"] for record in records if record["kind"] == "gap")
    assert given == log.capacity
    assert given + missed == 300_000


async def test_json_lines_may_be_asked_for_as_http_has_it() -> None:
    async with running(config(in_process("a", 1))) as front:
        begin_one = front.log("a")
        begin_one.write(b"one\n")
        answer = await front.get("/logs/a", [("accept", "application/x-ndjson")])
        text = await front.get("/logs/a?format=text", [("accept", "application/x-ndjson")])

    assert answer.get("content-type") == "application/x-ndjson"
    assert words(answer.body) == ["one"]
    assert text.body == b"one\n"
