"""From the arguments of `logs` to the parameters of the HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.cli.outcome import UsageError

if TYPE_CHECKING:
    from argparse import Namespace


def parameters(arguments: Namespace) -> dict[str, str]:
    """The parameters for a command line; raises UsageError."""
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


def selects_lines(arguments: Namespace) -> bool:
    """Whether only some lines are wanted, so that nothing but those is to be shown."""
    return any((arguments.grep, arguments.level, arguments.stdout, arguments.stderr))
