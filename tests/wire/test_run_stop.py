"""Ends of real processes: those who obey, those who do not, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hostler import aio
from hostler.clock import SYSTEM
from hostler.core import Exit, State, StopReason
from hostler.errors import StartFailed
from hostler.process.guardian import Guardian
from hostler.testing import wait_until

from .children import Life, alive, spec

pytestmark = pytest.mark.wire

TERMINATED = Exit(signal=signal.SIGTERM)
KILLED = Exit(signal=signal.SIGKILL)
LIFE = [State.STARTING, State.READY, State.STOPPING, State.STOPPED]


@pytest_asyncio.fixture
async def guardian() -> AsyncIterator[Guardian]:
    made = Guardian()
    yield made
    await made.close()
    assert aio.alive() == 0


async def gone(pid: int, timeout: float = 5.0) -> None:
    """Return once a process that is not ours to wait for has ended."""
    await asyncio.to_thread(wait_until, lambda: not alive(pid), f"the end of {pid}", timeout)


async def test_one_that_obeys(guardian: Guardian) -> None:
    life = Life(spec(), guardian)
    await life.run.start()
    began = SYSTEM.monotonic()

    await life.run.stop(StopReason.EVICTED)

    assert SYSTEM.monotonic() - began < 1.0
    assert life.states == LIFE
    assert life.run.exit == TERMINATED
    assert life.run.stop_reason is StopReason.EVICTED
    assert await life.run.wait() == TERMINATED


async def test_one_that_is_deaf_is_killed_after_the_grace(guardian: Guardian) -> None:
    life = Life(spec("deaf", stop_grace=0.3), guardian)
    await life.run.start()
    began = SYSTEM.monotonic()

    await life.run.stop(StopReason.IDLE)

    assert 0.3 <= SYSTEM.monotonic() - began < 2.0
    assert life.run.exit == KILLED


async def test_a_later_stop_shortens_the_grace(guardian: Guardian) -> None:
    life = Life(spec("deaf", stop_grace=50.0), guardian)
    await life.run.start()
    first = aio.spawn(life.run.stop(StopReason.IDLE), name="first")
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await life.run.stop(StopReason.SHUTDOWN, 0.1)
        await first

    assert life.run.exit == KILLED
    assert life.run.stop_reason is StopReason.IDLE
    assert life.states == LIFE


async def test_a_later_stop_never_lengthens_the_grace(guardian: Guardian) -> None:
    life = Life(spec("deaf"), guardian)
    await life.run.start()
    first = aio.spawn(life.run.stop(StopReason.IDLE, 0.1), name="first")
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await life.run.stop(StopReason.API, 60.0)
        await first


async def test_a_stop_that_nobody_waits_for_goes_on(guardian: Guardian) -> None:
    life = Life(spec("deaf", stop_grace=0.1), guardian)
    await life.run.start()
    stopping = aio.spawn(life.run.stop(StopReason.API), name="stopping")
    await asyncio.sleep(0)

    await aio.cancel_and_wait([stopping])

    async with asyncio.timeout(10):
        assert await life.run.wait() == KILLED
        await life.run.stop(StopReason.API)
    assert life.run.state is State.STOPPED


@pytest.mark.parametrize("helper", ["helper", "deaf-helper"])
async def test_what_is_left_in_the_group_goes_too(guardian: Guardian, helper: str) -> None:
    """When the engine dies by itself, its helper would keep the GPU and the port."""
    life = Life(spec(helper), guardian)
    await life.run.start()
    pid = await life.pid_of("helper")
    assert life.run.pid is not None

    os.kill(life.run.pid, signal.SIGKILL)
    assert await life.run.wait() == KILLED

    assert life.run.state is State.STOPPED
    assert life.run.stop_reason is StopReason.EXITED
    await gone(pid)


async def test_a_stop_ends_when_the_helpers_have(guardian: Guardian) -> None:
    life = Life(spec("deaf-helper"), guardian)
    await life.run.start()
    pid = await life.pid_of("helper")

    async with asyncio.timeout(3):
        await life.run.stop(StopReason.API)

    assert not alive(pid)
    assert life.run.exit == TERMINATED


async def test_one_that_left_the_session_delays_nothing_and_dies_with_us() -> None:
    """It holds the pipes; a stop leaves it alone, as it may be meant to stay. It does not outlive Hostler."""
    guardian = Guardian()
    life = Life(spec("escaped"), guardian)
    await life.run.start()
    pid = await life.pid_of("escaped")
    began = SYSTEM.monotonic()

    await life.run.stop(StopReason.API)

    assert SYSTEM.monotonic() - began < 1.0
    assert alive(pid)
    life.run.release()
    if sys.platform == "linux":
        await guardian.close()
        assert not alive(pid)
    else:
        os.kill(pid, signal.SIGKILL)
        await guardian.close()


async def test_a_stop_during_the_start_of_a_deaf_one(guardian: Guardian) -> None:
    life = Life(spec("deaf", "loading"), guardian)
    starting = aio.spawn(life.run.start(), name="starting", on_error=lambda *_: None)
    await life.said("listening")

    await life.run.stop(StopReason.API, 0.1)

    with pytest.raises(StartFailed, match="cancelled") as caught:
        await starting
    assert isinstance(caught.value.details["cause"], dict)
    assert caught.value.details["cause"]["kind"] == "cancelled"
    assert life.states == [State.STARTING, State.STOPPED]
    assert life.run.exit == KILLED


async def test_a_stop_before_the_process_exists(guardian: Guardian) -> None:
    await guardian.start()
    life = Life(spec(), guardian)
    starting = aio.spawn(life.run.start(), name="starting", on_error=lambda *_: None)
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await life.run.stop(StopReason.API)

    with pytest.raises(StartFailed, match="cancelled"):
        await starting
    assert life.states == [State.STARTING, State.STOPPED]


async def test_a_stop_command_that_cannot_be_started(guardian: Guardian) -> None:
    life = Life(spec(stop_argv=("/nowhere/stop",)), guardian)
    await life.run.start()

    async with asyncio.timeout(4):
        await life.run.stop(StopReason.API)

    assert life.run.exit == TERMINATED


async def test_a_stop_command_has_the_engines_surroundings(guardian: Guardian) -> None:
    command = ("/bin/sh", "-c", "echo stopping ${PID} $COLOUR; kill ${PID}")
    life = Life(spec(stop_argv=command, env=("COLOUR=red", "COLOUR=blue")), guardian)
    await life.run.start()

    await life.run.stop(StopReason.API)

    assert await life.said("stopping") == f"stopping {life.run.pid} blue"


async def test_a_hanging_stop_command_takes_no_more_than_the_grace(guardian: Guardian) -> None:
    life = Life(
        spec("deaf", stop_argv=("/bin/sh", "-c", "echo $$ waits; exec cat /dev/zero >/dev/null")), guardian
    )
    await life.run.start()
    began = SYSTEM.monotonic()

    await life.run.stop(StopReason.API, 0.8)

    assert 0.8 <= SYSTEM.monotonic() - began < 2.5
    assert life.run.exit == KILLED
    await gone(int((await life.said("waits")).split()[0]))


async def test_stopping_what_never_ran(guardian: Guardian) -> None:
    life = Life(spec(), guardian)

    await life.run.stop(StopReason.API)

    assert life.states == []
    assert repr(life.run) == "<Run m #1 stopped | pid ->"


async def test_a_grace_that_was_changed_meanwhile(guardian: Guardian) -> None:
    life = Life(spec("deaf", stop_grace=600.0), guardian)
    await life.run.start()

    life.run.end_like((), 0.2)
    async with asyncio.timeout(10):
        await life.run.stop(StopReason.IDLE)

    assert life.run.exit == KILLED


async def test_a_stop_command_that_was_changed_meanwhile(guardian: Guardian) -> None:
    life = Life(spec("deaf", stop_argv=("sh", "-c", "exit 1"), stop_grace=600.0), guardian)
    await life.run.start()

    life.run.end_like(("sh", "-c", "echo by the new command; kill -9 $0", "${PID}"), 600.0)
    async with asyncio.timeout(10):
        await life.run.stop(StopReason.IDLE)

    assert await life.said("by the new command")


async def test_gone_is_when_the_group_is_empty(guardian: Guardian) -> None:
    """A crash leaves a helper behind; the next run has to wait for its end."""
    life = Life(spec("helper"), guardian)
    await life.run.start()
    helper = await life.pid_of("helper")
    os.kill(await life.pid_of("engine"), signal.SIGKILL)
    await life.run.wait()

    await life.run.gone()

    assert not alive(helper)
