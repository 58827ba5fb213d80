"""Starts of real processes: quick ones, failing ones, and those that are given up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hostler import aio
from hostler.clock import SYSTEM
from hostler.core import Exit, State, StopReason
from hostler.errors import InternalError, ShuttingDown, StartFailed
from hostler.process import probe
from hostler.process.guardian import Guardian

from .children import Life, alive, descriptors, spec

pytestmark = pytest.mark.wire


@pytest_asyncio.fixture
async def guardian() -> AsyncIterator[Guardian]:
    made = Guardian()
    await made.start()
    yield made
    await made.close()
    assert aio.alive() == 0


def kind(error: StartFailed) -> object:
    cause = error.details["cause"]
    assert isinstance(cause, dict)
    return cause["kind"]


def program(code: str) -> tuple[str, ...]:
    """A program that does this and stays."""
    return (sys.executable, "-S", "-u", "-c", f"{code}\nimport signal; signal.pause()")


async def test_ready_is_seen_within_milliseconds(guardian: Guardian) -> None:
    """The goal is 10 ms on a quiet machine; here it is only asserted that nobody polls by the second."""
    lags = []
    for _ in range(5):
        life = Life(spec(), guardian)
        await life.run.start()
        assert life.run.ready_at is not None
        lags.append(life.run.ready_at - float((await life.said("listening")).split()[1]))
        await life.run.stop(StopReason.API)

    assert statistics.median(lags) < 0.1


async def test_output_brings_the_next_try_forward(
    guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "FIRST_PAUSE", 30.0)
    life = Life(spec(), guardian)

    async with asyncio.timeout(15):
        await life.run.start()

    await life.run.stop(StopReason.API)


async def test_environment_and_directory(guardian: Guardian, tmp_path: Path) -> None:
    argv = program("import os; print(os.environ['COLOUR'], os.environ['HOME'], os.getcwd(), flush=True)")
    life = Life(
        spec(argv=argv, env=("COLOUR=red", "COLOUR=blue=green"), cwd=str(tmp_path), check_path=None), guardian
    )
    await life.run.start()

    assert await life.said("blue") == f"blue=green {os.environ['HOME']} {tmp_path}"
    await life.run.stop(StopReason.API)


async def test_nothing_of_ours_is_inherited(guardian: Guardian) -> None:
    """Neither our sockets nor the guardian's: just the standard three, with nothing to read from."""
    code = "import os, sys; print('open', *sorted(os.listdir('/proc/self/fd')), sys.stdin.read(), 'end')"
    life = Life(spec(argv=program(code), check_path=None), guardian)
    with socket.create_server(("127.0.0.1", 0)):
        await life.run.start()

        assert await life.said("open") == "open 0 1 2 3  end"  # 3 is the listing itself
    await life.run.stop(StopReason.API)


async def test_signals_are_as_a_program_expects_them(guardian: Guardian) -> None:
    """The guardian ignores what ends others; an engine must not inherit that."""
    code = (
        "import signal as s; print('handlers', *(s.getsignal(n) is s.SIG_DFL for n in "
        "(s.SIGTERM, s.SIGHUP, s.SIGCHLD)), len(s.pthread_sigmask(s.SIG_BLOCK, [])))"
    )
    life = Life(spec(argv=program(code), check_path=None), guardian)
    await life.run.start()

    assert await life.said("handlers") == "handlers True True True 0"
    await life.run.stop(StopReason.API)


async def test_the_last_words_of_a_failed_start(guardian: Guardian) -> None:
    code = (
        "import sys\nfor n in range(30): print('line', n)\n"
        "sys.stdout.flush()\nprint('error: invalid argument: --foo', file=sys.stderr)\nsys.exit(3)"
    )
    life = Life(spec(argv=(sys.executable, "-S", "-c", code)), guardian)

    with pytest.raises(StartFailed, match=r"exit code 3 after .*: --foo") as caught:
        await life.run.start()

    log = caught.value.details["log"]
    assert isinstance(log, list)
    assert len(log) == 20
    assert "error: invalid argument: --foo" in log
    assert kind(caught.value) == "unknown_flag"
    assert life.states == [State.STARTING, State.STOPPED]
    assert life.run.exit == Exit(code=3)


async def test_an_exit_is_noticed_at_once_though_a_grandchild_holds_the_pipe() -> None:
    guardian = Guardian()
    life = Life(spec("escaped", "crash"), guardian)

    async with asyncio.timeout(10):
        with pytest.raises(StartFailed, match="exit code 7"):
            await life.run.start()

    life.run.release()
    await guardian.close()


async def test_an_illegal_instruction_is_explained(guardian: Guardian) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    life = Life(spec(argv=(sys.executable, "-S", "-c", code)), guardian)

    with pytest.raises(StartFailed, match="killed by SIGILL") as caught:
        await life.run.start()

    assert kind(caught.value) == "illegal_instruction"
    assert caught.value.details["signal"] == signal.SIGILL


@pytest.mark.parametrize(
    ("trait", "said"),
    [("hang", "no answer in time"), ("loading", "status 503"), ("mute", "connection refused")],
)
async def test_the_deadline_holds(guardian: Guardian, trait: str, said: str) -> None:
    life = Life(spec(trait, start_timeout=0.6), guardian)

    async with asyncio.timeout(5):
        with pytest.raises(StartFailed, match=f"not ready after 0.6 s, the last probe said {said}") as caught:
            await life.run.start()

    assert kind(caught.value) == "timeout"
    assert life.states == [State.STARTING, State.STOPPED]
    assert life.run.exit == Exit(signal=signal.SIGTERM)


async def test_the_deadline_begins_when_the_grace_is_over(guardian: Guardian) -> None:
    life = Life(spec("loading", start_timeout=0.2, startup_grace=0.4), guardian)
    began = SYSTEM.monotonic()

    with pytest.raises(StartFailed, match=r"not ready after 0\.6 s"):
        await life.run.start()

    assert SYSTEM.monotonic() - began >= 0.6


async def test_a_stranger_on_the_port_is_named(guardian: Guardian) -> None:
    wanted = spec()
    with socket.create_server(("127.0.0.1", int(wanted.proxy.rpartition(":")[2]))):
        life = Life(wanted, guardian)
        with pytest.raises(StartFailed, match="already held") as caught:
            await life.run.start()

    assert kind(caught.value) == "port_in_use"
    assert life.run.pid is None
    if sys.platform == "linux":
        assert f"process {os.getpid()} (" in caught.value.message


async def test_a_port_that_is_just_being_released(guardian: Guardian) -> None:
    wanted = spec()
    server = socket.create_server(("127.0.0.1", int(wanted.proxy.rpartition(":")[2])))
    asyncio.get_running_loop().call_later(0.2, server.close)
    life = Life(wanted, guardian)

    await life.run.start()

    assert life.run.state is State.READY
    await life.run.stop(StopReason.API)


async def test_a_program_that_is_not_there(guardian: Guardian) -> None:
    life = Life(spec(argv=("no-such-engine", "-m", "x")), guardian)

    with pytest.raises(StartFailed, match='the program "no-such-engine" was not found') as caught:
        await life.run.start()

    assert kind(caught.value) == "command_not_found"
    assert await life.run.wait() == Exit()
    assert life.run.state is State.STOPPED


async def test_a_directory_that_is_not_there(guardian: Guardian) -> None:
    life = Life(spec(cwd="/no/such/place"), guardian)

    with pytest.raises(StartFailed, match='"/no/such/place" cannot be entered'):
        await life.run.start()


async def test_a_program_that_may_not_be_run(guardian: Guardian, tmp_path: Path) -> None:
    script = tmp_path / "engine"
    script.write_text("hello")
    script.chmod(0o644)
    life = Life(spec(argv=(str(script),)), guardian)

    with pytest.raises(StartFailed, match="may not be run"):
        await life.run.start()


async def test_a_path_from_the_models_own_environment(guardian: Guardian, tmp_path: Path) -> None:
    script = tmp_path / "my-engine"
    script.write_text("#!/bin/sh\necho found\nexec sleep 60\n")
    script.chmod(0o755)
    life = Life(spec(argv=("my-engine",), env=(f"PATH={tmp_path}:/usr/bin:/bin",), check_path=None), guardian)

    await life.run.start()

    assert await life.said("found") == "found"
    await life.run.stop(StopReason.API)


async def test_a_zero_byte_in_an_argument_hurts_nobody(guardian: Guardian) -> None:
    with pytest.raises(StartFailed, match="cannot be run"):
        await Life(spec(argv=("echo", "a\0b")), guardian).run.start()


async def test_a_base_that_is_no_url(guardian: Guardian) -> None:
    with pytest.raises(StartFailed, match="is not an http or https URL"):
        await Life(spec(proxy="localhost:8080"), guardian).run.start()


async def test_a_cancelled_start_ends_the_process(guardian: Guardian) -> None:
    life = Life(spec("loading", "helper"), guardian)
    starting = aio.spawn(life.run.start(), name="starting")
    pid = await life.pid_of("helper")
    await life.said("listening")

    await aio.cancel_and_wait([starting])

    assert starting.cancelled()
    assert life.states == [State.STARTING, State.STOPPED]
    assert life.run.pid is not None
    assert not alive(life.run.pid)
    assert not alive(pid)


async def test_a_run_is_started_once(guardian: Guardian) -> None:
    life = Life(spec(), guardian)
    await life.run.start()
    await life.run.stop(StopReason.API)

    with pytest.raises(RuntimeError, match="once"):
        await life.run.start()


async def test_nothing_is_left_open(guardian: Guardian) -> None:
    failing = spec(argv=("no-such-engine",))
    before: set[str] = set()
    for wanted in (spec(), spec(), failing, spec("hang", start_timeout=0.2)):
        life = Life(wanted, guardian)
        try:
            await life.run.start()
        except StartFailed:
            pass
        await life.run.stop(StopReason.API)
        life.run.release()
        before = before or descriptors()  # after the first the loop has all it keeps for itself

    assert descriptors() == before


async def test_no_start_after_the_guardian_was_closed() -> None:
    guardian = Guardian()
    await guardian.close()
    life = Life(spec(), guardian)

    with pytest.raises(ShuttingDown):
        await life.run.start()

    assert issubclass(ShuttingDown, InternalError)
    assert life.run.state is State.STOPPED
