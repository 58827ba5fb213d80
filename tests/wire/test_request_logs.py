"""From a request to what its engine printed, by the id that its answer, row and access line have."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hostler.config.schema import ApiKey
from hostler.logs.files import LogFiles
from hostler.logs.spans import RequestSpans

from .server import CHAT, Front, config, question, running, stub, until, until_logged

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


async def ask(front: Front, name: str, model: str = "a", **behaviour: Any) -> Any:
    return await front.ask("POST", CHAT, question(model, **behaviour), [("x-request-id", name)])


async def log_of(front: Front, name: str, query: str = "") -> list[str]:
    answer = await front.get(f"/api/requests/{name}/logs?format=ndjson{query}")
    assert answer.status == 200, answer.body
    records = [json.loads(line) for line in answer.body.splitlines()]
    assert all(record["model"] == "a" for record in records)
    return [record["text"] for record in records if record["kind"] == "line"]


async def test_one_id_is_everywhere() -> None:
    async with running(config(stub("a"))) as front:
        answer = await ask(front, "my-1")
        activity = await front.get("/api/metrics/activity?request_id=my-1")
        assert activity.status == 200, front.log("proxy").history().decode()
        rows = activity.json()["data"]
        line = await until_logged(front.log("proxy"), "POST /v1/chat/completions")
        unnamed = await front.ask("POST", CHAT, question("a"))

    assert answer.get("x-request-id") == "my-1"
    assert [row["request_id"] for row in rows] == ["my-1"]
    assert [one for one in line.splitlines() if "POST" in one][-1].endswith("s my-1")
    assert len(unnamed.get("x-request-id") or "") > 8


async def test_a_request_that_loads_its_model_has_all_of_the_loading() -> None:
    async with running(config(stub("a", stub_options={"startup_log": ["loading"]}))) as front:
        await ask(front, "cold")
        await ask(front, "warm")
        cold, warm = await log_of(front, "cold"), await log_of(front, "warm")

    assert cold[0] == "loading"
    assert "loading" not in warm


async def test_a_request_whose_model_does_not_start_has_the_log_of_the_start() -> None:
    broken = stub("a", stub_options={"startup_log": ["cannot do it"], "exit_before_ready": 3})
    async with running(config(broken)) as front:
        assert (await ask(front, "first")).status == 502
        await ask(front, "second")
        # The third one is refused: the model is given a rest.
        assert (await ask(front, "third")).status == 503
        logs = [await log_of(front, name) for name in ("first", "second", "third")]

    assert [log.count("cannot do it") for log in logs] == [1, 1, 1]


async def test_during_a_request_and_after_it_was_cancelled() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        hanging = asyncio.create_task(ask(front, "slow", first_delay=600))
        await until(lambda: front.status("a").active == 1, "the request to be served")
        front.log("a").write(b"working on it\n")
        during = await log_of(front, "slow")
        await front.ask("POST", "/api/inflight/slow/cancel")
        assert (await hanging).status == 499
        front.log("a").write(b"something else\n")
        after = await log_of(front, "slow", "&grep=on.it")
        everything = await log_of(front, "slow")

    assert "working on it" in during
    assert after == ["working on it"]
    assert "something else" not in everything


async def test_the_parameters_are_about_the_request_and_not_about_the_log() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        hanging = asyncio.create_task(ask(front, "one", first_delay=600))
        await until(lambda: front.log("a").history().count(b"POST /v1/chat") == 2, "the engine to have it")
        front.log("a").write(b"INFO: 1\nERROR: 2\nINFO: 3\n")
        await front.ask("POST", "/api/inflight/one/cancel")
        await hanging
        front.log("a").write(b"INFO: later\n" * 1000)
        tail, head = await log_of(front, "one", "&tail=2"), await log_of(front, "one", "&grep=INFO&head=1")
        text = await front.get("/api/requests/one/logs?level=error")
        wrong = await front.get("/api/requests/one/logs?tail=x")

    assert (tail, head, text.body) == (["ERROR: 2", "INFO: 3"], ["INFO: 1"], b"ERROR: 2\n")
    assert (wrong.status, wrong.error["param"]) == (400, "tail")


async def test_of_two_with_one_id_the_newer_one_counts() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        front.log("a").write(b"before\n")
        await ask(front, "same")
        front.log("a").write(b"between\n")
        hanging = asyncio.create_task(ask(front, "same", first_delay=600))
        await until(lambda: front.status("a").active == 1, "the request to be served")
        front.log("a").write(b"during\n")
        found = await log_of(front, "same")
        await front.ask("POST", "/api/inflight/same/cancel")
        await hanging

    assert "during" in found
    assert not {"before", "between"} & set(found)


async def test_of_older_requests_the_activity_knows_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart, or when ten thousand others came: by the times and the run in the row."""
    models = config(stub("a"), store_path=str(tmp_path / "activity.db"))
    async with running(models, files=LogFiles(tmp_path / "logs")) as front:
        await front.chat("a")
        front.log("a").write(b"before\n")
        await ask(front, "old", first_delay=0.05)
        await until(lambda: front.log("a").history().count(b"POST /v1/chat") == 2, "what the engine says")
        front.log("a").write(b"after\n")
        monkeypatch.setattr(front.hostler.gateway, "spans", RequestSpans())
        same_life = await log_of(front, "old")
    async with running(models, files=LogFiles(tmp_path / "logs")) as front:
        later = await log_of(front, "old")
        unknown = await front.get("/api/requests/nobody/logs")

    # In the moment that is left for an engine's last words, it was stopped.
    assert later[: len(same_life)] == same_life
    assert any("POST /v1/chat" in line for line in later)
    assert unknown.status == 404


async def test_whose_log_it_is_counts_for_keys() -> None:
    reader = ApiKey("reader", scopes=("logs",))
    stranger = ApiKey("stranger", models=("b",), scopes=("logs",))
    models = config(stub("a"), stub("b"), api_keys=(ApiKey("asks"), reader, stranger))
    async with running(models) as front:
        shown = [("x-api-key", "asks"), ("x-request-id", "mine")]
        assert (await front.ask("POST", CHAT, question("a"), shown)).status == 200
        statuses = [
            (await front.get("/api/requests/mine/logs", [("x-api-key", key)])).status
            for key in ("reader", "stranger", "asks")
        ]

    assert statuses == [200, 403, 200]
