"""logs as records: selected, of several sources, over restarts of the server, and what a failure was."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from hostler.cli import connect, log_files, terminal
from hostler.cli.outcome import FAILURE, OK, UsageError
from hostler.client import ApiError, CallError, NotRunningError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping, Sequence

    from hostler.client import HostlerClient

# Seconds between two tries to reach a server that went away; it takes about as long to start.
RETRY = 0.5
WHY_LINES = 200
SHOWN_LINES = 20
COLOURS = (36, 33, 32, 35, 34, 31)  # those that can be read on light and dark ground
DIM = "\x1b[2m"
PLAIN = "\x1b[0m"

Record = dict[str, Any]


def wanted(arguments: Namespace) -> bool:
    """Whether the command line asks for records; everything else is bytes as they are."""
    options = ("head", "since", "until", "grep", "level", "run")
    switches = ("invert", "stderr", "stdout", "previous", "json", "runs", "why")
    return (
        len(arguments.sources) > 1
        or any(getattr(arguments, name) is not None for name in options)
        or any(getattr(arguments, name) for name in switches)
    )


def logs(arguments: Namespace) -> int:
    """Do what the command line asks for."""
    client = connect.client(arguments)
    if arguments.runs or arguments.why:
        if len(arguments.sources) != 1:
            raise UsageError("logs: --runs and --why are for one model")
        with connect.explained():
            tell = _why if arguments.why else _runs
            return tell(client, arguments.sources[0])
    params = parameters(arguments)
    alone = log_files.may_read(arguments) and not connect.answers(client)
    if alone and log_files.show(arguments.sources, params, as_json=arguments.json):
        return OK
    show = Json(sys.stdout) if arguments.json else Text(sys.stdout, arguments.sources)
    with connect.explained():
        for record in records(client, arguments.sources, params, follow=arguments.follow):
            show(record)
    return OK


def parameters(arguments: Namespace) -> dict[str, str]:
    """The parameters of the HTTP API for a command line; raises UsageError."""
    if arguments.stdout and arguments.stderr:
        raise UsageError("logs: --stdout and --stderr exclude each other")
    if arguments.previous and arguments.run is not None:
        raise UsageError("logs: --previous and --run exclude each other")
    if arguments.invert and arguments.grep is None:
        raise UsageError("logs: --invert needs --grep")
    found = {
        name: str(getattr(arguments, name))
        for name in ("tail", "head", "since", "until", "grep", "level", "run")
        if getattr(arguments, name) is not None
    }
    if arguments.invert:
        found["invert"] = "true"
    if arguments.stdout or arguments.stderr:
        found["stream"] = "stdout" if arguments.stdout else "stderr"
    if arguments.previous:
        found["run"] = "-1"
    if arguments.no_history:
        found["no-history"] = ""
    return found


def records(
    client: HostlerClient, sources: Sequence[str], params: Mapping[str, str], *, follow: bool
) -> Iterator[Record]:
    """The records; a stream that breaks off is taken up again behind the last one, as soon as it can be."""
    params = dict(params)
    begun = False
    while True:
        try:
            for record in _lines(client, sources, params, follow=follow):
                begun = True
                if "cursor" in record:
                    params = _behind(params, str(record["cursor"]))
                yield record
            if not follow or not begun or "head" in params or "run" in params:
                return
        except ApiError:
            raise
        except CallError as error:
            if not follow or (not begun and isinstance(error, NotRunningError)):
                raise
        print("hostler: the server is away; waiting for it", file=sys.stderr)
        _wait_for(client)


def _behind(params: Mapping[str, str], cursor: str) -> dict[str, str]:
    kept = {name: value for name, value in params.items() if name not in ("tail", "no-history", "since")}
    return kept | {"cursor": cursor}


def _lines(
    client: HostlerClient, sources: Sequence[str], params: Mapping[str, str], *, follow: bool
) -> Iterator[Record]:
    rest = b""
    with client.records(sources, params, follow=follow) as stream:
        for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line:
                    yield json.loads(line)


def _wait_for(client: HostlerClient) -> None:
    while True:
        try:
            client.version()
        except ApiError:
            return
        except CallError:
            time.sleep(RETRY)
        else:
            return


class Json:
    """Records as they are."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, record: Record) -> None:
        self._out.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._out.flush()


class Text:
    """Lines for people: with the name of their log in front where there are several."""

    def __init__(self, out: TextIO, sources: Sequence[str]) -> None:
        self._out = out
        self._tagged = len(sources) != 1
        self._fancy = out.isatty()
        self._colours: dict[str, int] = {}
        self._width = 0

    def __call__(self, record: Record) -> None:
        text = self._text(record)
        if text is None:
            return
        self._out.write(f"{self._tag(str(record.get('model', '')))}{text}\n")
        self._out.flush()

    def _text(self, record: Record) -> str | None:
        if record["kind"] == "line":
            text = str(record.get("text", ""))
            # What an engine prints may colour a terminal; it may not move about on it.
            return text if not self._fancy or "\x1b" not in text else terminal.plain(text)
        if record["kind"] == "gap":
            missed = record.get("missed")
            told = "an unknown number of" if missed is None else str(missed)
            return self._dim(f"[hostler] gap: {told} bytes missed")
        if not self._fancy:
            return None
        what = f"run {record.get('run')} {'started' if record['kind'] == 'start' else 'ended'}"
        why = record.get("exit") or record.get("reason") or ""
        return self._dim(f"[hostler] {what}: {why}" if why else f"[hostler] {what}")

    def _dim(self, text: str) -> str:
        return f"{DIM}{text}{PLAIN}" if self._fancy else text

    def _tag(self, name: str) -> str:
        if not self._tagged:
            return ""
        if not self._fancy:
            return f"[{name}] "
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        self._width = max(self._width, len(name))
        return f"\x1b[{colour}m{terminal.plain(name):<{self._width}}{PLAIN} | "


def _runs(client: HostlerClient, model: str) -> int:
    rows = [
        (
            str(run.get("run", "")),
            str(run.get("started", "-")),
            terminal.duration(run.get("seconds")),
            str(run.get("reason", "")),
            str(run.get("exit", "running")),
            str(run.get("bytes", "")),
        )
        for run in client.runs(model)
    ]
    if not rows:
        print(f"no run of {model} is known")
        return OK
    header = ("RUN", "STARTED", "LASTED", "REASON", "EXIT", "BYTES")
    sys.stdout.write(terminal.table(header, rows, right=("RUN", "LASTED", "BYTES")))
    return OK


def failed(run: Record) -> bool:
    """Whether a run ended in a way that nobody had asked for."""
    return "exit" in run and run.get("reason") in ("exited", "start failed")


def _why(client: HostlerClient, model: str) -> int:
    run = next((run for run in client.runs(model) if failed(run)), None)
    if run is None:
        print(f"no failure of {model} is known")
        return OK
    number = str(run["run"])
    found = [
        record
        for record in _lines(client, [model], {"run": number, "tail": str(WHY_LINES)}, follow=False)
        if record["kind"] == "line"
    ]
    lines = [str(record["text"]) for record in found]
    from hostler.core import Exit
    from hostler.process.causes import guess_cause

    cause = guess_cause(lines, Exit(code=run.get("code"), signal=run.get("signal")))
    print(f"{model}: run {number} failed: {run['exit']} after {terminal.duration(run.get('seconds'))}")
    if cause is not None:
        print(f"  cause:  {cause.message}")
        if cause.advice:
            print(f"  advice: {cause.advice}")
    if lines:
        print("  the last lines of its log:")
        for line in lines[-SHOWN_LINES:]:
            print(f"    {terminal.plain(line)}")
    if found:
        print(f"  cursor: {found[-1]['cursor']}")
    print(f"  whole log: hostler logs {model} --run {number}")
    return FAILURE
