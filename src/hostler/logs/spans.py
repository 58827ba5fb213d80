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
        self._after = ""

    def __len__(self) -> int:
        return len(self._spans)

    def begin(self, request_id: bytes, model: str, run: int, after: str) -> Span:
        """A request begins to use a run."""
        if after != self._after:
            self._after = after
        # An engine that prints nothing leaves one cursor for all of them: it is kept once.
        span = self._spans[request_id] = Span(model, run, self._after)
        self._spans.move_to_end(request_id)
        if len(self._spans) > self._limit:
            self._spans.popitem(last=False)
        return span

    def find(self, request_id: bytes) -> Span | None:
        """The span of a request, if it is remembered."""
        return self._spans.get(request_id)
