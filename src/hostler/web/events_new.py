"""The event stream of our own: plain JSON, ids to resume from, exact counts of what was missed.

snapshot   the state of everything, first of all and after a gap
model      a model changed its state
progress   how far a loading model is
failure    a model did not start, or ended by itself, and why
inflight   a request began, changed or ended
activity   a request is in the activity
profile    another profile is active
config     another configuration was taken over
log        output of a log that was asked for; without an id, as logs have cursors of their own
gap        events were missed; null where nobody can say how many
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hostler.errors import ClientError
from hostler.web.api import model_status
from hostler.web.event_sources import BATCH, EventSources, LogText
from hostler.web.logs import find_monitor
from hostler.web.state import WebState

TYPES = frozenset(
    ("snapshot", "model", "progress", "failure", "inflight", "activity", "profile", "config", "log", "gap")
)
# Logs of one stream; who wants more wants the combined one.
MAX_LOGS = 16


class NewStream(EventSources):
    """One client of `/api/v2/events`. `types` limits what is sent, all when empty; raises ClientError."""

    def __init__(self, state: WebState, types: frozenset[str], logs: Sequence[str], last: str) -> None:
        unknown = types - TYPES
        if unknown:
            raise ClientError(f"invalid types: {', '.join(sorted(unknown))}", param="types")
        if len(logs) > MAX_LOGS:
            raise ClientError(f"at most {MAX_LOGS} logs", param="logs")
        texts = {name: LogText(find_monitor(state, name), history=False) for name in dict.fromkeys(logs)}
        super().__init__(state.observatory.bus, texts)
        self._state = state
        self._types = types
        self._first: list[bytes] = []
        if not last:
            self._first.append(self._snapshot())
            return
        number, known = self._bus.resume(last)
        if known:
            self._at = number
        else:
            # Another life of Hostler: how much happened in between nobody knows.
            self._first += [self._frame("gap", {"missed": None}), self._snapshot()]

    def take(self) -> bytes:
        """The frames since the last call."""
        out, self._first = self._first, []
        events, missed = self._bus.read(self._at, BATCH)
        if missed:
            out.append(self._frame("gap", {"missed": missed}))
            self._at += missed
            out.append(self._snapshot())
        for event in events:
            self._at = event.number
            if not self._types or event.type in self._types:
                out.append(self._framed(event.type, event.data))
        for name, log in self._logs.items():
            text = log.take()
            if text and (not self._types or "log" in self._types):
                data = msgspec.json.encode({"log": name, "text": text})
                out.append(b"event: log\ndata: " + data + b"\n\n")
        return b"".join(out)

    def _frame(self, kind: str, data: object) -> bytes:
        return self._framed(kind, msgspec.json.encode(data))

    def _framed(self, kind: str, data: bytes) -> bytes:
        name = self._bus.id_of(self._at)
        return f"id: {name}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"

    def _snapshot(self) -> bytes:
        state = self._state
        now = state.clock.monotonic()
        return self._frame(
            "snapshot",
            {
                "models": [model_status(state, row) for row in state.fleet.status()],
                "inflight": state.gateway.in_flight.snapshot(now),
                "profile": state.gateway.profiles.active,
            },
        )
