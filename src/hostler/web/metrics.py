"""The routes of the activity: pages, sums, exports, and the page for Prometheus."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hostler.errors import ClientError
from hostler.metrics.captures import Captures
from hostler.metrics.performance import stamp
from hostler.metrics.query import MAX_LIMIT, ActivityQuery, parse
from hostler.metrics.record import ActivityRow
from hostler.metrics.registry import CONTENT_TYPE
from hostler.web.answers import json
from hostler.web.state import state_of
from hostler.web.streaming import Streamed

# Rows of an export: more than anybody opens, and an end to what one request can cost.
MAX_EXPORT = 1_000_000
COLUMNS = (
    "id", "timestamp", "model", "req_path", "resp_status_code", "resp_content_type", "cache_tokens",
    "draft_tokens", "draft_acc_tokens", "input_tokens", "output_tokens", "prompt_per_second",
    "tokens_per_second", "duration_ms", "queue_ms", "load_ms", "first_byte_ms", "first_token_ms", "bytes_in",
    "bytes_out", "finish_reason", "error_kind", "error_msg", "key", "run", "request_id",
)  # fmt: skip


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/api/metrics/activity", activity),
        Route("/api/metrics/stats", stats),
        Route("/metrics", metrics),
    ]


def query_of(request: Request) -> ActivityQuery:
    """What a request asks for; ClientError says what is wrong with it."""
    params = request.query_params
    return parse({name: params.getlist(name) for name in params})


async def activity(request: Request) -> Response:
    """A page of finished requests, or with `format` all of them."""
    query = query_of(request)
    wanted = request.query_params.get("format", "json")
    if wanted != "json":
        return export(request, query, wanted)
    observatory = state_of(request).observatory
    page = await observatory.store.page(query)
    captures = observatory.captures
    return json(
        {
            "data": [shape(row, captures) for row in page.rows],
            "page": query.page,
            "limit": query.limit,
            "total": page.total,
            "total_pages": -(-page.total // query.limit),
        }
    )


async def stats(request: Request) -> Response:
    """Sums and histograms of all requests that the parameters are about."""
    found = await state_of(request).observatory.store.stats(query_of(request))
    return json(
        {
            "total_requests": found.totals.requests,
            "total_input_tokens": found.totals.input_tokens,
            "total_output_tokens": found.totals.output_tokens,
            "total_cache_tokens": found.totals.cache_tokens,
            "prompt_histogram": found.prompt.shape() if found.prompt is not None else None,
            "gen_histogram": found.answer.shape() if found.answer is not None else None,
        }
    )


async def metrics(request: Request) -> Response:
    """Everything that is counted, in the text form of Prometheus."""
    state = state_of(request)
    state.observatory.recorder.flush()
    await state.feed.refresh()
    return Response(state.observatory.registry.render(), headers={"content-type": CONTENT_TYPE})


def shape(row: ActivityRow, captures: Captures) -> dict[str, Any]:
    """A row in llama-swap's shape, with what is ours besides."""
    record: dict[str, Any] = {
        "id": row.id,
        "timestamp": time_of(row),
        "model": row.model,
        "req_path": row.path,
        "resp_content_type": row.content_type,
        "resp_status_code": row.status,
        "tokens": {
            "cache_tokens": row.cache_tokens,
            "draft_tokens": row.draft_tokens,
            "draft_acc_tokens": row.draft_accepted_tokens,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "prompt_per_second": row.prompt_per_second,
            "tokens_per_second": row.tokens_per_second,
        },
        "duration_ms": row.duration_ms,
        "has_capture": captures.has(row.id),
        "request_id": row.request_id,
        "key": row.key,
        "run": row.run,
        "queue_ms": row.queue_ms,
        "load_ms": row.load_ms,
        "first_byte_ms": row.first_byte_ms,
        "first_token_ms": row.first_token_ms,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "finish_reason": row.finish_reason,
        "error_kind": row.error_kind.value,
        "speed_estimated": row.speed_estimated,
    }
    if row.error:
        record["error_msg"] = row.error
    if row.metadata:
        record["metadata"] = dict(row.metadata)
    return record


def time_of(row: ActivityRow) -> str:
    """When a request ended; rows that llama-swap wrote know whole seconds."""
    if row.timestamp_ms % 1000:
        return stamp(row.timestamp_ms / 1000)
    return datetime.fromtimestamp(row.timestamp_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


# -- export --------------------------------------------------------------------------------------------------

Render = Callable[[list[ActivityRow]], bytes]


def export(request: Request, query: ActivityQuery, wanted: str) -> Response:
    """All rows of `query` in one of the other formats, newest first (`order` may turn that around)."""
    if wanted not in FORMATS:
        raise ClientError(f"invalid format: one of json, {', '.join(FORMATS)}", param="format")
    if query.sort != "id":
        raise ClientError("an export is in the order of the ids", param="sort")
    content_type, head, render = FORMATS[wanted]
    if wanted == "ndjson":
        captures = state_of(request).observatory.captures

        def render_json(rows: list[ActivityRow]) -> bytes:
            return b"".join(msgspec.json.encode(shape(row, captures)) + b"\n" for row in rows)

        render = render_json
    bound = query.limit if "limit" in request.query_params else MAX_EXPORT
    headers = {
        "content-type": content_type,
        "content-disposition": f'attachment; filename="activity.{wanted}"',
        "x-content-type-options": "nosniff",
    }
    return Streamed(_exported(request, query, bound, head, render), headers)


async def _exported(
    request: Request, query: ActivityQuery, bound: int, head: bytes, render: Render
) -> AsyncIterator[bytes]:
    store = state_of(request).observatory.store
    if head:
        yield head
    step = replace(query, page=1, limit=MAX_LIMIT)
    while bound > 0:
        rows = await store.rows(replace(step, limit=min(MAX_LIMIT, bound)))
        if not rows:
            return
        yield render(rows)
        bound -= len(rows)
        # The next piece begins behind the last row, so that new rows shift nothing.
        last = rows[-1].id
        if query.descending:
            step = replace(step, max_id=last - 1)
        else:
            step = replace(step, min_id=last + 1)


def cells(row: ActivityRow) -> list[str]:
    """The columns of an export as text."""
    return [
        str(value)
        for value in (
            row.id, time_of(row), row.model, row.path, row.status, row.content_type, row.cache_tokens,
            row.draft_tokens, row.draft_accepted_tokens, row.input_tokens, row.output_tokens,
            row.prompt_per_second, row.tokens_per_second, row.duration_ms, row.queue_ms, row.load_ms,
            row.first_byte_ms, row.first_token_ms, row.bytes_in, row.bytes_out, row.finish_reason,
            row.error_kind.value, row.error, row.key, row.run, row.request_id,
        )
    ]  # fmt: skip


def _csv(rows: list[ActivityRow]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow(_harmless(cell) for cell in cells(row))
    return out.getvalue().encode()


def _harmless(cell: str) -> str:
    """A text that a spreadsheet would take for a formula (an engine may have written it) gets a quote."""
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        try:
            float(cell)
        except ValueError:
            return "'" + cell
    return cell


def _markdown(rows: list[ActivityRow]) -> bytes:
    lines = [
        "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells(row)) + " |"
        for row in rows
    ]
    return ("\n".join(lines) + "\n").encode()


_MARKDOWN_HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n".encode()
FORMATS: dict[str, tuple[str, bytes, Render]] = {
    "csv": ("text/csv; charset=utf-8", (",".join(COLUMNS) + "\r\n").encode(), _csv),
    "ndjson": ("application/x-ndjson", b"", _csv),
    "md": ("text/markdown; charset=utf-8", _MARKDOWN_HEAD, _markdown),
}
