"""What is written down of a request while it passes: its record, its tokens, its capture.

The gateway calls this at the few moments that count; nothing here waits, or fails for those who look later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.errors import RequestCancelled
from hostler.metrics.record import ErrorKind, kind_of
from hostler.metrics.usage import UsageTap, own_speed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostler.clock import Clock
    from hostler.errors import HostlerError
    from hostler.fleet.lease import Lease
    from hostler.gateway.headers import Headers
    from hostler.metrics.capture_parts import Collector
    from hostler.metrics.record import RequestRecord
    from hostler.metrics.recorder import Recorder


class Observed:
    """One request that leaves a row of activity; `finish` is called once, however it ends."""

    __slots__ = ("_capture", "_clock", "_recorder", "_tap", "record")

    def __init__(self, recorder: Recorder, record: RequestRecord, clock: Clock) -> None:
        self.record = record
        self._recorder = recorder
        self._clock = clock
        self._tap: UsageTap | None = None
        self._capture: Collector | None = None

    def granted(self, lease: Lease | None) -> None:
        """An engine is there for the request; None for a peer, which is always there."""
        record = self.record
        record.granted = self._clock.monotonic()
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
            headers = [pair for pair in headers if pair[0] != b"traceparent"]
            headers.append((b"traceparent", record.trace.header().encode()))
        self._recorder.capture_request(record, headers, body)
        return headers

    def answering(self, status: int, headers: Headers, given: Mapping[bytes, bytes]) -> None:
        """The engine has begun to answer; `given` are the first values of the headers."""
        record = self.record
        record.first_byte = self._clock.monotonic()
        record.status = status
        kind = given.get(b"content-type", b"").decode("latin-1")
        encoding = given.get(b"content-encoding", b"").decode("latin-1")
        record.content_type = kind
        self._tap = UsageTap(record.path, kind, encoding, status)
        self._capture = self._recorder.capture_response(record, headers)

    def passed(self, data: bytes) -> bool:
        """Some of the answer's body; whether its first token has still to be found."""
        tap = self._tap
        if tap is not None and tap.feed(data):
            self.record.first_token = self._clock.monotonic()
        if self._capture is not None:
            self._capture.feed(data)
        return tap is not None and tap.looks

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
        self._recorder.finish_soon(self.record, self._complete)

    def _complete(self) -> None:
        record = self.record
        if self._tap is not None:
            usage = self._tap.finish()
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
            tokens.tokens_per_second = speed
            tokens.estimated = True
