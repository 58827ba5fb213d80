"""The stub engine as a process of a test."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from hostler.testing.ports import LOOPBACK, free_port, wait_until

MODULE: Final = "hostler.engines.stub"
STOP_TIMEOUT: Final = 5.0


def stub_argv(port: int, **options: Any) -> list[str]:
    """The command line of a stub engine on `port`.

    Options are those of `python -m hostler.engines.stub`, with underscores: `ready_after=0.5`. True is a
    switch, a list repeats the flag, False and None leave it out.
    """
    argv = [sys.executable, "-m", MODULE, "--port", str(port)]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            argv.append(flag)
        elif isinstance(value, (list, tuple)):
            for item in value:
                argv += [flag, str(item)]
        elif value is not None and value is not False:
            argv += [flag, str(value)]
    return argv


class StubEngine:
    """A stub engine that runs from `start` to `stop`, or for the length of a `with` block.

    What it prints goes to files, so it is never held up; `stdout` and `stderr` are what there is so far.
    """

    def __init__(self, port: int | None = None, **options: Any) -> None:
        self.port = free_port() if port is None else port
        self.host = str(options.get("host", LOOPBACK))
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    @property
    def argv(self) -> list[str]:
        return stub_argv(self.port, **self.options)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; RuntimeError before `start`."""
        if self._process is None:
            raise RuntimeError("the stub engine was not started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    def start(self, *, wait: bool = True, timeout: float = 10.0) -> Self:
        """Start it and wait until it listens; raises RuntimeError with its stderr if it ends before."""
        self._directory = tempfile.TemporaryDirectory(prefix="hostler-stub-")
        folder = Path(self._directory.name)
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
            )
        if wait and not self.options.get("no_listen"):
            try:
                wait_until(self._has_listened, f"{self.url} to listen", timeout)
            except BaseException as failed:
                failed.add_note(self.stderr)
                self.stop()
                raise
        return self

    def _has_listened(self) -> bool:
        """By what it says, which holds even if it has ended since; raises RuntimeError if it never did."""
        ended = not self.alive()  # asked first: what it said before it ended is there then
        if re.search(rf"^listening on .*:{self.port}$", self.stderr, re.MULTILINE):
            return True
        if ended:
            raise RuntimeError("it ended before it listened")
        return False

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Return once /health answers 200."""
        wait_until(lambda: self._health() == 200, f"{self.url}/health to answer 200", timeout)

    def wait_for_output(self, text: str, timeout: float = 10.0) -> None:
        """Return once `text` was printed on stdout or stderr."""
        wait_until(lambda: text in self.stderr or text in self.stdout, f"{text!r} in the output", timeout)

    def wait_exit(self, timeout: float = 10.0) -> int:
        """The exit code once it has ended by itself; negative for a signal, as in `subprocess`."""
        return self.process.wait(timeout)

    def stop(self) -> int | None:
        """End it, and what it left in its process group; may be called twice. Returns the exit code."""
        if self._process is None:
            return None
        if self.alive():
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        code = self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None
        return code

    def _health(self) -> int:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=1.0)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def _read(self, stream: str) -> str:
        if self._directory is None:
            return ""
        return (Path(self._directory.name) / stream).read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self if self._process is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        if self._process is None:
            state = "not started"
        elif self.alive():
            state = f"pid {self.pid}"
        else:
            state = f"ended with {self._process.returncode}"
        return f"<StubEngine {self.url} | {state}>"
