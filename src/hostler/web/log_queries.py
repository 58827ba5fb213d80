"""Logs as records over HTTP: filtered, of several models, to be resumed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hostler import aio
from hostler.gateway.edge import ClientGone, cancelled_when_gone, edge_of
from hostler.logs.formats import CONTENT_TYPES, HEARTBEATS, RETRY, render
from hostler.logs.query import Query, parse
from hostler.logs.records import Record
from hostler.logs.store import LogStore

# Proxies give up on connections that are silent for a minute; half of that twice is well within.
HEARTBEAT_SECONDS = 15.0
# Records that are ready together go out together, up to this many bytes.
BATCH_BYTES = 65_536


def query_of(request: Request, now: float) -> Query:
    """What a request wants to see; ClientError says what is wrong with it."""
    params: QueryParams = request.query_params
    query = parse(params, params.getlist("model"), now)
    if "format" not in params and "text/event-stream" in request.headers.get("accept", ""):
        query = replace(query, format="sse")  # a browser's EventSource
    resumed = request.headers.get("last-event-id")
    # What the browser has seen last counts more than where the page began.
    return replace(query, cursor=resumed) if resumed else query


class RecordStream(Response):
    """A response of records: all that are there, or with `live` those to come as well."""

    def __init__(self, store: LogStore, names: Sequence[str], query: Query, *, live: bool) -> None:
        headers = {
            "content-type": CONTENT_TYPES[query.format],
            "x-content-type-options": "nosniff",
            "x-accel-buffering": "no",
            "cache-control": "no-cache",
        }
        super().__init__(None, headers=headers)
        self._store = store
        self._names = names
        self._query = query
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["content-length"]
        records = self._store.follow(*self._names, query=self._query, ends=not self._live)
        try:
            with cancelled_when_gone(edge_of(scope, receive)):
                await self._serve(scope, send, records)
        except ClientGone:
            pass
        finally:
            await records.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _serve(self, scope: Scope, send: Send, records: AsyncIterator[Record]) -> None:
        tag = len(self._names) != 1
        batch = _Batch(records, lambda record: render(record, self._query.format, self._store.epoch, tag=tag))
        try:
            if not self._live:
                # The first step finds out whether there is anything wrong, while that can still be a status.
                await batch.begun()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                if self._query.format == "sse":
                    await send({"type": "http.response.body", "body": RETRY, "more_body": True})
                await self._send_all(send, batch)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await batch.close()

    async def _send_all(self, send: Send, batch: _Batch) -> None:
        heartbeat = HEARTBEATS[self._query.format] if self._live else b""
        while (body := await batch.take(HEARTBEAT_SECONDS)) is not None:
            if body or heartbeat:
                await send({"type": "http.response.body", "body": body or heartbeat, "more_body": True})


class _Batch:
    """Takes records as they come and gives them together: a task and a message for each cost too much.

    What is gathered waits for who sends it, and at `BATCH_BYTES` the gathering waits, too.
    """

    def __init__(self, records: AsyncIterator[Record], rendered: Callable[[Record], bytes]) -> None:
        self._rendered = rendered
        self._bytes = bytearray()
        self._changed = asyncio.Event()  # there is something to take, or nothing will come
        self._taken = asyncio.Event()
        self._task = aio.spawn(self._gather(records), name="gather log records", on_error=lambda *_: None)

    async def _gather(self, records: AsyncIterator[Record]) -> None:
        try:
            async for record in records:
                self._bytes += self._rendered(record)
                if self._bytes:
                    self._changed.set()
                if len(self._bytes) >= BATCH_BYTES:
                    self._taken.clear()
                    await self._taken.wait()
        finally:
            self._changed.set()

    async def begun(self) -> None:
        """Return when there is something to send, or nothing will come; raises what has gone wrong."""
        await self._changed.wait()
        if not self._bytes and self._task.done():
            self._task.result()

    async def take(self, seconds: float) -> bytes | None:
        """What there is, empty when nothing came for so long; None at the end. Raises what has gone wrong."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        if not self._bytes:
            if not self._changed.is_set():
                return b""
            await asyncio.wait([self._task])
            self._task.result()
            return None
        body = bytes(self._bytes)
        self._bytes.clear()
        self._taken.set()
        if not self._task.done():
            self._changed.clear()
        return body

    async def close(self) -> None:
        """Gather no more."""
        await aio.cancel_and_wait([self._task])
