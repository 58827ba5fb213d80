"""The guardian as Hostler sees it: spawns, signals, ends, and its own death."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest
import pytest_asyncio

from hostler import aio
from hostler.core import Exit
from hostler.errors import InternalError, ShuttingDown
from hostler.process.guardian import Child, Guardian, SpawnError
from hostler.testing import wait_until

pytestmark = pytest.mark.wire

PAUSE = (sys.executable, "-S", "-c", "import signal; signal.pause()")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest_asyncio.fixture
async def guardian() -> AsyncIterator[Guardian]:
    made = Guardian()
    yield made
    await made.close()
    assert aio.alive() == 0


@pytest.fixture
def null() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


async def end_of(child: Child) -> Exit:
    async with asyncio.timeout(10):
        return await asyncio.shield(child.exited)


async def test_an_exit_code(guardian: Guardian, null: int) -> None:
    child = await guardian.spawn(["/bin/sh", "-c", "exit 3"], stdout=null, stderr=null)

    assert await end_of(child) == Exit(code=3)
    async with asyncio.timeout(10):
        await asyncio.shield(child.gone)
    child.signal(signal.SIGTERM)
    assert repr(child) == f"<Child {child.pid} exit code 3>"


async def test_a_signal(guardian: Guardian, null: int) -> None:
    child = await guardian.spawn(PAUSE, stdout=null, stderr=null)
    assert repr(child) == f"<Child {child.pid} alive>"

    child.signal(signal.SIGUSR1, group=False)

    assert await end_of(child) == Exit(signal=signal.SIGUSR1)


async def test_each_child_leads_a_session_under_the_guardian(guardian: Guardian, null: int) -> None:
    child = await guardian.spawn(PAUSE, stdout=null, stderr=null)

    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
    assert psutil.Process(child.pid).ppid() == guardian.pid
    assert guardian.pid is not None
    assert os.getsid(guardian.pid) == guardian.pid


async def test_a_spawn_that_fails(guardian: Guardian, null: int) -> None:
    with pytest.raises(SpawnError) as caught:
        await guardian.spawn(["no-such-program"], stdout=null, stderr=null)

    assert (caught.value.filename, caught.value.stage) == ("no-such-program", "exec")


async def test_what_is_larger_than_a_socket(guardian: Guardian, null: int) -> None:
    """Frames that go out in pieces keep their descriptors and their order."""
    code = "import sys, os; sys.exit(len(sys.argv[1]) == 100_000 and len(os.environ['BIG']) == 100_000)"
    argv = [sys.executable, "-S", "-c", code, "x" * 100_000]

    children = await asyncio.gather(
        *(guardian.spawn(argv, env=["BIG=" + "y" * 100_000], stdout=null, stderr=null) for _ in range(8))
    )

    assert [await end_of(child) for child in children] == [Exit(code=1)] * 8


async def test_many_at_a_time(guardian: Guardian, null: int) -> None:
    children = await asyncio.gather(
        *(
            guardian.spawn(["/bin/sh", "-c", f"exit {number}"], stdout=null, stderr=null)
            for number in range(40)
        )
    )

    assert [(await end_of(child)).code for child in children] == list(range(40))


async def test_odd_characters_pass_unharmed(guardian: Guardian) -> None:
    reader, writer = os.pipe()
    child = await guardian.spawn(
        ["/bin/sh", "-c", 'printf %s "$1$X"', "sh", "grüß\udcff"],
        env=["X=\udcfe=ü"],
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    await end_of(child)

    assert os.read(reader, 100) == "grüß".encode() + b"\xff\xfe=" + "ü".encode()
    os.close(reader)


async def test_a_cancelled_spawn_leaves_nobody(guardian: Guardian, null: int) -> None:
    await guardian.start()
    spawning = aio.spawn(guardian.spawn(PAUSE, stdout=null, stderr=null), name="spawning")
    await asyncio.sleep(0)

    await aio.cancel_and_wait([spawning])

    await guardian.spawn(["/bin/true"], stdout=null, stderr=null)  # frames are handled in order
    await vanished(guardian)


async def vanished(guardian: Guardian) -> None:
    """Return once the guardian has no child left."""
    process = psutil.Process(guardian.pid)
    await asyncio.to_thread(wait_until, lambda: not process.children(), "the children to go")


@LINUX
async def test_orphans_are_taken_in_and_reaped(guardian: Guardian, null: int) -> None:
    """A daemon that an engine started comes to the guardian and does not stay behind as a zombie."""
    code = "import os, signal\nif os.fork() == 0:\n os.setsid()\n signal.pause()"
    child = await guardian.spawn([sys.executable, "-S", "-c", code], stdout=null, stderr=null)
    await end_of(child)
    process = psutil.Process(guardian.pid)
    await asyncio.to_thread(wait_until, lambda: len(process.children()) == 1, "the daemon to come")

    process.children()[0].kill()

    await vanished(guardian)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_guardian_is_not_impressed_by(signum: int, guardian: Guardian, null: int) -> None:
    await guardian.start()
    assert guardian.pid is not None
    os.kill(guardian.pid, signum)

    child = await guardian.spawn(["/bin/sh", "-c", "exit 5"], stdout=null, stderr=null)

    assert await end_of(child) == Exit(code=5)
    assert guardian.losses == 0


async def test_the_guardian_is_started_once(guardian: Guardian) -> None:
    await asyncio.gather(*(guardian.start() for _ in range(5)))
    pid = guardian.pid

    await guardian.start()

    assert guardian.pid == pid
    assert repr(guardian) == f"<Guardian {pid}>"


async def test_close_ends_everybody(null: int) -> None:
    guardian = Guardian()
    deaf = "import os, signal as s; s.signal(s.SIGTERM, s.SIG_IGN); os.write(1, b'up'); s.pause()"
    reader, writer = os.pipe()
    child = await guardian.spawn([sys.executable, "-S", "-c", deaf], stdout=writer, stderr=writer)
    os.close(writer)
    assert await asyncio.to_thread(os.read, reader, 100) == b"up"
    os.close(reader)
    other = await guardian.spawn(PAUSE, stdout=null, stderr=null)

    async with asyncio.timeout(5):
        await guardian.close()
        await guardian.close()

    assert await end_of(child) == Exit(signal=signal.SIGKILL)
    assert await end_of(other) == Exit(signal=signal.SIGTERM)
    assert guardian.pid is None
    with pytest.raises(ShuttingDown):
        await guardian.start()
    assert aio.alive() == 0


async def test_close_without_a_start() -> None:
    guardian = Guardian()
    assert repr(guardian) == "<Guardian not running>"

    await guardian.close()


async def test_a_killed_guardian_takes_its_children_along(guardian: Guardian, null: int) -> None:
    child = await guardian.spawn(PAUSE, stdout=null, stderr=null)
    process = psutil.Process(child.pid)
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGKILL)

    assert await end_of(child) == Exit()
    assert child.gone.done()
    await asyncio.to_thread(process.wait, 5)
    assert guardian.losses == 1

    again = await guardian.spawn(["/bin/sh", "-c", "exit 4"], stdout=null, stderr=null)
    assert await end_of(again) == Exit(code=4)


async def test_a_spawn_under_way_when_the_guardian_dies(guardian: Guardian, null: int) -> None:
    await guardian.start()
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGSTOP)
    spawning = aio.spawn(
        guardian.spawn(PAUSE, stdout=null, stderr=null), name="spawning", on_error=lambda *_: None
    )
    await asyncio.sleep(0)
    os.kill(guardian.pid, signal.SIGKILL)

    async with asyncio.timeout(5):
        with pytest.raises(InternalError, match="guardian"):
            await spawning


async def test_a_guardian_that_hangs_does_not_hang_us(null: int) -> None:
    guardian = Guardian()
    child = await guardian.spawn(PAUSE, stdout=null, stderr=null)
    process = psutil.Process(child.pid)
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGSTOP)

    async with asyncio.timeout(5):
        await guardian.close()

    assert await end_of(child) == Exit()
    await asyncio.to_thread(process.wait, 5)


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
async def test_a_guardian_that_cannot_be_started(program: str) -> None:
    guardian = Guardian(executable=program)

    for _ in range(2):
        with pytest.raises(InternalError, match="guardian"):
            await guardian.start()

    await guardian.close()
    assert aio.alive() == 0
