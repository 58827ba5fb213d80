"""Nobody is orphaned, however Hostler dies: not deaf engines, not their helpers, not their daemons."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.clock import SYSTEM
from hostler.testing import wait_until

from .children import alive

pytestmark = [
    pytest.mark.wire,
    pytest.mark.skipif(sys.platform != "linux", reason="daemons are found through /proc"),
]

LIMIT = 2.0

# Something like Hostler: a guardian, and engines in every state; then it does what its first argument says.
PARENT = r"""
import asyncio, ctypes, json, os, signal, sys, threading
from hostler import aio
from hostler.process.guardian import Guardian
from wire.children import Life, spec

async def main():
    manner = sys.argv[1]
    guardian = Guardian()
    ready = [Life(spec(*traits), guardian) for traits in ([], ["deaf"], ["escaped", "orphan", "deaf-helper"])]
    starting = [Life(spec(*traits), guardian) for traits in (["loading"], ["loading", "deaf", "helper"])]
    stopping = Life(spec("deaf", stop_grace=60.0), guardian)
    for life in (*ready, stopping):
        await life.run.start()
    aio.spawn(stopping.run.stop("api"), name="stopping")
    for life in starting:
        aio.spawn(life.run.start(), name="starting", on_error=lambda *_: None)
        await life.said("listening")
    pids = {"engine %d" % n: life.run.pid for n, life in enumerate((*ready, *starting, stopping))}
    for name in ("escaped", "orphan", "helper"):
        pids[name] = await ready[2].pid_of(name)
    pids["second helper"] = await starting[1].pid_of("helper")
    pids["guardian"] = guardian.pid
    print(json.dumps(pids), flush=True)
    if manner == "exits at once":
        os._exit(130)  # what the second Ctrl-C does
    if manner == "raises":
        raise SystemExit("no clean-up at all")
    if manner == "crashes":
        ctypes.string_at(0)
    await asyncio.Event().wait()

if len(sys.argv) > 2:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


class Parent:
    """That process, from outside; `pids` is everybody who must go with it."""

    def __init__(self, manner: str, *options: str) -> None:
        tests = Path(__file__).parent.parent
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler=0", "-c", PARENT, manner, *options],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(tests)},
            start_new_session=True,
        )
        self.pids: dict[str, int] = {}

    def ready(self) -> None:
        """Return once all of its engines are there."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 30)[0]
        self.pids = json.loads(self.process.stdout.readline())

    def left(self) -> list[str]:
        return [name for name, pid in self.pids.items() if alive(pid)]

    def all_gone_in_time(self) -> float:
        """Wait for the parent's end; how long the others then took."""
        self.process.wait(20)
        began = SYSTEM.monotonic()
        try:
            wait_until(lambda: not self.left(), "everybody to go", LIMIT)
        except TimeoutError:
            raise AssertionError(f"still there: {self.left()}") from None
        return SYSTEM.monotonic() - began


@pytest.fixture
def parents() -> Iterator[list[Parent]]:
    made: list[Parent] = []
    yield made
    for parent in made:
        for pid in parent.pids.values():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        parent.process.kill()
        parent.process.wait()
        assert parent.process.stdout is not None
        parent.process.stdout.close()


@pytest.mark.parametrize("round_", range(10))
def test_after_kill_nobody_is_left(round_: int, parents: list[Parent]) -> None:
    parent = Parent("is killed", *(["uvloop"] if round_ % 2 else []))
    parents.append(parent)
    parent.ready()
    assert len(parent.left()) == 11

    parent.process.kill()

    print(f"everybody was gone after {parent.all_gone_in_time():.2f} s")


@pytest.mark.parametrize("manner", ["exits at once", "raises", "crashes"])
def test_no_other_end_is_worse(manner: str, parents: list[Parent]) -> None:
    parent = Parent(manner)
    parents.append(parent)
    parent.ready()

    parent.all_gone_in_time()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_the_whole_group(signum: int, parents: list[Parent]) -> None:
    """What a terminal does on Ctrl-C or when it is closed: the guardian must not be hit too."""
    parent = Parent("waits")
    parents.append(parent)
    parent.ready()

    os.killpg(parent.process.pid, signum)

    parent.all_gone_in_time()


def test_a_copy_of_the_socket_does_not_keep_them_alive(parents: list[Parent]) -> None:
    """Were the socket to leak into a process that lives on, the guardian would still see its parent's end.

    The parent is stopped first, so the end of the socket and the end of the process come at once.
    """
    parent = Parent("waits")
    parents.append(parent)
    parent.ready()
    holder = leak_from(parent.process.pid)
    try:
        parent.process.kill()
        parent.all_gone_in_time()
    finally:
        for descriptor in holder:
            os.close(descriptor)


def leak_from(pid: int) -> list[int]:
    """Copies of all sockets of another process, in this one."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    target = os.pidfd_open(pid)
    copies = [target]
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind = str(entry.readlink())
        except FileNotFoundError:
            continue  # it was closed while we looked
        if kind.startswith("socket:"):
            copy = libc.syscall(438, target, int(entry.name), 0)  # pidfd_getfd
            if copy < 0:
                pytest.skip("may not look into other processes here")
            copies.append(copy)
    return copies


def test_when_the_guardian_goes_too_the_engines_still_die(parents: list[Parent]) -> None:
    """Both killed in one moment: the engines have their parent-death signal. (Their daemons have not.)"""
    parent = Parent("waits")
    parents.append(parent)
    parent.ready()

    for pid in (parent.pids["guardian"], parent.process.pid):
        os.kill(pid, signal.SIGKILL)

    parent.process.wait(20)
    wait_until(lambda: not any("engine" in name for name in parent.left()), "the engines to go", LIMIT)
