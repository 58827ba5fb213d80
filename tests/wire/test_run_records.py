"""What is kept of each run: how it began, how it ended, why, and how much memory it took."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hostler.config.schema import LogCause, Logs, Model
from hostler.core import ModelId
from hostler.logs.files import LogFiles
from hostler.logs.store import LogStore
from hostler.web import feed, watch

from .server import Front, config, running, stub, until

# It takes 64 MB in a process of its own, tells so, and waits.
BIG = (
    "import subprocess, sys; subprocess.run([sys.executable, '-c', "
    "'x = bytearray(64 << 20); print(len(x), flush=True); import signal; signal.pause()'])"
)


async def runs(front: Front, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await front.get(f"/logs/runs/{model}")).json()["runs"]
    return found


async def test_the_peak_of_the_memory_of_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(feed, "MEMORY_SECONDS", 0.0)
    argv = [sys.executable, "-c", BIG]
    async with running(config(stub("a", argv=argv, check_endpoint="none"), stub("b"))) as front:
        await front.ask("POST", "/api/models/load/a")
        await until(lambda: b"67108864" in front.log("a").history(), "it to have taken its memory")
        run = front.hostler.fleet.slot(ModelId("a")).run
        assert run is not None
        await until(lambda: (run.peak_memory or 0) > 64 << 20, "somebody to look")
        await front.ask("POST", "/api/models/unload/a")
        await front.chat("b")
        await front.ask("POST", "/api/models/unload/b")
        big, small = (await runs(front, "a"))[0], (await runs(front, "b"))[0]

    assert big["peak_memory_bytes"] > 64 << 20
    assert 1 << 20 < small["peak_memory_bytes"] < 64 << 20


async def test_a_run_that_failed_says_why() -> None:
    log = ["loading", "CUDA error: out of memory"]
    async with running(config(stub("a", stub_options={"startup_log": log, "exit_before_ready": 1}))) as front:
        await front.chat("a")
        run = (await runs(front, "a"))[0]

    assert (run["exit"], run["ready"], run["reason"]) == ("exit code 1", False, "exited")
    assert run["cause"]["kind"] == "out_of_memory"


async def test_a_run_that_was_not_ready_in_time_says_so() -> None:
    slow = stub("a", stub_options={"hang_health": True}, health_check_timeout=0.3)
    async with running(config(slow)) as front:
        await front.chat("a")
        run = (await runs(front, "a"))[0]

    assert (run["reason"], run["cause"]["kind"]) == ("start failed", "timeout")


async def test_a_run_that_was_stopped_has_no_cause() -> None:
    async with running(
        config(stub("a", stub_options={"startup_log": ["CUDA error: out of memory"]}))
    ) as front:
        await front.chat("a")
        await front.ask("POST", "/api/models/unload/a")
        run = (await runs(front, "a"))[0]

    assert (run["reason"], run["cause"], run["ready"]) == ("api", None, True)


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (stub("a", argv=["/nowhere/engine", "--key", "s3cret"]), "command_not_found", "was not found"),
        (Model(id=ModelId("a"), cmd="", port=1, proxy="http://127.0.0.1:1"), "bad_config", "empty command"),
    ],
    ids=["no program", "no command"],
)
async def test_a_start_without_a_process_is_a_run_too(model: Model, kind: str, words: str) -> None:
    async with running(config(model)) as front:
        await front.chat("a")
        await front.chat("a")
        found = await runs(front, "a")
        records = await front.get("/logs/a?format=ndjson&run=1")
        page = (await front.get("/metrics")).body.decode()

    assert [run["run"] for run in found] == [2, 1]
    assert (found[0]["exit"], found[0]["cause"]["kind"]) == ("not started", kind)
    assert words in found[0]["cause"]["message"]
    assert records.body.count(b'"kind":"start"') == records.body.count(b'"kind":"exit"') == 1
    assert f'hostler_model_failures_total{{model="a",phase="start",cause="{kind}"}} 2' in page


async def test_secrets_are_not_told_by_causes() -> None:
    cause = LogCause("bad_key", "key (.*) is wrong", "the key s3cret-s3cret is wrong")
    broken = stub("a", stub_options={"startup_log": ["key is wrong"], "exit_before_ready": 1})
    models = config(broken, logs=Logs(causes=(cause,)), secrets=frozenset({"s3cret-s3cret"}))
    async with running(models) as front:
        await front.chat("a")
        answer = await front.get("/logs/runs/a")

    assert b"s3cret" not in answer.body


async def test_what_is_known_of_a_run_that_goes_on() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        await until(lambda: front.log("a").end > 0, "it to say something")
        run = (await runs(front, "a"))[0]
        size = front.log("a").end

    assert "exit" not in run
    assert 0 < run["bytes"] <= size


async def test_a_run_that_hostler_did_not_survive_has_an_end(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    log = LogStore(files=files).log("gone")
    log.begin_run(1)
    log.event("start", {"reason": "request", "pid": 7})
    log.take(b"working\n", "stdout")
    files.close()

    async with running(config(stub("a")), files=LogFiles(tmp_path)) as front:
        run = (await runs(front, "gone"))[0]
        found = await front.get("/logs/gone?format=ndjson&run=1")

    assert (run["run"], run["pid"], run["exit"], run["reason"]) == (1, 7, "unknown", "Hostler ended")
    assert found.body.count(b'"kind":"exit"') == 1
    assert found.body.count(b"working") == 1


async def test_the_runs_of_a_removed_model_stay_readable(tmp_path: Path) -> None:
    log = ["first words"]
    both = config(stub("a", stub_options={"startup_log": log}), stub("b"))
    async with running(both, files=LogFiles(tmp_path)) as front:
        await front.chat("a")
        await front.ask("POST", "/api/models/unload/a")
        await front.chat("a")
        front.hostler.replace(config(stub("b")))
        await until(lambda: "a" not in front.states(), "it to be gone")
        reloaded = await runs(front, "a")
        previous = await front.get("/logs/a?run=-1&head=1")
    async with running(config(stub("b")), files=LogFiles(tmp_path)) as front:
        restarted = await runs(front, "a")
        again = await front.get("/logs/a?run=1&head=1")

    assert [run["run"] for run in reloaded] == [run["run"] for run in restarted] == [2, 1]
    assert restarted[0]["reason"] == "reload"
    assert restarted[0]["peak_memory_bytes"] > 1 << 20
    assert previous.body == again.body == b"first words\n"
