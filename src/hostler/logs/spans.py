"""Which part of a model's log belongs to the time of a request. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

# Requests that are remembered: twice the rows that the activity keeps by default, at 250 bytes each.
MAX_SPANS = 2_000


@dataclass(slots=True)
class Span:
    """What an engine printed while a request used it: from a cursor on, up to entry `until` (None: still)."""

    model: str
    run: int
    after: str
    until: int | None = None


class RequestSpans:
    """The spans of the newest requests, by request id; one that comes again takes the place of the first."""

    def __init__(self, limit: int = MAX_SPANS) -> None:
        self._spans: OrderedDict[bytes, Span] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._spans)

    def begin(self, request_id: bytes, model: str, run: int, after: str) -> Span:
        """A request begins to use a run."""
        spans = self._spans
        if request_id in spans:
            del spans[request_id]  # its place is behind all others now
        elif len(spans) >= self._limit:
            spans.popitem(last=False)
        span = spans[request_id] = Span(model, run, after)
        return span

    def find(self, request_id: bytes) -> Span | None:
        """The span of a request, if it is remembered."""
        return self._spans.get(request_id)
