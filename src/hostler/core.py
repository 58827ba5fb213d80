"""Value types that every layer shares: model ids, process states, how a process ended, and why it moved.

Nothing here does anything; everything is immutable and safe to hand around.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

ModelId = NewType("ModelId", str)
"""The key of a model in the configuration, after aliases were resolved."""


class State(StrEnum):
    """Where a model's process is in its life; the values are the words clients see on the wire."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    SHUTDOWN = "shutdown"


class StartReason(StrEnum):
    """Why a run was started."""

    REQUEST = "request"
    API = "api"
    PRELOAD = "preload"


class StopReason(StrEnum):
    """Why a run ended or is being ended."""

    EVICTED = "evicted"
    IDLE = "idle"
    API = "api"
    RELOAD = "reload"
    SHUTDOWN = "shutdown"
    START_FAILED = "start failed"
    EXITED = "exited by itself"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: exactly one of `code` (0..255) and `signal` (its number) is set.

    Both are None when nobody could tell (the guardian that was to reap it is gone).
    """

    code: int | None = None
    signal: int | None = None

    @classmethod
    def from_returncode(cls, returncode: int | None) -> Exit:
        """From the convention of `subprocess`: a negative number is a signal."""
        if returncode is None:
            return cls()
        return cls(signal=-returncode) if returncode < 0 else cls(code=returncode)

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = str(self.signal)
            return f"killed by {name}"
        if self.code is not None:
            return f"exit code {self.code}"
        return "ended in an unknown way"
