"""What is written down of a request while it passes: its record, its tokens, its capture.

The gateway calls this at the few moments that count; nothing here waits, or fails for those who look later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.errors import RequestCancelled
from hostler.metrics.accounts import with_speed
from hostler.metrics.record import ErrorKind, kind_of
from hostler.metrics.usage import DOCUMENT_TAIL, UsageTap, is_document, own_speed, whole_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostler.clock import Clock
    from hostler.config.schema import ApiKey
    from hostler.errors import HostlerError
    from hostler.fleet.lease import Lease
    from hostler.gateway.headers import Headers
    from hostler.metrics.capture_parts import Collector
    from hostler.metrics.record import RequestRecord
    from hostler.metrics.recorder import Recorder

TRACEPARENT = b"traceparent"


def observe(
    recorder: Recorder,
    clock: Clock,
    *,
    model: str,
    path: str,
    request_id: bytes,
    key: ApiKey | None,
    given: Mapping[bytes, bytes],
    began: float | None = None,
) -> Observed:
    """Begin to write a request down, which came now or at `began`; `given` are the first values it has."""
    record = recorder.begin(
        model=model,
        path=path,
        request_id=request_id.decode("latin-1"),
        key=key.name if key is not None else "",
        traceparent=given.get(TRACEPARENT, b"").decode("latin-1"),
        began=began,
    )
    return Observed(recorder, record, clock)


class Observed:
    """One request that leaves a row of activity; `finish` is called once, however it ends."""

    __slots__ = ("_capture", "_clock", "_first", "_recorder", "_tap", "_whole", "record")

    def __init__(self, recorder: Recorder, record: RequestRecord, clock: Clock) -> None:
        self.record = record
        self._recorder = recorder
        self._clock = clock
        self._tap: UsageTap | None = None
        self._whole = False  # the answer is a document, of which there is at most one piece so far
        self._first = b""
        self._capture: Collector | None = None

    def granted(self, lease: Lease | None, at: float | None = None) -> None:
        """An engine is there for the request, since now or `at`; None for a peer, which is always there."""
        record = self.record
        record.granted = self._clock.monotonic() if at is None else at
        if lease is not None:
            record.run = lease.run
            record.load_seconds = lease.loading
            if lease.priority:
                record.metadata = {**record.metadata, "fifo_priority": str(lease.priority)}

    def sending(self, headers: Headers, body: bytes) -> Headers:
        """What is sent to the engine; returns the headers that really go."""
        record = self.record
        record.bytes_in = len(body)
        if record.trace is not None:
            headers = [pair for pair in headers if pair[0] != TRACEPARENT]
            headers.append((TRACEPARENT, record.trace.header().encode()))
        self._recorder.capture_request(record, headers, body)
        return headers

    def sending_lines(self, lines: bytes, body: bytes) -> bytes:
        """As `sending`, for the headers as they are sent: names in lower case, an empty line at the end."""
        record = self.record
        record.bytes_in = len(body)
        if record.trace is not None:
            kept = [
                line for line in lines.splitlines(keepends=True) if line.partition(b":")[0] != TRACEPARENT
            ]
            lines = b"traceparent: %b\r\n%b" % (record.trace.header().encode(), b"".join(kept))
        self._recorder.capture_request(record, lines, body)
        return lines

    def answering(
        self,
        status: int,
        headers: Headers | bytes,
        given: Mapping[bytes, bytes],
        at: float | None = None,
    ) -> None:
        """The engine has begun to answer, now or `at`; `given` are the first values of its headers."""
        record = self.record
        record.first_byte = self._clock.monotonic() if at is None else at
        record.status = status
        kind = record.content_type = given.get(b"content-type", b"").decode("latin-1")
        if b"content-encoding" in given or not is_document(kind):
            encoding = given.get(b"content-encoding", b"").decode("latin-1")
            self._tap = UsageTap(record.path, kind, encoding, status)
        else:
            self._whole = True
        self._capture = self._recorder.capture_response(record, headers)

    def passed(self, data: bytes) -> bool:
        """Some of the answer's body; whether its first token has still to be found."""
        tap = self._tap
        if tap is not None:
            if tap.feed(data):
                self.record.first_token = self._clock.monotonic()
        elif self._whole:
            self._keep_whole(data)
        if self._capture is not None:
            self._capture.feed(data)
        return tap is not None and tap.looks

    def _keep_whole(self, data: bytes) -> None:
        """Most documents come in one piece, of which nothing more has to be made meanwhile."""
        first = self._first
        if not first and len(data) <= DOCUMENT_TAIL:
            self._first = data
            return
        record = self.record
        tap = self._tap = UsageTap(record.path, record.content_type, "", record.status)
        tap.feed(first)
        tap.feed(data)
        self._first = b""

    def broke(self, error: HostlerError) -> None:
        """The answer did not come to its end; its status went out before that."""
        self.record.error = error.message
        self.record.error_kind = kind_of(error)

    def failed(self, error: HostlerError) -> None:
        """The request ends with an error of ours."""
        record = self.record
        status = record.status
        if isinstance(error, RequestCancelled):
            record.cancel()
        else:
            record.fail(error)
        # What the client has seen counts.
        record.status = status or error.status
        run = error.details.get("run")
        if isinstance(run, int) and not record.run:
            record.run = run  # the one that did not become ready

    def cancelled(self) -> None:
        """The client left."""
        self.record.cancel()

    def finish(self, sent: int) -> None:
        """The request has ended, and the client was sent so many bytes: its row is made soon."""
        self.record.bytes_out = sent
        self._recorder.finish_soon(self)

    def complete(self) -> None:
        """Look at what the answer said."""
        record = self.record
        if self._tap is not None:
            usage = self._tap.finish()
        elif self._whole:
            usage = whole_usage(record.path, record.status, self._first)
        else:
            return
        record.engine_ms = usage.engine_ms
        record.finish_reason = usage.finish_reason
        record.tokens = usage.tokens
        if usage.error and not record.error:
            record.error = usage.error
            if usage.failed and not record.error_kind:
                record.error_kind = ErrorKind.ENGINE
        if usage.found and usage.tokens.tokens_per_second <= 0:
            self._estimate()

    def _estimate(self) -> None:
        """A speed of our own, where the engine tells none: from the first token on, or of all its work."""
        record = self.record
        tokens = record.tokens
        now = record.ended or self._clock.monotonic()
        if record.first_token is not None:
            # The first one was there when its time was taken.
            speed = own_speed(tokens.output - 1, now - record.first_token)
        elif record.granted is not None and record.error_kind is ErrorKind.NONE:
            speed = own_speed(tokens.output, now - record.granted)
        else:
            speed = 0.0
        if speed > 0:
            record.tokens = with_speed(tokens, speed)
