"""Causes of trouble as people and programs learn of them: in answers, events, and numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hostler.config.schema import LogCause, Logs
from hostler.core import ModelId
from hostler.web import watch

from .server import Front, config, running, stub, until
from .test_observing import Listener

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

OWN = LogCause("licence", r"licence .* expired", "the licence has expired", "renew it")
MEMORY = "CUDA error: out of memory"


async def listening(front: Front, types: str) -> Listener:
    return await Listener.open(front, f"/api/v2/events?types={types}")


def failures(front: Front, phase: str, cause: str) -> float:
    return front.hostler.observatory.models.failures.value("a", phase, cause)


@pytest.mark.parametrize(
    ("line", "kind"), [(MEMORY, "out_of_memory"), ("licence X expired", "licence"), ("bye", "unknown")]
)
async def test_a_start_that_fails(line: str, kind: str) -> None:
    broken = stub("a", stub_options={"startup_log": [line], "exit_before_ready": 3})
    async with running(config(broken, logs=Logs(causes=(OWN,)))) as front:
        listener = await listening(front, "failure")
        await front.chat("a")
        event = await listener.until("failure")

        assert (event["phase"], event["run"], event["exit"]) == ("start", 1, "exit code 3")
        assert (event["cause"] or {"kind": "unknown"})["kind"] == kind
        assert event["cursor"].startswith(front.hostler.logs.epoch)
        assert failures(front, "start", kind) == 1


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "under a request"])
async def test_an_engine_that_ends_by_itself(busy: bool) -> None:
    model = stub("a", stub_options={"startup_log": ["licence X expired"]})
    async with running(config(model, logs=Logs(causes=(OWN,)))) as front:
        listener = await listening(front, "failure")
        await front.chat("a")
        if busy:
            hanging = asyncio.create_task(front.chat("a", first_delay=600))
            await until(lambda: front.status("a").active == 1, "the request to be served")
        await front.kill("a")
        event = await listener.until("failure")
        if busy:
            error = (await hanging).error
            assert error["details"]["cause"] == event["cause"]
            assert error["details"]["signal"] == 9
            assert error["details"]["cursor"] == event["cursor"]
            assert "killed by SIGKILL: the licence has expired" in error["message"]
            log_of_run = await front.get(f"/logs/stream/a?cursor={error['details']['cursor']}&head=1")
            assert log_of_run.body == b"licence X expired\n"

        assert (event["phase"], event["exit"]) == ("run", "killed by SIGKILL")
        assert event["cause"]["kind"] == "licence"
        assert failures(front, "run", "licence") == 1


async def test_the_evidence_is_of_the_run_that_failed() -> None:
    async with running(config(stub("a", stub_options={"startup_log": ["begins"]}))) as front:
        await front.chat("a")
        await front.kill("a")
        await until(lambda: front.status("a").pid is None, "the first run to be over")
        hanging = asyncio.create_task(front.chat("a", first_delay=600))
        await until(lambda: front.status("a").active == 1, "the request to be served")
        await front.kill("a")
        details = (await hanging).error["details"]

    assert details["run"] == 2
    assert details["log"].count("begins") == 1


async def test_a_cause_that_a_running_engine_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    async with running(config(stub("a"), logs=Logs(causes=(OWN,)))) as front:
        listener = await listening(front, "cause,failure")
        await front.chat("a")
        log = front.log("a")
        log.write(f"request 1 failed: {MEMORY}\nno such file or directory\nlicence Y exp".encode())
        first = await listener.until("cause")
        log.write(b"ired\nlicence Z expired\n")
        second = await listener.until("cause")

        assert first["cause"]["kind"] == "out_of_memory"
        assert (first["model"], first["run"], first["lines"]) == ("a", 1, 1)
        assert first["line"] == f"request 1 failed: {MEMORY}"
        assert second["cause"] == {"kind": "licence", "message": OWN.message, "advice": OWN.advice}
        assert (second["line"], second["lines"]) == ("licence Z expired", 2)
        assert front.hostler.observatory.models.causes.value("a", "licence") == 2
        assert front.hostler.observatory.models.causes.value("a", "file_not_found") == 0
        assert failures(front, "run", "licence") == 0


async def test_what_it_names_at_the_very_end_is_not_overlooked() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        watching = front.hostler.observatory.models.causes
        await until(lambda: front.log("a").end > 0, "it to say something")
        front.log("a").write(f"{MEMORY}\n".encode())
        await front.ask("POST", "/api/models/unload/a")

        assert watching.value("a", "out_of_memory") == 1


@pytest.mark.parametrize(
    ("engines", "kind"), [((), "licence"), (("vllm",), None), (("Llama.cpp", "stub"), "licence")]
)
async def test_a_cause_is_for_its_engines(engines: tuple[str, ...], kind: str | None) -> None:
    cause = LogCause("licence", "expired", "the licence has expired", engines=engines)
    broken = stub("a", stub_options={"startup_log": ["it has expired"], "exit_before_ready": 3})
    async with running(config(broken, logs=Logs(causes=(cause,)))) as front:
        found = (await front.chat("a")).error["details"]["cause"]

    assert (found and found["kind"]) == kind


async def test_a_flood_is_looked_at_in_part() -> None:
    async with running(config(stub("a"))) as front:
        await front.ask("POST", "/api/models/load/a")
        slot = front.hostler.fleet.slot(ModelId("a"))
        found: list[dict[str, Any]] = []
        looking = watch.RunWatch(front.hostler.state, lambda what, _: found.append(what))
        assert slot.run is not None
        slot.log.write(f"{MEMORY}\n".encode() + b"x" * 80 + b"\n" * 200_000 + f"{MEMORY}\n".encode())
        end = looking.look(slot, slot.run, 0)
        slot.log.write(b"half a line of ")
        still = looking.look(slot, slot.run, end)
        slot.log.write(MEMORY.encode() + b"\n")
        looking.look(slot, slot.run, still)

    assert [(what["lines"], what["line"]) for what in found] == [(1, MEMORY), (1, f"half a line of {MEMORY}")]
    assert still == end
