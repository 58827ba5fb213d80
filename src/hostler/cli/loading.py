"""load: start a model and show what it is doing until it is ready, or why it never will be."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self, TextIO

from hostler.cli import connect, terminal
from hostler.cli.outcome import FAILURE, OK
from hostler.client import ApiError, CallError
from hostler.clock import SYSTEM

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from hostler.client import HostlerClient, Loaded, LogStream

TICK = 0.1  # s between two frames of the spinner
LAST_LINES = 20


def load(arguments: Namespace) -> int:
    """Load one model."""
    client = connect.client(arguments)
    with connect.explained():
        try:
            loaded = _with_progress(client, arguments.model, sys.stderr)
        except ApiError as error:
            if not error.details:  # not about the engine: a wrong name, a wrong key
                raise
            _explain(client, arguments.model, error, sys.stderr)
            return FAILURE
    print(f"{loaded.get('model', arguments.model)} is ready{_took(loaded.get('seconds'))}")
    return OK


def _took(seconds: float | None) -> str:
    return "" if seconds is None else f" ({terminal.duration(seconds)})"


def _with_progress(client: HostlerClient, model: str, screen: TextIO) -> Loaded:
    if not screen.isatty():
        print(f"loading {model} ...", file=screen)
        return client.load(model)
    started = SYSTEM.monotonic()
    line = terminal.StatusLine(screen)
    work = Work(client, model)
    with LastLine(client, model) as log:
        work.start()
        try:
            while not work.done.wait(TICK):
                elapsed = terminal.duration(SYSTEM.monotonic() - started)
                line.show(f"loading {model}  {elapsed}  {log.text}")
        finally:
            line.clear()
    return work.result()


class Work:
    """The call that loads, in a thread of its own."""

    def __init__(self, client: HostlerClient, model: str) -> None:
        self._client = client
        self._model = model
        self._loaded: Loaded | None = None
        self._error: CallError | None = None
        self.done = threading.Event()

    def start(self) -> None:
        """Begin; `done` is set when the server has answered."""
        threading.Thread(target=self._run, name="load", daemon=True).start()

    def result(self) -> Loaded:
        """What the server said, once `done`."""
        if self._error is not None:
            raise self._error
        return self._loaded or {}

    def _run(self) -> None:
        try:
            self._loaded = self._client.load(self._model)
        except CallError as error:
            self._error = error
        finally:
            self.done.set()


class LastLine:
    """The newest line of a model's log, kept up to date by a thread; empty when the log cannot be had."""

    def __init__(self, client: HostlerClient, model: str) -> None:
        self.text = ""
        self._stream: LogStream | None = None
        try:
            self._stream = client.logs(model, follow=True, history=False)
        except CallError:
            return  # the call that loads will say what is wrong
        threading.Thread(target=self._read, args=(self._stream,), name="last line", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def _read(self, stream: Iterator[bytes]) -> None:
        partial = b""
        try:
            for chunk in stream:
                *whole, partial = (partial + chunk).replace(b"\r", b"\n").split(b"\n")
                lines = [line for line in whole if line.strip()]
                if lines:
                    self.text = lines[-1].decode("utf-8", "replace")
                partial = partial[-4096:]  # a line without end is not kept for ever
        except CallError:
            return  # progress is a courtesy; the answer comes on the other connection


def _explain(client: HostlerClient, model: str, error: ApiError, screen: TextIO) -> None:
    """Everything the server knows about why the model did not start."""
    print(f"hostler: {terminal.plain(error.message)}", file=screen)
    for name in ("message", "advice"):
        text = str(error.cause.get(name) or "")
        if text and text not in error.message:
            label = "cause" if name == "message" else name
            print(f"  {label + ':':<8}{terminal.plain(text)}", file=screen)
    if error.log_lines:
        print("  the last lines of its log:", file=screen)
        for line in error.log_lines[-LAST_LINES:]:
            print(f"    {terminal.plain(line)}", file=screen)
    print(f"  whole log: hostler logs {model}, or {client.log_url(model)}", file=screen)
