"""Logs as records over HTTP: filtered, of several models, to be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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


def query_of(request: Request, now: float) -> Query:
    """What a request wants to see; ClientError says what is wrong with it."""
    params: QueryParams = request.query_params
    query = parse(params, params.getlist("model"), now)
    accept = request.headers.get("accept", "")
    if "format" not in params and "text/event-stream" in accept:
        query = replace(query, format="sse")  # a browser's EventSource
    elif "format" not in params and "application/x-ndjson" in accept:
        query = replace(query, format="ndjson")
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
        batches = self._store.batches(*self._names, query=self._query, ends=not self._live)
        try:
            with cancelled_when_gone(edge_of(scope, receive)):
                await self._serve(scope, send, batches)
        except ClientGone:
            pass
        finally:
            await batches.aclose()

    async def _serve(self, scope: Scope, send: Send, batches: AsyncIterator[list[Record]]) -> None:
        query = self._query
        # The first step finds out whether there is anything wrong, while that can still be a status.
        first = await _next(batches) if not self._live else []
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD" and first is not None:
            if query.format == "sse":
                await send({"type": "http.response.body", "body": RETRY, "more_body": True})
            await self._send(send, first)
            await self._send_all(send, batches)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send, batches: AsyncIterator[list[Record]]) -> None:
        heartbeat = HEARTBEATS[self._query.format] if self._live else b""
        step: asyncio.Task[list[Record] | None] | None = None
        try:
            while True:
                step = step or aio.spawn(_next(batches), name="next log records")
                done, _ = await asyncio.wait([step], timeout=HEARTBEAT_SECONDS)
                if not done:
                    if heartbeat:
                        await send({"type": "http.response.body", "body": heartbeat, "more_body": True})
                    continue
                batch, step = step.result(), None
                if batch is None:
                    return
                await self._send(send, batch)
        finally:
            if step is not None:
                await aio.cancel_and_wait([step])

    async def _send(self, send: Send, batch: list[Record]) -> None:
        """Records that are ready together go out together."""
        tag = len(self._names) != 1
        format_, epoch = self._query.format, self._store.epoch
        body = b"".join([render(record, format_, epoch, tag=tag) for record in batch])
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _next(batches: AsyncIterator[list[Record]]) -> list[Record] | None:
    async for batch in batches:
        return batch
    return None
