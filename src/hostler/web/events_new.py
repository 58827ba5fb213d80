"""The event stream of our own: plain JSON, ids to resume from, exact counts of what was missed.

snapshot   the state of everything, first of all and after a gap
model      a model changed its state
progress   how far a loading model is
failure    a model did not start, or ended by itself, and why
cause      a running engine printed what names a cause of trouble
inflight   a request began, changed or ended
activity   a request is in the activity
profile    another profile is active
config     another configuration was taken over
log        a record of a log that was asked for
gap        events were missed; null where nobody can say how many

The id of a stream that shows logs names its place in both: the number of the event, `~`, the cursor of the
record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from hostler.errors import ClientError
from hostler.logs.formats import as_dict
from hostler.logs.query import Query
from hostler.web.api import model_status
from hostler.web.event_sources import BATCH, LogRecords
from hostler.web.logs import find_monitor, names_of
from hostler.web.state import WebState

TYPES = frozenset((
    "snapshot", "model", "progress", "failure", "cause", "inflight", "activity", "profile", "config", "log",
    "gap",
))  # fmt: skip
# Logs of one stream; who wants more wants the combined one.
MAX_LOGS = 16


class NewStream:
    """One client of `/api/v2/events`. `types` limits what is sent, all when empty.

    `last` is the id of the last event that was seen; without it the stream begins with how things are now.
    """

    def __init__(self, state: WebState, types: frozenset[str], logs: LogRecords | None, last: str) -> None:
        self._state = state
        self._bus = state.observatory.bus
        self._types = types
        self._logs = logs
        self._first: list[bytes] = []
        number, _, self._cursor = last.partition("~")
        after, known = self._bus.resume(number) if number else (self._bus.end, True)
        self._at = after if known else self._bus.end
        if not known:
            # Another life of Hostler: how much happened in between nobody knows.
            self._first.append(self._frame("gap", {"missed": None}))
        if not number or not known:
            self._first.append(self._snapshot())

    @classmethod
    async def open(cls, state: WebState, types: frozenset[str], names: Sequence[str], last: str) -> NewStream:
        """A stream that also shows the logs called `names`; raises ClientError for what there is not."""
        unknown = types - TYPES
        if unknown:
            raise ClientError(f"invalid types: {', '.join(sorted(unknown))}", param="types")
        if len(names) > MAX_LOGS:
            raise ClientError(f"at most {MAX_LOGS} logs", param="logs")
        if not names or (types and "log" not in types):
            return cls(state, types, None, last)
        cursor = last.partition("~")[2]
        query = Query(cursor=cursor or None, history=bool(cursor))
        monitors = [find_monitor(state, name) for name in names]
        chosen: list[str] = []
        if state.hub.combined not in monitors:
            for monitor in monitors:
                chosen += names_of(state, monitor, query)
        chosen = list(dict.fromkeys(chosen))
        await state.logs.check(*chosen, query=query)
        return cls(state, types, LogRecords(state.logs, chosen, query), last)

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
        if self._logs is not None:
            for record in self._logs.take():
                self._cursor = self._state.logs.cursor_of(record)
                out.append(self._frame("log", as_dict(record, self._state.logs.epoch)))
        return b"".join(out)

    def waiters(self) -> list[tuple[Any, asyncio.Future[None]]]:
        """For the next event and the next record."""
        sources = (self._bus, self._logs) if self._logs is not None else (self._bus,)
        return [(source, source.register_waiter()) for source in sources]

    async def close(self) -> None:
        """It is over."""
        if self._logs is not None:
            await self._logs.close()

    def _frame(self, kind: str, data: object) -> bytes:
        return self._framed(kind, msgspec.json.encode(data))

    def _framed(self, kind: str, data: bytes) -> bytes:
        name = self._bus.id_of(self._at)
        if self._cursor:
            name += f"~{self._cursor}"
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
