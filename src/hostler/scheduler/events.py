"""What the scheduler is told and what it answers: two closed unions of frozen values.

Times are monotonic seconds and never go back from one event to the next. Every `Load` is answered exactly
once by how that life of the process ended: `LoadFailed`, or `Unloaded` (with `Loaded` before it when the
model became ready). `Left` is sent for every ticket, whatever became of it, and may be sent twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from hostler.core import ModelId, StopReason


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request wants `model`. `force` (an operator's explicit load) does not respect a back-off."""

    ticket: int
    model: ModelId
    now: float
    priority: int = 0
    force: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """A request is over, or gave up: right before its grant, after it, and when it was refused."""

    ticket: int
    now: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The process of `model` is ready."""

    model: ModelId
    now: float


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The process of `model` did not become ready, and is gone."""

    model: ModelId
    now: float
    error: object


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The process of `model` is gone; `crashed` when it ended by itself."""

    model: ModelId
    now: float
    crashed: bool
    error: object = None


@dataclass(frozen=True, slots=True)
class UnloadRequested:
    """`model` is to go now, running requests or not; with `StopReason.IDLE` only if nobody needs it."""

    model: ModelId
    now: float
    reason: StopReason


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; due when `Scheduler.next_wakeup` says so."""

    now: float


@dataclass(frozen=True, slots=True)
class Closing:
    """Shutdown: everything that waits or comes is refused, everything that runs goes."""

    now: float


Event: TypeAlias = Arrived | Left | Loaded | LoadFailed | Unloaded | UnloadRequested | Tick | Closing


class RefusalKind(StrEnum):
    """Why a ticket gets no grant."""

    QUEUE_FULL = "queue full"
    LOAD_FAILED = "load failed"
    BACKED_OFF = "backed off"
    UNLOADED = "unloaded"
    SHUTTING_DOWN = "shutting down"
    UNKNOWN_MODEL = "unknown model"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal with what is known about it: seconds until it may go better, the failure behind it."""

    kind: RefusalKind
    retry_after: float | None = None
    error: object = None


@dataclass(frozen=True, slots=True)
class Load:
    """Start the process of `model`."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class Unload:
    """Stop the process of `model`, also when it is still loading."""

    model: ModelId
    reason: StopReason


@dataclass(frozen=True, slots=True)
class Grant:
    """The request may use its model until it leaves."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request gets no grant; nothing more is heard about it."""

    ticket: int
    refusal: Refusal


Command: TypeAlias = Load | Unload | Grant | Refuse
