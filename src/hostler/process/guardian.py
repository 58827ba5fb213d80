"""Hostler's side of the guardian: asks it to start and signal processes, and hears how they ended.

`guardian_main` has the frames and what happens when Hostler is gone. Here everything happens in callbacks
of the event loop; nothing blocks, and nothing waits for the guardian but the futures of who asked.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hostler import aio
from hostler.clock import SYSTEM, Clock
from hostler.core import Exit
from hostler.errors import InternalError, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOG: Final = logging.getLogger("hostler.process")
PROGRAM: Final = Path(__file__).with_name("guardian_main.py")
READ_SIZE: Final = 65536
HELLO_TIMEOUT: Final = 10.0
"""It says hello within 50 ms; ten seconds are for a machine that swaps."""
CLOSE_TIMEOUT: Final = 2.5
"""The guardian itself gives up after 1.8 s."""
MAXRSS_BYTES: Final = 1 if sys.platform == "darwin" else 1024
"""What the system counts the peak of a process's memory in."""


class SpawnError(OSError):
    """A process could not be started; `stage` is what failed: "exec", "cwd" or "fork"."""

    def __init__(self, number: int, message: str, filename: str, stage: str) -> None:
        super().__init__(number, message, filename)
        self.stage = stage


class Child:
    """A process the guardian has started for us.

    `exited` resolves when it has ended, `gone` when nobody of its process group and session is left either
    (what stays behind gets SIGTERM at once and SIGKILL half a second later). Neither ever raises; wait for
    them through `asyncio.shield` or `asyncio.wait`. `peak_memory` is known from the end on: the most bytes
    that it, or one of the processes it has waited for, had in memory.
    """

    __slots__ = ("_id", "_link", "exited", "gone", "peak_memory", "pid")

    def __init__(self, link: _Link, id_: int, pid: int) -> None:
        loop = asyncio.get_running_loop()
        self._link = link
        self._id = id_
        self.pid = pid
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.peak_memory: int | None = None

    def signal(self, signum: int, group: bool = True) -> None:
        """Send a signal to it (and its process group); nothing happens once all of them are gone."""
        if not self.gone.done():
            self._link.post({"op": "signal", "id": self._id, "signum": int(signum), "group": group})

    def ended(self, end: Exit) -> None:
        """The link reports how it ended."""
        if not self.exited.done():
            self.exited.set_result(end)

    def vanished(self) -> None:
        """The link reports that its group is empty."""
        self.ended(Exit())
        if not self.gone.done():
            self.gone.set_result(None)

    def __repr__(self) -> str:
        end = str(self.exited.result()) if self.exited.done() else "alive"
        return f"<Child {self.pid} {end}>"


class _Outgoing:
    """A frame on its way out, with descriptors for its first byte; it owns them."""

    __slots__ = ("data", "descriptors")

    def __init__(self, message: dict[str, object], descriptors: Sequence[int]) -> None:
        body = json.dumps(message).encode()
        self.data = struct.pack("!I", len(body)) + body
        self.descriptors = [os.dup(descriptor) for descriptor in descriptors]

    def send(self, to: socket.socket) -> bool:
        """Send what goes without waiting; whether that was all of it."""
        if self.descriptors:
            sent = socket.send_fds(to, [self.data], self.descriptors)
            self.release()
        else:
            sent = to.send(self.data)
        self.data = self.data[sent:]
        return not self.data

    def release(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []


class _Link:
    """One guardian process and the socket to it."""

    def __init__(self, executable: str, on_lost: Callable[[_Link], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            try:
                self.process = subprocess.Popen(
                    [executable, "-I", "-S", str(PROGRAM), str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except OSError:
                ours.close()
                raise
        self._socket = ours
        self._inbox = bytearray()
        self._outbox: deque[_Outgoing] = deque()
        self._ids = itertools.count(1)
        self._spawning: dict[int, asyncio.Future[Child]] = {}
        self._children: dict[int, Child] = {}
        self.closing = False
        self.hello: asyncio.Future[None] = self._loop.create_future()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(ours.fileno(), self._readable)

    # -- out -----------------------------------------------------------------------------------------

    def post(self, message: dict[str, object], descriptors: Sequence[int] = ()) -> None:
        """Queue a frame and send what the socket takes now."""
        if self.over.done():
            return
        self._outbox.append(_Outgoing(message, descriptors))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._outbox:
                if self._outbox[0].send(self._socket):
                    self._outbox.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.lose()
            return
        if self._outbox:
            self._loop.add_writer(self._socket.fileno(), self._flush)
        else:
            self._loop.remove_writer(self._socket.fileno())

    async def spawn(self, frame: dict[str, object], descriptors: Sequence[int]) -> Child:
        id_ = next(self._ids)
        waiter: asyncio.Future[Child] = self._loop.create_future()
        self._spawning[id_] = waiter
        self.post({"op": "spawn", "id": id_, **frame}, descriptors)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Frames are handled in order, so this finds the process even if it is yet to be started.
            self.post({"op": "signal", "id": id_, "signum": int(signal.SIGKILL), "group": True})
            raise

    # -- in ------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lose()
            return
        self._inbox += data
        while len(self._inbox) >= 4:
            (length,) = struct.unpack_from("!I", self._inbox)
            if len(self._inbox) < 4 + length:
                return
            frame = json.loads(bytes(self._inbox[4 : 4 + length]))
            del self._inbox[: 4 + length]
            self._handle(frame)

    def _handle(self, frame: dict[str, Any]) -> None:
        match frame["op"]:
            case "spawned":
                child = self._children[frame["id"]] = Child(self, frame["id"], frame["pid"])
                waiter = self._spawning.pop(frame["id"])
                if not waiter.done():
                    waiter.set_result(child)
            case "spawn_failed":
                waiter = self._spawning.pop(frame["id"])
                if not waiter.done():
                    waiter.set_exception(SpawnError(frame["errno"], frame["message"], "", frame["stage"]))
            case "exit":
                child = self._children[frame["id"]]
                child.peak_memory = frame["maxrss"] * MAXRSS_BYTES
                child.ended(Exit.from_returncode(frame["returncode"]))
            case "gone":
                self._children.pop(frame["id"]).vanished()
            case "hello":
                self.hello.set_result(None)
            case _:
                LOG.error("the guardian process reports: %s", frame.get("message"))

    # -- the end -------------------------------------------------------------------------------------

    def lose(self) -> None:
        """The guardian is gone, by our wish or not: nobody can wait for anything from it any more.

        On Linux its end killed the engines (parent-death signal); their groups and, elsewhere, the engines
        themselves are ours to kill. Only those it had not reaped are signalled, so the numbers are theirs
        unless they died within the last moment.
        """
        if self.over.done():
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self.over.set_result(None)
        for outgoing in self._outbox:
            outgoing.release()
        self._outbox.clear()
        for child in self._children.values():
            if not child.gone.done():
                kill_group(child.pid)
            child.vanished()
        self._children.clear()
        if not self.hello.done():
            self.hello.set_result(None)
        for waiter in self._spawning.values():
            if not waiter.done():
                waiter.set_exception(InternalError("the guardian process ended while it started an engine"))
        self._spawning.clear()
        self._on_lost(self)

    def hang_up(self) -> None:
        """Tell the guardian to end everybody and itself; exits are still reported."""
        self.closing = True
        if not self.over.done():
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.lose()

    async def reap(self, timeout: float) -> None:
        """Wait until the guardian process has ended; kill it when `timeout` is over."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self.over)
                await self._process_ended()
        except TimeoutError:
            LOG.error("the guardian process did not end in time and is killed")
            self.process.kill()
            self.lose()
            await self._process_ended()

    async def _process_ended(self) -> None:
        """The moment between the end of its socket and its own; not worth a child watcher."""
        while self.process.poll() is None:  # noqa: ASYNC110 - nothing would set an event
            await asyncio.sleep(0.002)


def kill_group(group: int) -> None:
    """SIGKILL to a process group, if it exists and is ours to signal."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


class Guardian:
    """Starts processes that do not outlive Hostler. One per Hostler; bound to the loop that started it."""

    def __init__(self, *, clock: Clock = SYSTEM, executable: str = sys.executable) -> None:
        self._clock = clock
        self._executable = executable
        self._link: _Link | None = None
        self._starting: asyncio.Task[_Link] | None = None
        self._reaping: set[asyncio.Task[None]] = set()
        self._closed = False
        self.losses = 0
        """How many guardian processes ended without being asked to."""

    @property
    def pid(self) -> int | None:
        """The process id of the guardian, while there is one."""
        return self._link.process.pid if self._link is not None else None

    async def start(self) -> None:
        """Start the guardian process unless it is there; `spawn` would do it too."""
        await self._linked()

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Sequence[str] = (),
        cwd: str | None = None,
        stdout: int,
        stderr: int,
    ) -> Child:
        """Start a process in a session of its own, `K=V` entries of `env` added to our environment.

        `stdout` and `stderr` stay the caller's to close. Raises `SpawnError` (an OSError), or an
        `InternalError` when the guardian ended meanwhile; the next call starts a new one.
        """
        link = await self._linked()
        frame: dict[str, object] = {"argv": list(argv), "env": list(env), "cwd": cwd}
        try:
            return await link.spawn(frame, (stdout, stderr))
        except SpawnError as error:
            error.filename = cwd if error.stage == "cwd" else argv[0]
            raise

    async def close(self) -> None:
        """End every process (SIGTERM, a second, SIGKILL) and the guardian; bounded, and idempotent."""
        self._closed = True
        if self._starting is not None:
            await aio.cancel_and_wait([self._starting])
        link = self._link
        if link is not None:
            link.hang_up()
            await link.reap(CLOSE_TIMEOUT)
        if self._reaping:
            await asyncio.wait(self._reaping)  # bounded as above

    async def _linked(self) -> _Link:
        if self._closed:
            raise ShuttingDown("Hostler is shutting down")
        if self._link is not None:
            return self._link
        if self._starting is None:
            self._starting = aio.spawn(self._launch(), name="guardian start", on_error=lambda *_: None)
        return await asyncio.shield(self._starting)

    async def _launch(self) -> _Link:
        link: _Link | None = None
        try:
            link = _Link(self._executable, self._lost)
            async with asyncio.timeout(HELLO_TIMEOUT):
                await asyncio.shield(link.hello)
            if link.over.done():
                raise InternalError("the guardian process ended before it was ready")
        except BaseException as error:
            if link is not None:
                link.closing = True
                link.lose()
                link.process.kill()
                link.process.wait()
            if isinstance(error, (OSError, TimeoutError)):
                why = str(error) or "it does not answer"
                raise InternalError(f"cannot start the guardian process: {why}") from error
            raise
        else:
            self._link = link
            return link
        finally:
            self._starting = None

    def _lost(self, link: _Link) -> None:
        if self._link is not link:
            return  # it never got as far as hello, and who started it sees to it
        self._link = None
        if not link.closing:
            self.losses += 1
            LOG.error("the guardian process ended unexpectedly; its engines are killed")
            task = aio.spawn(link.reap(CLOSE_TIMEOUT), name="guardian reap")
            self._reaping.add(task)
            task.add_done_callback(self._reaping.discard)

    def __repr__(self) -> str:
        return f"<Guardian {self.pid or 'not running'}>"
