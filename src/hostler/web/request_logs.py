"""The log of a request: what its engine printed while it served it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hostler.errors import NotFound
from hostler.logs.formats import CONTENT_TYPES, render
from hostler.logs.query import Query
from hostler.logs.records import LINE, Record
from hostler.logs.spans import Span
from hostler.logs.store import LogStore
from hostler.metrics.query import ActivityQuery
from hostler.web.log_queries import query_of
from hostler.web.logs import readable
from hostler.web.state import WebState, state_of
from hostler.web.streaming import Streamed

# Bytes that are sent together.
PIECE = 65_536

# What an engine says of a request comes through its pipe a moment after its answer came by its socket.
LAST_WORDS_SECONDS = 0.25
# The times of a row are rounded, each by half a millisecond, and engines are quick.
ROUNDED_SECONDS = 0.002


def routes() -> list[Route]:
    """Every route of this module."""
    return [Route("/api/requests/{id}/logs", of_request)]


async def of_request(request: Request) -> Response:
    """By cursor, or of an older request by time."""
    state = state_of(request)
    name = request.path_params["id"]
    query = replace(query_of(request, state.clock.wall().timestamp()), cursor=None)
    span = state.gateway.spans.find(name.encode())
    if span is None:
        span, query = await _by_time(state, name, query)
    readable(request, [span.model])
    body = _rendered(_newest(_within(state.logs, span, query), query.tail), query, state.logs.epoch)
    headers = {"content-type": CONTENT_TYPES[query.format], "x-content-type-options": "nosniff"}
    return Streamed(body, headers)


async def _by_time(state: WebState, name: str, query: Query) -> tuple[Span, Query]:
    """Where the log of a request lies of which no cursor is remembered, by its row in the activity."""
    state.observatory.recorder.flush()
    page = await state.observatory.store.page(ActivityQuery(request_id=name, limit=1))
    row = page.rows[0] if page.rows else None
    if row is None or not row.run or state.hub.find(row.model) is None:
        raise NotFound("no request of that id is remembered, or it never reached an engine")
    began = (row.timestamp_ms - row.duration_ms) / 1000 - ROUNDED_SECONDS
    ended = row.timestamp_ms / 1000 + LAST_WORDS_SECONDS
    since = began if query.since is None else max(began, query.since)
    until = ended if query.until is None else min(ended, query.until)
    return Span(row.model, row.run, ""), replace(query, run=row.run, since=since, until=until)


async def _within(store: LogStore, span: Span, query: Query) -> AsyncIterator[Record]:
    """What `query` selects of a span; without its `tail`, which is of the span and not of the log."""
    found = store.follow(span.model, after=span.after or None, query=replace(query, tail=None), ends=True)
    async with aclosing(found) as records:  # type: ignore[type-var]  # it is a generator
        async for record in records:
            if span.until is not None and record.place.seq > span.until:
                return
            yield record


async def _newest(records: AsyncIterator[Record], tail: int | None) -> AsyncIterator[Record]:
    """The last `tail` lines, and what lies between them; all of them where that is None."""
    if tail is None:
        async for record in records:
            yield record
        return
    newest: deque[Record] = deque()
    lines = 0
    async for record in records:
        newest.append(record)
        lines += record.kind == LINE
        while newest and lines > tail:
            lines -= newest.popleft().kind == LINE
    for record in newest:
        yield record


async def _rendered(records: AsyncIterator[Record], query: Query, epoch: str) -> AsyncIterator[bytes]:
    out = bytearray()
    async for record in records:
        out += render(record, query.format, epoch, tag=False)
        if len(out) >= PIECE:
            yield bytes(out)
            out.clear()
    if out:
        yield bytes(out)
