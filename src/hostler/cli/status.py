"""ps, unload and version: short questions with short answers."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hostler import __version__
from hostler.cli import connect, terminal
from hostler.cli.outcome import OK, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from hostler.client import ModelStatus

NOTE = 60  # characters; beside the other columns it fits a usual window
IDLE = frozenset({"stopped", "shutdown"})
HEADER = ("MODEL", "STATE", "FOR", "PID", "RUN", "UPTIME", "ACTIVE", "WAITING", "NOTE")
NUMBERS = frozenset({"FOR", "PID", "RUN", "UPTIME", "ACTIVE", "WAITING"})


def ps(arguments: Namespace) -> int:
    """List models; without --all those that have a process or requests waiting for one."""
    with connect.explained():
        every = connect.client(arguments).status()
    shown = every if arguments.all else [model for model in every if _is_busy(model)]
    if arguments.json:
        print(json.dumps(shown, indent=2))
        return OK
    sys.stdout.write(terminal.table(HEADER, [_row(model) for model in shown], right=NUMBERS))
    if not shown and every:
        known = "1 is" if len(every) == 1 else f"{len(every)} are"
        print(f"no model is running; {known} configured (hostler ps --all)", file=sys.stderr)
    return OK


def unload(arguments: Namespace) -> int:
    """Stop one model or all."""
    if bool(arguments.model) == arguments.all:
        raise UsageError("unload: name either a model or --all")
    with connect.explained():
        connect.client(arguments).unload(arguments.model)
    print(f"{arguments.model} is unloaded" if arguments.model else "every model is unloaded")
    return OK


def version(arguments: Namespace) -> int:
    """Our version, and the server's when asked for."""
    print(f"hostler {__version__} (Python {platform.python_version()}, {sys.platform} {platform.machine()})")
    if getattr(arguments, "server", False):
        server = connect.client(arguments)
        with connect.explained():
            told = server.version()
        commit = f" ({told['commit']})" if told.get("commit") else ""
        print(f"server  {told.get('version', 'unknown')}{commit} at {server.base_url}")
    return OK


def _is_busy(model: ModelStatus) -> bool:
    return model.get("state") not in IDLE or bool(model.get("waiting"))


def _row(model: ModelStatus) -> tuple[str, ...]:
    return (
        model.get("id", "?"),
        model.get("state", "?"),
        terminal.duration(model.get("since")),
        _number(model.get("pid")),
        _number(model.get("run") or None),
        terminal.duration(model.get("uptime")),
        _number(model.get("active")),
        _number(model.get("waiting")),
        _note(model),
    )


def _number(value: object) -> str:
    return "-" if value is None else str(value)


def _note(model: ModelStatus) -> str:
    """What it is doing while it starts, or how its last process ended once it has none."""
    progress = model.get("progress")
    if progress and model.get("state") == "starting":
        return f"{progress:.0%}" if isinstance(progress, float) else _words(progress)
    if model.get("state") not in IDLE:
        return ""
    last = model.get("last_error") or model.get("last_exit")
    said = _words(last).partition("\n")[0] if last else ""
    if said == "exit code 0":  # how every process ends that was asked to
        return ""
    return said if len(said) <= NOTE else f"{said[: NOTE - 1]}…"


def _words(value: Any) -> str:
    """The sentence in a value whose shape is the server's business."""
    if isinstance(value, Mapping):
        for key in ("message", "text", "reason"):
            if value.get(key):
                return str(value[key])
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    return str(value)
