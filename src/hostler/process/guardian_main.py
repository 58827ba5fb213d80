"""The guardian: the parent of every engine, and what cleans up when Hostler is gone, however it went.

It is run as a script, by path, with the number of an inherited stream socket as its only argument. It has
one thread, its own session, and nothing but the standard library, so that little can go wrong in it.

Frames on the socket, both ways: four bytes of length (big endian) and that many bytes of JSON.

    to the guardian     {"op": "spawn", "id", "argv", "env": ["K=V", …], "cwd"} with two file descriptors
                        (the engine's stdout and stderr) attached to its first byte
                        {"op": "signal", "id", "signum", "group"}
    from the guardian   {"op": "hello", "pid"}
                        {"op": "spawned", "id", "pid"}
                        {"op": "spawn_failed", "id", "errno", "message", "stage": "exec" | "cwd" | "fork"}
                        {"op": "exit", "id", "returncode", "maxrss"}   the engine itself has ended
                        {"op": "gone", "id"}                 and nobody of its group and session is left
                        {"op": "error", "message"}           a mistake of the guardian's own

Frames are handled in order. When the socket ends, or the parent process does, every engine and all its
descendants get SIGTERM, and SIGKILL a second later.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

SWEEP_GRACE = 1.0  # seconds from SIGTERM to SIGKILL when Hostler is gone; all is to be over within two
SWEEP_LIMIT = 1.8  # after this the guardian itself leaves, whatever hangs in the kernel
LEFTOVER_GRACE = 0.5  # what an engine left behind in its group gets between SIGTERM and SIGKILL
LEFTOVER_LIMIT = 1.5  # after this `gone` is said anyway
TICK = 0.05  # how often leftovers are looked for, while there are any; ends of children wake us anyway
READ_SIZE = 65536
FRAME_LIMIT = 8 << 20  # argv and environment together are below ARG_MAX, which is 2 MiB on Linux

LINUX = sys.platform.startswith("linux") and os.path.isdir("/proc/self")  # noqa: PTH112 - as below
LIBC = ctypes.CDLL(None) if LINUX else None
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESET = (*IGNORED, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)


class Process(NamedTuple):  # as /proc knows it
    pid: int
    group: int
    session: int


class Engine:
    """A process we started, from its fork until nobody of its group is left."""

    __slots__ = ("failed", "id", "kill_at", "pid", "report")

    def __init__(self, id_: int, pid: int, report: int) -> None:
        self.id = id_
        self.pid = pid
        self.report = report  # the pipe that closes when exec worked; -1 afterwards
        self.failed = False
        self.kill_at = 0.0


def prctl(option: int, argument: int) -> None:
    """Linux only, and best effort."""
    if LIBC is not None:
        LIBC.prctl(option, *map(ctypes.c_ulong, (argument, 0, 0, 0)))


def descendants() -> list[Process]:
    """All that descends from us, but zombies: a subreaper inherits what loses its parent; nobody escapes."""
    by_parent: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double what the guardian loads
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                state, *numbers = file.read().rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # it has just ended
        parent, group, session = map(int, numbers)
        if state not in b"ZX":
            by_parent.setdefault(parent, []).append(Process(int(name), group, session))
    found: list[Process] = []
    todo = [os.getpid()]
    while todo:
        children = by_parent.pop(todo.pop(), [])
        found += children
        todo += [child.pid for child in children]
    return found


def only(known: Iterable[int]) -> bool:
    """Whether we have no child but the `known`: what an engine leaves behind becomes one.

    It takes microseconds to see; to look through the table of all processes takes milliseconds.
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:  # noqa: PTH123 - as above
            return set(known).issuperset(map(int, file.read().split()))
    except OSError:
        return False  # nobody tells


def send_signal(pid: int, signum: int, *, group: bool) -> bool:
    """Whether there was somebody to get it."""
    try:
        (os.killpg if group else os.kill)(pid, signum)
    except ProcessLookupError:
        return False
    except PermissionError:
        return group  # on macOS: a group of zombies; elsewhere: another user's, nothing we can do
    return True


def members(group: int) -> list[Process]:
    """Who is left in the session of an engine that has ended; never a stranger.

    Its number is not given away while it has members, and on Linux they must be descendants of ours besides.
    """
    if LINUX:
        return [process for process in descendants() if group in (process.group, process.session)]
    return [Process(group, group, group)] if send_signal(group, 0, group=True) else []


class Guardian:
    """The loop: frames in, signals and spawns out, exits back."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        link.setblocking(False)
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.descriptors: deque[int] = deque()
        self.engines: dict[int, Engine] = {}  # by id, until `gone`
        self.by_pid: dict[int, Engine] = {}  # until reaped
        self.reports: dict[int, Engine] = {}  # by pipe, until exec worked or failed
        self.lingering: list[Engine] = []  # ended, with others left in the group
        self.sweeping = False
        self.childless = True
        self.poller = select.poll()
        self.poller.register(link, select.POLLIN)
        self.wake = self.watch_children()
        self.parent = self.watch_parent()
        self.send({"op": "hello", "pid": os.getpid()})

    def watch_children(self) -> int:
        wake, waker = os.pipe()  # becomes readable when a child ends
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        self.poller.register(wake, select.POLLIN)
        return wake

    def watch_parent(self) -> int:
        """A second sign of the parent's end, in case some process of its own keeps the socket open."""
        try:
            descriptor = os.pidfd_open(os.getppid())
        except (AttributeError, OSError):
            return -1  # not Linux, or an old one
        self.poller.register(descriptor, select.POLLIN)
        return descriptor

    def run(self) -> None:
        while True:  # until the socket or the parent ends
            for descriptor, event in self.poller.poll(TICK * 1000 if self.lingering else None):
                if descriptor == self.link.fileno():
                    if event & select.POLLOUT:
                        self.flush()
                    if event & ~select.POLLOUT and not self.receive():
                        return
                elif descriptor == self.parent:
                    return
                elif descriptor == self.wake:
                    os.read(self.wake, READ_SIZE)
                else:
                    self.settle(self.reports[descriptor])
            self.reap()
            self.tend()

    def receive(self) -> bool:
        """Handle the whole frames that are there; False at the end of the socket."""
        try:
            data, descriptors, _flags, _address = socket.recv_fds(self.link, READ_SIZE, 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self.descriptors.extend(descriptors)
        self.inbox += data
        while len(self.inbox) >= 4:
            (length,) = struct.unpack_from("!I", self.inbox)
            if len(self.inbox) < 4 + length:
                return bool(data) and bool(length <= FRAME_LIMIT)
            frame = json.loads(bytes(self.inbox[4 : 4 + length]))
            del self.inbox[: 4 + length]
            if frame["op"] == "spawn":
                self.spawn(frame)
            elif frame["op"] == "signal":
                self.signal(frame)
        return bool(data)

    def send(self, message: dict[str, object]) -> None:
        data = json.dumps(message).encode()
        self.outbox += struct.pack("!I", len(data)) + data
        self.flush()

    def flush(self) -> None:
        """Send what goes; the rest when the socket takes more. A reader that is gone needs nothing."""
        try:
            while self.outbox:
                del self.outbox[: self.link.send(self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.outbox.clear()
        self.poller.modify(self.link, select.POLLIN | (select.POLLOUT if self.outbox else 0))

    def spawn(self, frame: dict[str, Any]) -> None:
        opened = [self.descriptors.popleft(), self.descriptors.popleft()]
        guardian = os.getpid()
        try:
            opened.insert(0, os.open(os.devnull, os.O_RDONLY))
            report, reporter = os.pipe()
            opened += [reporter, report]
            pid = os.fork()
            if pid == 0:
                become(frame, opened[:3], reporter, guardian)
        except OSError as error:
            self.send_failure(frame["id"], error.errno or errno.EAGAIN, "fork")
        else:
            opened.remove(report)
            engine = Engine(frame["id"], pid, report)
            self.engines[engine.id] = self.by_pid[pid] = self.reports[report] = engine
            self.poller.register(report, select.POLLIN)
        finally:
            list(map(os.close, opened))

    def settle(self, engine: Engine) -> None:
        """The pipe of a new engine has closed (exec worked) or says why it did not."""
        said = os.read(engine.report, 100).split()
        self.poller.unregister(engine.report)
        os.close(engine.report)
        del self.reports[engine.report]
        engine.report = -1
        if said:
            engine.failed = True
            del self.engines[engine.id]
            self.send_failure(engine.id, int(said[0]), said[1].decode())
        else:
            self.send({"op": "spawned", "id": engine.id, "pid": engine.pid})

    def send_failure(self, id_: int, number: int, stage: str) -> None:
        why = {"errno": number, "message": os.strerror(number), "stage": stage}
        self.send({"op": "spawn_failed", "id": id_, **why})

    def signal(self, frame: dict[str, Any]) -> None:
        """To an engine, while it is not reaped and its number safe; afterwards to those who are left."""
        engine, signum, group = self.engines.get(frame["id"]), frame["signum"], frame["group"]
        if engine is not None and engine.pid in self.by_pid:
            if not (group and send_signal(engine.pid, signum, group=True)):
                send_signal(engine.pid, signum, group=False)
        elif engine is not None and group:
            self.signal_members(engine, signum)

    def signal_members(self, engine: Engine, signum: int) -> bool:
        left = members(engine.pid)
        for process in left:
            send_signal(process.pid, signum, group=not LINUX)
        return bool(left)

    def reap(self) -> None:
        while True:  # every child that has ended: our engines, and orphans of theirs that came to us
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            self.childless = False
            if pid == 0:
                return
            engine = self.by_pid.pop(pid, None)
            if engine is not None and engine.report >= 0:
                self.settle(engine)
            if engine is not None and not engine.failed:
                code = os.waitstatus_to_exitcode(status)
                self.send({"op": "exit", "id": engine.id, "returncode": code, "maxrss": usage.ru_maxrss})
                self.look_after(engine)

    def look_after(self, engine: Engine) -> None:
        """What an engine leaves in its group must not keep its port or its memory."""
        # Then nothing is overlooked, whatever group it is in.
        swept = LINUX and (self.sweeping or only(self.by_pid))
        if not swept and self.signal_members(engine, signal.SIGTERM):
            engine.kill_at = time.monotonic() + LEFTOVER_GRACE
            self.lingering.append(engine)
        else:
            self.forget(engine)

    def tend(self) -> None:
        """Kill leftovers whose time is over, and say so of those who are gone."""
        now = time.monotonic()
        for engine in tuple(self.lingering):
            if now >= engine.kill_at:
                left = self.signal_members(engine, signal.SIGKILL)
            else:
                left = bool(members(engine.pid))
            if not left or now >= engine.kill_at + LEFTOVER_LIMIT:
                self.lingering.remove(engine)
                self.forget(engine)

    def forget(self, engine: Engine) -> None:
        self.engines.pop(engine.id, None)
        self.send({"op": "gone", "id": engine.id})

    def sweep(self) -> None:
        """End everybody: SIGTERM, a second for those who want to end well, SIGKILL until nobody is left."""
        self.sweeping = True
        started = time.monotonic()
        self.reap()
        self.signal_all(signal.SIGTERM)
        poller = select.poll()
        poller.register(self.wake, select.POLLIN)
        while not self.childless or (not LINUX and any(members(engine.pid) for engine in self.lingering)):
            passed = time.monotonic() - started
            if passed >= SWEEP_LIMIT:
                return
            if passed >= SWEEP_GRACE:
                self.signal_all(signal.SIGKILL)
            # As a subreaper we are woken by every end; elsewhere somebody has to look.
            pause = SWEEP_GRACE - passed if LINUX and passed < SWEEP_GRACE else TICK
            if poller.poll(pause * 1000):
                os.read(self.wake, READ_SIZE)
            self.reap()

    def signal_all(self, signum: int) -> None:
        groups = {*self.by_pid, *(engine.pid for engine in self.lingering)}
        for group in groups:
            if not send_signal(group, signum, group=True) and group in self.by_pid:
                send_signal(group, signum, group=False)
        if LINUX:
            for process in descendants():
                if process.group not in groups:
                    send_signal(process.pid, signum, group=False)


def become(frame: dict[str, Any], standard: list[int], reporter: int, guardian: int) -> NoReturn:
    """The child's way from fork to exec; says over `reporter` why it failed."""
    stage = b"cwd"
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(127)  # it died before the line above; nobody is to be started any more
        for target, descriptor in enumerate(standard):
            os.dup2(descriptor, target)
        for signum in RESET:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if frame["cwd"] is not None:
            os.chdir(os.fsencode(frame["cwd"]))
        stage = b"exec"
        argv = [os.fsencode(argument) for argument in frame["argv"]]
        added = [os.fsencode(entry).partition(b"=") for entry in frame["env"]]
        environment = {**os.environb, **{key: value for key, _, value in added}}
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - no shell is what we want
    except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument
        os.write(reporter, b"%d %s" % (getattr(error, "errno", None) or errno.EINVAL, stage))
    finally:
        os._exit(127)


def main() -> None:
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    for signum in IGNORED:
        signal.signal(signum, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    guardian = Guardian(socket.socket(fileno=descriptor))
    try:
        guardian.run()
    except Exception as error:
        guardian.send({"op": "error", "message": repr(error)})
        raise
    finally:
        guardian.sweep()


if __name__ == "__main__":
    main()
