"""logs --runs and --why: what is known of the runs of a model, by a server or by its files."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from hostler.cli import connect, log_files, terminal
from hostler.cli.outcome import FAILURE, OK, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

Run = dict[str, Any]

# Of the log of a run that failed: as many as a cause is looked for in, and as many as are shown.
WHY_LINES = 200
SHOWN_LINES = 20


def tell(arguments: Namespace) -> int:
    """Print what was asked for."""
    if len(arguments.sources) != 1:
        raise UsageError("logs: --runs and --why are for one model")
    model = arguments.sources[0]
    source = _Files(arguments) if arguments.dir is not None else _Server(arguments)
    if isinstance(source, _Server) and log_files.may_read(arguments) and not connect.answers(source.client):
        source = _Files(arguments) if log_files.hold(arguments) else source
    with connect.explained():
        return (_why if arguments.why else _runs)(source, model, as_json=arguments.json)


class _Server:
    """A Hostler that runs."""

    without_exit = "running"

    def __init__(self, arguments: Namespace) -> None:
        self.client = connect.client(arguments)

    def runs(self, model: str) -> list[Run]:
        return self.client.runs(model)

    def last(self, model: str, run: int, count: int) -> list[dict[str, Any]]:
        from hostler.cli.log_records import lines

        return list(lines(self.client, [model], {"run": str(run), "tail": str(count)}, follow=False))


class _Files:
    """The files that it left."""

    without_exit = "unknown"

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments

    def runs(self, model: str) -> list[Run]:
        return log_files.runs(self._arguments, model)

    def last(self, model: str, run: int, count: int) -> list[dict[str, Any]]:
        return log_files.last_lines(self._arguments, model, run, count)


def _runs(source: _Server | _Files, model: str, *, as_json: bool) -> int:
    runs = source.runs(model)
    if as_json:
        print(json.dumps(runs, ensure_ascii=False, indent=2))
        return OK
    rows = [
        (
            str(run.get("run", "")),
            str(run.get("started", "-")),
            terminal.duration(run.get("seconds")),
            str(run.get("reason", "")),
            str(run.get("exit", source.without_exit)),
            terminal.size(run.get("peak_memory_bytes")),
            terminal.size(run.get("bytes")),
            str((run.get("cause") or {}).get("message", "")),
        )
        for run in runs
    ]
    if not rows:
        print(f"no run of {model} is known")
        return OK
    header = ("RUN", "STARTED", "LASTED", "REASON", "EXIT", "MEMORY", "LOG", "CAUSE")
    sys.stdout.write(terminal.table(header, rows, right=("RUN", "LASTED", "MEMORY", "LOG")))
    return OK


def failed(run: Run) -> bool:
    """Whether a run ended in a way that nobody had asked for."""
    return "exit" in run and run.get("reason") in ("exited", "start failed")


def _why(source: _Server | _Files, model: str, *, as_json: bool) -> int:
    run = next((run for run in source.runs(model) if failed(run)), None)
    if run is None:
        print("null" if as_json else f"no failure of {model} is known")
        return OK
    records = source.last(model, int(run["run"]), WHY_LINES)
    found = [record for record in records if record["kind"] == "line"]
    lines = [str(record["text"]) for record in found]
    cause = run["cause"] if "cause" in run else _guessed(lines, run)
    if as_json:
        known = {"model": model, **run, "cause": cause, "log": lines[-SHOWN_LINES:]}
        print(json.dumps(known, ensure_ascii=False, indent=2))
        return FAILURE
    when = f" at {run['ended']}" if "ended" in run else ""
    print(
        f"{model}: run {run['run']} failed: {run['exit']} after {terminal.duration(run.get('seconds'))}{when}"
    )
    if cause is not None:
        print(f"  cause:  {terminal.plain(str(cause.get('message', '')))}")
        if cause.get("advice"):
            print(f"  advice: {terminal.plain(str(cause['advice']))}")
    if run.get("peak_memory_bytes"):
        print(f"  memory: {terminal.size(run['peak_memory_bytes'])} at most")
    if lines:
        print("  the last lines of its log:")
        for line in lines[-SHOWN_LINES:]:
            print(f"    {terminal.plain(line)}")
    if found:
        print(f"  cursor: {found[-1]['cursor']}")
        print(f"  whole log: hostler logs {model} --run {run['run']}")
    return FAILURE


def _guessed(lines: Sequence[str], run: Run) -> dict[str, str] | None:
    """The cause of a run of which an earlier version of Hostler kept none."""
    from hostler.core import Exit
    from hostler.process.causes import guess_cause
    from hostler.process.failure import as_details

    return as_details(guess_cause(lines, Exit(code=run.get("code"), signal=run.get("signal"))))
