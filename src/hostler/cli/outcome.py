"""How a command ends: its exit codes, and the error that becomes one clear line."""

from __future__ import annotations

OK = 0
FAILURE = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class CommandError(Exception):
    """A command cannot go on; the text is for the person at the terminal."""

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CommandError):
    """The command line itself makes no sense."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)
