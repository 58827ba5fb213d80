"""The one thing the gateway talks to: a request begins, is filled in, and ends once.

`finish` gives the row its id, hands it to the store, the capture to the compressor, counts for Prometheus
and tells the listeners; nothing in it waits or fails for what others do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hostler.aio import Batch
from hostler.clock import SYSTEM, Clock
from hostler.metrics.capture_parts import ALL, MAX_FRAME, RawCapture, rule_of
from hostler.metrics.record import ActivityRow, RequestRecord, row_of
from hostler.metrics.tracecontext import trace_of
from hostler.metrics.whole import Whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostler.metrics.activity import ActivityStore
    from hostler.metrics.bus import EventBus
    from hostler.metrics.capture_parts import Collector
    from hostler.metrics.captures import Captures
    from hostler.metrics.families import RequestFamilies
    from hostler.metrics.record import Pairs
    from hostler.metrics.tracing import Tracer

# How long an ended request may wait for others before its row is made; nobody looks more often.
FLUSH_SECONDS = 0.02
# And how many of them: some hundred kilobytes, and a few milliseconds of work.
MAX_ENDED = 256
# Of them, how many in one turn of the event loop: a fifth of a millisecond, which no other request notices.
SHARE = 16
# As many as one that was not written down in one step, as streams are not.
LATE_WEIGHT = 6


class Ended(Protocol):
    """A request that has ended."""

    record: RequestRecord

    def complete(self) -> None:
        """Fill in what is only worked out now; does not raise."""
        ...


class Recorder:
    """Turns requests into rows, captures, counts and events. Only the event loop's thread may call it.

    `on_bug(text)` is told of a request that could not be written down.
    """

    def __init__(
        self,
        *,
        store: ActivityStore,
        captures: Captures,
        bus: EventBus,
        families: RequestFamilies,
        on_bug: Callable[[str], None],
        clock: Clock = SYSTEM,
    ) -> None:
        self._on_bug = on_bug
        self._store = store
        self._captures = captures
        self._bus = bus
        self._families = families
        self._clock = clock
        self.tracer: Tracer | None = None
        self._ended: Batch[Ended | Whole] = Batch(
            self._finish_all, seconds=FLUSH_SECONDS, most=MAX_ENDED, share=SHARE, weigh=_weight
        )
        store.before_reading = self.flush

    def begin(
        self,
        *,
        model: str,
        path: str,
        request_id: str = "",
        key: str = "",
        traceparent: str = "",
        began: float | None = None,
    ) -> RequestRecord:
        """A request for `model` (its real id) arrived; `path` is what the engine is asked for, no query.

        `traceparent` is the client's header. While traces are made, `record.trace.header()` takes its place
        in what the engine gets. `began` is when it came, where that is not now.
        """
        now = self._clock.monotonic() if began is None else began
        record = RequestRecord(model, path, request_id, key, now)
        if self.tracer is not None:
            record.trace = trace_of(traceparent)
        return record

    def capture_request(self, record: RequestRecord, headers: Pairs | bytes, body: bytes) -> None:
        """Keep what is sent to the engine, if anybody wants captures; call it after the filters.

        `headers` are pairs, or the lines that are sent.
        """
        if not self._captures.enabled:
            return
        if record.request_body is not None:
            self._captures.let_go(record.request_body)  # of a target that could not serve it
        record.request_headers = headers
        if rule_of(record.path).request_body:
            record.request_body = self._captures.hold(body)
            record.request_cut = record.request_body is None

    def capture_response(self, record: RequestRecord, headers: Pairs | bytes) -> Collector | None:
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

    def finish_soon(self, ended: Ended) -> None:
        """The request ended now; a moment later it is completed, and its row is made.

        Many at once cost far less than one by one between other things.
        """
        ended.record.ended = self._clock.monotonic()
        self._ended.add(ended)

    def finish_whole(self, whole: Whole) -> bool:
        """As `finish_soon`, where everything is here; False if it is not, and the usual way must be gone."""
        captures = self._captures
        size = len(whole.body) + len(whole.answer)
        if size > MAX_FRAME:
            return False  # some hundred may wait for each other
        if captures.enabled:
            if rule_of(whole.path) is not ALL or not captures.hold_whole(size):
                return False
            whole.held = size
        whole.ended = self._clock.monotonic()
        self._ended.add(whole)
        return True

    def flush(self) -> None:
        """Make the rows of all requests that have ended; whoever reads rows calls this first."""
        self._ended.flush()

    def finish(self, record: RequestRecord) -> ActivityRow | None:
        """The request ended, however; returns its row. A second call does nothing and returns None."""
        now = self._clock.monotonic()
        row = self._row_of(record, self._clock.wall().timestamp() - now, now)
        if row is not None:
            self._tell([row])
        return row

    def _finish_all(self, all_ended: list[Ended | Whole]) -> None:
        now = self._clock.monotonic()
        wall = self._clock.wall().timestamp() - now  # the time of day at which monotonic time was 0
        rows: list[ActivityRow] = []
        for one in all_ended:
            try:
                row = self._whole_row(one, wall) if isinstance(one, Whole) else self._late_row(one, wall, now)
            except Exception as error:  # noqa: BLE001 - the rows of the others must not be lost with it
                self._lose(one, error)
            else:
                if row is not None:
                    rows.append(row)
        self._captures.tidy()
        self._tell(rows)

    def _whole_row(self, whole: Whole, wall: float) -> ActivityRow:
        number = self._store.next_id()
        row = whole.row(number, wall)
        held, whole.held = whole.held, 0
        if held:
            self._captures.add_whole(whole.capture(number), held)
        return row

    def _late_row(self, ended: Ended, wall: float, now: float) -> ActivityRow | None:
        ended.complete()
        return self._row_of(ended.record, wall, now)

    def _lose(self, one: Ended | Whole, error: Exception) -> None:
        """What was to be written down cannot be: a bug, which is told."""
        if isinstance(one, Whole):
            self._captures.let_go_whole(one.held)
            model, request_id = one.model, one.request_id
        else:
            record = one.record
            model, request_id = record.model, record.request_id
            self._drop_capture(record)
        kind = type(error).__name__
        self._on_bug(f"unexpected {kind} while request {request_id} for {model} was written down: {error}")

    def _row_of(self, record: RequestRecord, wall: float, now: float) -> ActivityRow | None:
        """The row of `record`, whose capture is kept; None if there is one already."""
        if record.finished:
            return None
        record.finished = True
        ended = now if record.ended is None else record.ended
        number = self._store.next_id()
        row = row_of(record, number=number, now=ended, wall_ms=round((wall + ended) * 1000))
        self._keep(record, number)
        if self.tracer is not None:
            self.tracer.record(row, record, ended)
        return row

    def _drop_capture(self, record: RequestRecord) -> None:
        self._captures.let_go(record.request_body)
        record.request_body = None
        if record.response is not None:
            record.response.close()
            record.response = None

    def _tell(self, rows: list[ActivityRow]) -> None:
        self._store.add_all(rows)
        self._families.count_all(rows)
        self._bus.publish_all_small("activity", rows, _told)

    def _keep(self, record: RequestRecord, number: int) -> None:
        """Keep the capture of what becomes row `number`, if there is one."""
        sent, came = record.request_headers, record.response_headers
        if sent is None or came is None:
            self._drop_capture(record)
        else:
            self._captures.add(
                RawCapture(
                    number,
                    record.model,
                    record.path,
                    sent if isinstance(sent, bytes) else list(sent),
                    record.request_body,
                    came if isinstance(came, bytes) else list(came),
                    record.request_cut,
                ),
                record.response,
            )
            record.request_body = record.response = None


def _weight(one: Ended | Whole) -> int:
    return 1 if type(one) is Whole else LATE_WEIGHT


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
