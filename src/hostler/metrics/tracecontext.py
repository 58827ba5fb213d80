"""W3C trace context: the header `traceparent`, read and written. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a request stands in a trace: our span `span_id`, below `parent_id` (None: we began the trace)."""

    trace_id: int
    span_id: int
    parent_id: int | None
    sampled: bool

    def header(self) -> str:
        """What those whom we ask get to see."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def trace_of(header: str) -> TraceContext:
    """A span of ours within the trace that `header` names; in one of its own when it names none.

    A header that breaks the rules counts as none, as the specification asks.
    """
    found = _parsed(header)
    if found is None:
        return TraceContext(_random(128), _random(64), None, sampled=True)
    trace_id, parent_id, flags = found
    return TraceContext(trace_id, _random(64), parent_id, sampled=bool(flags & SAMPLED))


def _parsed(header: str) -> tuple[int, int, int] | None:
    match = _HEADER.fullmatch(header.strip())
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace_id, parent_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not parent_id:
        return None
    return trace_id, parent_id, int(match[4], 16)


def _random(bits: int) -> int:
    return int.from_bytes(os.urandom(bits // 8)) or 1
