"""Records on the wire: text, JSON by the line, server-sent events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from hostler.logs.journal import GAP
from hostler.logs.levels import Level
from hostler.logs.query import Format
from hostler.logs.records import LINE, Record
from hostler.logs.text import gap_line

CONTENT_TYPES: dict[Format, str] = {
    "text": "text/plain; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "sse": "text/event-stream",
}
# What keeps a silent stream alive: nothing of it is content.
HEARTBEATS: dict[Format, bytes] = {"text": b"", "ndjson": b"\n", "sse": b": still here\n\n"}
# Milliseconds after which a browser tries again; it then sends the last id.
RETRY = b"retry: 1000\n\n"

_LEVELS = {level: level.name.lower() for level in Level}
_encode = msgspec.json.Encoder().encode


@lru_cache(64)
def _iso(time: float) -> str:
    """A time as JSON has it; all lines of one read of a pipe have the same."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_dict(record: Record, epoch: str) -> dict[str, Any]:
    """A record as JSON has it; what is false or empty is left out."""
    found: dict[str, Any] = {
        "kind": record.kind,
        "model": record.model,
        "run": record.run,
        "stream": record.stream,
        "time": _iso(record.time),
        "cursor": f"{epoch}:{record.place!s}",
    }
    if record.kind == LINE:
        found["level"] = _LEVELS[record.level]
        found["text"] = record.text
        if record.partial:
            found["partial"] = True
        if record.cut:
            found["cut"] = True
        if record.redrawn:
            found["redrawn"] = True
    elif record.kind == GAP:
        found["missed"] = record.missed
    if record.info:
        found |= {key: value for key, value in record.info.items() if key not in found}
    return found


def render(record: Record, format_: Format, epoch: str, *, tag: bool) -> bytes:
    """One record; `tag` puts the model's name in front of a line of text."""
    if format_ == "ndjson":
        return _encode(as_dict(record, epoch)) + b"\n"
    if format_ == "sse":
        data = _encode(as_dict(record, epoch))
        # Lines are the ordinary messages of an EventSource; the others have names.
        name = b"" if record.kind == LINE else b"event: %s\n" % record.kind.encode()
        return b"id: %s:%s\n%sdata: %s\n\n" % (epoch.encode(), str(record.place).encode(), name, data)
    return _text(record, tag=tag)


def _text(record: Record, *, tag: bool) -> bytes:
    front = b"[%s] " % record.model.encode() if tag else b""
    if record.kind == LINE:
        return front + record.raw + b"\n"
    if record.kind == GAP:
        if record.missed is None:
            return front + b"[hostler] gap: an unknown number of bytes missed\n"
        return front + gap_line(record.missed, line_cut=False)
    return b""  # starts and exits are no output of anybody


def as_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as JSON has it, with times that people can read."""
    found = dict(run)
    for key in ("started", "ended"):
        if isinstance(found.get(key), int | float):
            found[key] = _iso(found[key])
    if "start" in found and "end" in found:
        found["bytes"] = found["end"] - found["start"]
    return found
