"""What must hold: a run of a real process starts, is found ready, and ends, whatever the process does."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from hostler.clock import SYSTEM
from hostler.core import Exit, ModelId, StartReason, State, StopReason
from hostler.errors import StartFailed
from hostler.logs.source import SourceLog
from hostler.process.guardian import Guardian
from hostler.process.run import Run, RunSpec
from hostler.testing.ports import free_port
from hostler.testing.stub import stub_argv

pytestmark = pytest.mark.wire

PYTHON = sys.executable


@pytest_asyncio.fixture
async def guardian() -> AsyncIterator[Guardian]:
    made = Guardian()
    yield made
    await made.close()


def spec_of(**options: Any) -> RunSpec:
    port = free_port()
    return RunSpec(
        argv=tuple(stub_argv(port, **options)),
        proxy=f"http://127.0.0.1:{port}",
        start_timeout=10,
        stop_grace=5,
    )


def run_of(spec: RunSpec, guardian: Guardian) -> tuple[Run, SourceLog, list[State]]:
    log = SourceLog("m", epoch="e")
    states: list[State] = []
    run = Run(
        spec,
        model=ModelId("m"),
        number=1,
        reason=StartReason.REQUEST,
        guardian=guardian,
        log=log,
        on_state=lambda _, state: states.append(state),
    )
    return run, log, states


async def printed(log: SourceLog, text: bytes) -> None:
    """Return once `text` is in the log."""
    seen = b""
    async with asyncio.timeout(10), log.follow() as follower:
        async for chunk in follower:
            seen += chunk.data
            if text in seen:
                return


async def failure(spec: RunSpec, guardian: Guardian) -> StartFailed:
    run, _, states = run_of(spec, guardian)
    with pytest.raises(StartFailed) as caught:
        await run.start()
    assert states == [State.STARTING, State.STOPPED]
    return caught.value


async def test_a_life_from_start_to_stop(guardian: Guardian) -> None:
    run, log, states = run_of(spec_of(), guardian)

    await run.start()
    assert run.pid is not None
    assert os.getsid(run.pid) == run.pid
    await run.stop(StopReason.API)
    await run.stop(StopReason.API)

    assert states == [State.STARTING, State.READY, State.STOPPING, State.STOPPED]
    assert run.exit is not None
    assert b"listening on" in log.run_history(1)


async def test_it_is_ready_within_milliseconds_of_the_engine(guardian: Guardian) -> None:
    run, log, _ = run_of(spec_of(ready_after=0.4), guardian)
    starting = asyncio.get_running_loop().create_task(run.start())
    await printed(log, b"ready")
    said = SYSTEM.monotonic()

    await starting

    assert SYSTEM.monotonic() - said < 0.2
    await run.stop(StopReason.API)


@pytest.mark.parametrize(("options", "end"), [({"exit_before_ready": 9}, Exit(code=9))])
async def test_an_exit_before_ready(options: dict[str, Any], end: Exit, guardian: Guardian) -> None:
    error = await failure(spec_of(**options), guardian)

    assert error.details["code"] == end.code
    assert str(end) in error.message


async def test_a_death_by_signal(guardian: Guardian) -> None:
    spec = replace(spec_of(), argv=(PYTHON, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))

    error = await failure(spec, guardian)

    assert error.details["signal"] == 11
    assert "SIGSEGV" in error.message


async def test_an_engine_that_hangs_in_health_is_given_up_at_the_deadline(guardian: Guardian) -> None:
    error = await failure(replace(spec_of(hang_health=True), start_timeout=0.5), guardian)

    assert "not ready after 0.5 s" in error.message
    assert error.details["cause"] is not None


async def test_a_foreign_server_on_the_port_is_noticed(guardian: Guardian) -> None:
    spec = spec_of()
    with socket.create_server(("127.0.0.1", int(spec.proxy.rpartition(":")[2]))):
        error = await failure(spec, guardian)

    assert isinstance(error.details["cause"], dict)
    assert error.details["cause"]["kind"] == "port_in_use"


async def test_no_check_means_ready_at_once(guardian: Guardian) -> None:
    spec = RunSpec(argv=(PYTHON, "-c", "import signal; signal.pause()"), check_path=None, stop_grace=5)
    run, _, _ = run_of(spec, guardian)

    await run.start()

    assert run.state is State.READY
    await run.stop(StopReason.API)
    assert run.exit == Exit(signal=15)


async def test_an_exit_after_ready_is_seen_at_once(guardian: Guardian) -> None:
    run, _, states = run_of(spec_of(exit_after_ready=4, exit_delay=0.1), guardian)

    await run.start()
    async with asyncio.timeout(5):
        assert await run.wait() == Exit(code=4)

    assert states[-1] is State.STOPPED


async def test_what_ignores_term_is_killed_after_the_grace(guardian: Guardian) -> None:
    run, _, _ = run_of(spec_of(ignore_term=True), guardian)
    await run.start()

    await run.stop(StopReason.API, 0.2)

    assert run.exit == Exit(signal=9)


async def test_a_grandchild_that_holds_the_pipes_delays_nothing(guardian: Guardian) -> None:
    run, _, _ = run_of(spec_of(grandchild=True), guardian)
    await run.start()

    async with asyncio.timeout(4):
        await run.stop(StopReason.API)

    assert run.state is State.STOPPED


async def test_a_stop_during_the_start_cancels_it(guardian: Guardian) -> None:
    run, log, states = run_of(spec_of(ready_after=60), guardian)
    starting = asyncio.get_running_loop().create_task(run.start())
    await printed(log, b"listening on")

    await run.stop(StopReason.API)

    with pytest.raises(StartFailed):
        await starting
    assert states == [State.STARTING, State.STOPPED]


async def test_the_stop_command_is_run_and_heard(guardian: Guardian) -> None:
    command = "import os, sys; os.write(1, b'told %s' % sys.argv[1].encode()); os.kill(int(sys.argv[1]), 15)"
    run, log, _ = run_of(replace(spec_of(), stop_argv=(PYTHON, "-c", command, "${PID}")), guardian)
    await run.start()
    pid = run.pid

    await run.stop(StopReason.API)

    assert f"told {pid}".encode() in log.history()
    assert run.state is State.STOPPED


@pytest.mark.parametrize("command", ["raise SystemExit(3)", "import signal; signal.pause()"])
async def test_a_stop_command_that_fails_or_hangs_is_followed_by_term(
    command: str, guardian: Guardian
) -> None:
    spec = replace(spec_of(), stop_argv=(PYTHON, "-c", command), stop_grace=3)
    run, _, _ = run_of(spec, guardian)
    await run.start()

    async with asyncio.timeout(8):
        await run.stop(StopReason.API)

    assert run.state is State.STOPPED
    assert run.exit != Exit(signal=9)


async def test_when_the_guardian_is_killed_engines_die_and_the_next_one_starts(guardian: Guardian) -> None:
    run, _, _ = run_of(spec_of(), guardian)
    await run.start()
    assert guardian.pid is not None
    os.kill(guardian.pid, 9)

    async with asyncio.timeout(5):
        await run.wait()

    again, _, _ = run_of(spec_of(), guardian)
    await again.start()
    assert again.state is State.READY
    await again.stop(StopReason.API)
