"""The requests that are being served right now: to look at, and to cancel.

An entry costs a request two dictionary operations; what is shown of it is worked out when somebody looks.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from hostler.gateway.headers import Headers
from hostler.metrics.capture_parts import shown_headers

# A request id that a client may choose: what fits into a log line and a file name.
SANE_ID = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")

# Different for each process, so that ids of two lives of Hostler do not meet in a log.
_boot = os.urandom(4).hex().encode()
_ids = itertools.count(1)


def request_id(shown: bytes) -> bytes:
    """The id that a client gave its request, where it can be used; else a new one."""
    if shown and SANE_ID.fullmatch(shown):
        return shown
    return b"%b-%x" % (_boot, next(_ids))


class Entry(Protocol):
    """What the table needs to know of a request."""

    number: int
    request_id: bytes
    began: float
    model: str
    path: str
    method: str

    @property
    def headers(self) -> Headers:
        """Those of the request, as they came."""
        ...

    @property
    def response_headers(self) -> Headers:
        """Those of the answer, as far as there is one."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What else is known, to be shown."""
        ...

    @property
    def began_wall(self) -> datetime:
        """When it came, in UTC."""
        ...

    @property
    def sent(self) -> int:
        """Bytes of the answer that have gone to the client."""
        ...

    @property
    def remote(self) -> str:
        """The address of who asks."""
        ...

    def cancel(self) -> None:
        """End it; its client is told."""
        ...


Listener = Callable[[str, Entry], None]


class InFlight:
    """The table; only the gateway writes it. Listeners are told `upsert` and `remove`."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self._entries: dict[int, Entry] = {}
        self._next = 1
        self._empty: asyncio.Future[None] | None = None

    async def emptied(self) -> None:
        """Return when no request is being served."""
        while self._entries:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """A request has begun; it gets its number."""
        entry.number = self._next
        self._next += 1
        self._entries[entry.number] = entry
        for listener in self.listeners:
            listener("upsert", entry)

    def changed(self, entry: Entry) -> None:
        """Tell the listeners, if there are any, that an entry shows something new."""
        for listener in self.listeners:
            listener("upsert", entry)

    def remove(self, entry: Entry) -> None:
        """A request has ended, however."""
        if self._entries.pop(entry.number, None) is not None:
            for listener in self.listeners:
                listener("remove", entry)
            if not self._entries and self._empty is not None and not self._empty.done():
                self._empty.set_result(None)

    def entries(self) -> list[Entry]:
        """Every request, oldest first."""
        return list(self._entries.values())

    def cancel(self, name: str) -> bool:
        """End the request with this number or request id; False when there is none."""
        entry = self._find(name)
        if entry is None:
            return False
        entry.cancel()
        return True

    def _find(self, name: str) -> Entry | None:
        if name.isascii() and name.isdigit() and len(name) < 18 and int(name) in self._entries:
            return self._entries[int(name)]
        wanted = name.encode("utf-8", "replace")
        return next((entry for entry in self._entries.values() if entry.request_id == wanted), None)

    def requests_of(self, model: str) -> int:
        """How many requests for this target there are."""
        return sum(entry.model == model for entry in self._entries.values())

    def snapshot(self, now: float) -> list[dict[str, Any]]:
        """Every request as clients see it, oldest first; `now` is monotonic."""
        return [shown(entry, now) for entry in self._entries.values()]


def shown(entry: Entry, now: float) -> dict[str, Any]:
    """One request, in llama-swap's shape with additions; keys never show."""
    record: dict[str, Any] = {
        "id": str(entry.number),
        "request_id": entry.request_id.decode("latin-1"),
        "timestamp": entry.began_wall.isoformat(),
        "model": entry.model,
        "req_path": entry.path,
        "method": entry.method,
        "req_headers": shown_headers(entry.headers),
        "remote_ip": entry.remote,
        "resp_headers": shown_headers(entry.response_headers),
        "resp_bytes": entry.sent,
        "elapsed_ms": int((now - entry.began) * 1000),
    }
    if entry.metadata:
        record["metadata"] = dict(entry.metadata)
    return record
