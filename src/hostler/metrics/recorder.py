"""The one thing the gateway talks to: a request begins, is filled in, and ends once.

`finish` gives the row its id, hands it to the store, the capture to the compressor, counts for Prometheus
and tells the listeners; nothing in it waits or fails for what others do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.aio import Batch
from hostler.clock import SYSTEM, Clock
from hostler.metrics.capture_parts import RawCapture, rule_of
from hostler.metrics.record import ActivityRow, RequestRecord, row_of
from hostler.metrics.tracecontext import trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hostler.metrics.activity import ActivityStore
    from hostler.metrics.bus import EventBus
    from hostler.metrics.capture_parts import Collector
    from hostler.metrics.captures import Captures
    from hostler.metrics.families import RequestFamilies
    from hostler.metrics.tracing import Tracer

# How long an ended request may wait for others before its row is made; nobody looks more often.
FLUSH_SECONDS = 0.02
# And how many of them: some hundred kilobytes, and a few milliseconds of work.
MAX_ENDED = 256
# Of them, how many in one turn of the event loop: a third of a millisecond, which no other request notices.
SHARE = 16


class Recorder:
    """Turns requests into rows, captures, counts and events. Only the event loop's thread may call it."""

    def __init__(
        self,
        *,
        store: ActivityStore,
        captures: Captures,
        bus: EventBus,
        families: RequestFamilies,
        clock: Clock = SYSTEM,
    ) -> None:
        self._store = store
        self._captures = captures
        self._bus = bus
        self._families = families
        self._clock = clock
        self.tracer: Tracer | None = None
        self._ended = Batch(self._finish_all, seconds=FLUSH_SECONDS, most=MAX_ENDED, share=SHARE)
        store.before_reading = self.flush

    def begin(
        self, *, model: str, path: str, request_id: str = "", key: str = "", traceparent: str = ""
    ) -> RequestRecord:
        """A request for `model` (its real id) arrived; `path` is what the engine is asked for, no query.

        `traceparent` is the client's header. While traces are made, `record.trace.header()` takes its place
        in what the engine gets.
        """
        record = RequestRecord(
            model=model, path=path, request_id=request_id, key=key, began=self._clock.monotonic()
        )
        if self.tracer is not None:
            record.trace = trace_of(traceparent)
        return record

    def capture_request(
        self, record: RequestRecord, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Keep what is sent to the engine, if anybody wants captures; call it after the filters."""
        if not self._captures.enabled:
            return
        if record.request_body is not None:
            self._captures.let_go(record.request_body)  # of a target that could not serve it
        record.request_headers = headers
        if rule_of(record.path).request_body:
            record.request_body = self._captures.hold(body)
            record.request_cut = record.request_body is None

    def capture_response(
        self, record: RequestRecord, headers: Iterable[tuple[bytes, bytes]]
    ) -> Collector | None:
        """Keep the answer's headers; returns where its body goes, None when nobody wants it.

        Answers that failed keep no body, as the error is in the row.
        """
        if record.request_headers is None or not self._captures.enabled:
            return None
        record.response_headers = headers
        if record.status != 200 or not rule_of(record.path).response_body:
            return None
        collector = self._captures.collector()
        record.response = collector
        return collector

    def refused(self, status: int) -> None:
        """A request failed that leaves no row; `status` is one of our own."""
        self._families.refused.add(1, str(status))

    def finish_soon(self, record: RequestRecord, complete: Callable[[], None]) -> None:
        """The request ended now; a moment later `complete` fills in the rest, and the row is made.

        Many at once cost far less than one by one between other things.
        """
        record.ended = self._clock.monotonic()
        self._ended.add((record, complete))

    def flush(self) -> None:
        """Make the rows of all requests that have ended; whoever reads rows calls this first."""
        self._ended.flush()

    def _finish_all(self, ended: list[tuple[RequestRecord, Callable[[], None]]]) -> None:
        for _, complete in ended:
            complete()
        wall = self._clock.wall().timestamp() - self._clock.monotonic()
        for record, _ in ended:
            self._finish(record, wall)

    def finish(self, record: RequestRecord) -> ActivityRow | None:
        """The request ended, however; returns its row. A second call does nothing and returns None."""
        return self._finish(record, self._clock.wall().timestamp() - self._clock.monotonic())

    def _finish(self, record: RequestRecord, wall: float) -> ActivityRow | None:
        """`wall` is the time of day at which monotonic time was 0."""
        if record.finished:
            return None
        record.finished = True
        now = record.ended if record.ended is not None else self._clock.monotonic()
        row = row_of(record, number=self._store.next_id(), now=now, wall_ms=round((wall + now) * 1000))
        self._store.add(row)
        self._keep(record, row)
        self._families.count(row)
        self._bus.publish_small("activity", row, _told)
        if self.tracer is not None:
            self.tracer.record(row, record, now)
        return row

    def _keep(self, record: RequestRecord, row: ActivityRow) -> None:
        collector = record.response
        if record.request_headers is None or record.response_headers is None:
            self._captures.let_go(record.request_body)
            record.request_body = None
            if collector is not None:
                collector.close()
            return
        self._captures.add(
            RawCapture(
                row.id,
                row.model,
                row.path,
                record.request_headers,
                record.request_body,
                record.response_headers,
                record.request_cut,
            ),
            collector,
        )
        record.request_body = None
        record.response = None


def _told(row: ActivityRow) -> dict[str, object]:
    """What the event of a finished request says; the rest is asked for by its id."""
    return {
        "id": row.id,
        "model": row.model,
        "status": row.status,
        "error_kind": row.error_kind.value,
        "request_id": row.request_id,
        "duration_ms": row.duration_ms,
    }
