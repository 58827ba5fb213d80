"""Failed starts in plain words: one error with everything a person needs to see what went wrong."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hostler.core import Exit, ModelId
from hostler.errors import StartFailed
from hostler.process.causes import (
    COMMAND_NOT_FOUND,
    FILE_NOT_FOUND,
    PERMISSION_DENIED,
    PORT_IN_USE,
    Cause,
    UserRule,
    guess_cause,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostler.process.guardian import SpawnError
    from hostler.process.port import Holder

LOG_LINES: Final = 20
"""Lines of the log that go into the error; also what the cause is guessed from, with as many more before."""
GUESS_LINES: Final = 200
"""An engine may print a long goodbye (a stack, a usage text) after the line that says why."""


def as_details(cause: Cause | None) -> dict[str, str] | None:
    """A cause in the details of an error."""
    if cause is None:
        return None
    return {"kind": cause.kind, "message": cause.message, "advice": cause.advice}


class Failures:
    """Makes the errors of one run."""

    def __init__(self, model: ModelId, run: int, rules: Sequence[UserRule] = ()) -> None:
        self.cursor = ""  # where the run begins in the log of its model
        self._model = model
        self._run = run
        self._rules = rules

    def of_end(self, lines: Sequence[str], end: Exit) -> Cause | None:
        """Why it ended by itself, by our rules and those of the configuration."""
        cause = guess_cause(lines, end, self._rules)
        if cause is None and end == Exit():
            return Cause("guardian", "the guardian process that watches the engines ended", "try again")
        return cause

    def of_deadline(self, lines: Sequence[str], said: str) -> Cause:
        """Why it was not ready in time; how it ended when we stopped it says nothing of that."""
        cause = guess_cause(lines, None, self._rules)
        if cause is not None:
            return cause
        advice = "raise healthCheckTimeout if it only needs longer"
        if said.startswith("status 404"):
            advice = "check checkEndpoint: the engine answers, but knows no such path"
        return Cause("timeout", "the health check was never answered with status 200", advice)

    def make(
        self, what: str, *, cause: Cause | None, end: Exit | None = None, lines: Sequence[str] = ()
    ) -> StartFailed:
        """`model "m" did not start: <what>: <cause> – <advice>`, and the details for programs."""
        message = f'model "{self._model}" did not start: {what}'
        if cause is not None:
            if cause.message != what:
                message += f": {cause.message}"
            if cause.advice:
                message += f" – {cause.advice}"
        details: dict[str, object] = {
            "model": self._model,
            "run": self._run,
            "cursor": self.cursor,
            "cause": as_details(cause),
            "exit": None if end is None else str(end),
            "code": None if end is None else end.code,
            "signal": None if end is None else end.signal,
            "log": list(lines[-LOG_LINES:]),
        }
        return StartFailed(message, details=details)

    def exited(self, end: Exit, seconds: float, lines: Sequence[str], cause: Cause | None) -> StartFailed:
        """It ended before it was ready; `lines` are the last `GUESS_LINES` of this run."""
        return self.make(f"{end} after {seconds:.1f} s", cause=cause, end=end, lines=lines)

    def not_ready(
        self, timeout: float, said: str, lines: Sequence[str], end: Exit | None, cause: Cause | None
    ) -> StartFailed:
        """The deadline is over; `end` is how it ended when we stopped it."""
        what = f"not ready after {timeout:g} s, the last probe said {said}"
        return self.make(what, cause=cause, end=end, lines=lines)

    def cancelled(self, end: Exit | None, lines: Sequence[str]) -> StartFailed:
        """Somebody stopped it while it was starting."""
        cause = Cause("cancelled", "start was cancelled", "")
        return self.make("start was cancelled", cause=cause, end=end, lines=lines)

    def port_held(self, port: int, holder: Holder | None) -> StartFailed:
        """Somebody else answers where the engine would listen."""
        who = f"{holder}" if holder is not None else "another process"
        advice = (
            "stop it, or use another port; if the model is meant to be a server that is already running, "
            "set checkEndpoint to none"
        )
        return self.make(
            f"port {port} is already held by {who}",
            cause=Cause(PORT_IN_USE, "the port is already in use", advice),
        )

    def bad_proxy(self, error: ValueError) -> StartFailed:
        """The engine's base URL cannot be asked."""
        cause = Cause("bad_proxy", str(error), "correct the model's `proxy`")
        return self.make(str(error), cause=cause)

    def not_spawned(self, error: SpawnError) -> StartFailed:
        """There is not even a process."""
        name, reason = error.filename, (error.strerror or "").lower()
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        if error.stage == "cwd":
            cause = Cause(
                FILE_NOT_FOUND if missing else PERMISSION_DENIED,
                f'the working directory "{name}" cannot be entered: {reason}',
                "correct the model's working directory",
            )
        elif missing and "/" in name and Path(name).exists():
            cause = Cause(
                COMMAND_NOT_FOUND,
                f'"{name}" exists, but the interpreter its first line names does not',
                "correct the first line of the script",
            )
        elif missing:
            cause = Cause(
                COMMAND_NOT_FOUND,
                f'the program "{name}" was not found',
                "give its full path, or put its folder on the PATH in the model's environment",
            )
        elif error.errno == errno.EACCES:
            cause = Cause(
                PERMISSION_DENIED,
                f'the program "{name}" may not be run: {reason}',
                "check the mode of the file",
            )
        else:
            cause = Cause("spawn", f'the program "{name}" cannot be run: {reason}', "")
        return self.make(cause.message, cause=cause)
