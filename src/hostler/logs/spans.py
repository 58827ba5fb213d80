"""Which part of a model's log belongs to the time of a request. Pure."""

from __future__ import annotations

from collections import deque

import msgspec

# Requests that are remembered: twice the rows that the activity keeps by default, at 250 bytes each.
MAX_SPANS = 2_000


class Span(msgspec.Struct, gc=False):
    """What an engine printed while a request used it: from a cursor on, up to entry `until` (None: still)."""

    model: str
    run: int
    after: str
    until: int | None = None
    request_id: bytes = b""


class RequestSpans:
    """The spans of the newest requests, by request id; one that comes again takes the place of the first."""

    def __init__(self, limit: int = MAX_SPANS) -> None:
        self._spans: dict[bytes, Span] = {}
        self._order: deque[Span] = deque()  # oldest first, those whose place was taken among them
        self._limit = limit

    def __len__(self) -> int:
        return len(self._spans)

    def begin(self, request_id: bytes, model: str, run: int, after: str) -> Span:
        """A request begins to use a run."""
        spans, order = self._spans, self._order
        span = spans[request_id] = Span(model, run, after, None, request_id)
        order.append(span)
        if len(order) > self._limit:
            gone = order.popleft()
            if spans.get(gone.request_id) is gone:
                del spans[gone.request_id]
        return span

    def find(self, request_id: bytes) -> Span | None:
        """The span of a request, if it is remembered."""
        return self._spans.get(request_id)
