"""The processes of a run: each is started here and ended here, by its own id, however the run ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hostler.testing.ports import wait_until_listening

ROOT: Final = Path(__file__).resolve().parent.parent
STOP_SECONDS: Final = 15.0  # Hostler gives its engines ten
START_SECONDS: Final = 20.0
READABLE: Final = 0o711  # nginx, started by root, works as somebody else


class StartFailed(Exception):
    """A program did not come up; the message has the end of what it printed."""


class Processes:
    """A directory for this run and the processes that work in it; both are gone after the `with` block."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hostler-bench-"))
        self.directory.chmod(READABLE)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, name: str, argv: list[str], *, port: int | None = None, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program; with `port`, return when it listens there. What it prints goes to NAME.log."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                cwd=self.directory,
                env=environment() | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end the others in order
            )
        self._running.append(process)
        if port is not None:
            try:
                wait_until_listening(port, timeout=START_SECONDS, alive=lambda: process.poll() is None)
            except (RuntimeError, TimeoutError) as failed:
                told = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise StartFailed(f"{name} did not start: {failed}\n{told}") from None
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End one process; it is given the time to end its own children."""
        if process in self._running:
            self._running.remove(process)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def close(self) -> None:
        """End what still runs, the last one first, and remove the directory."""
        while self._running:
            self.stop(self._running[-1])
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def environment() -> dict[str, str]:
    """What programs are started with: this repository on the path, compiled bytecode allowed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = [str(ROOT / "src"), str(ROOT), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    env["PATH"] = os.pathsep.join([env.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return env


def program(name: str) -> str | None:
    """Where a program is, or None; Debian's servers are outside of an ordinary user's PATH."""
    return shutil.which(name, path=environment()["PATH"])


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind this program as Ctrl-C does, so that nothing stays behind."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, leave)
