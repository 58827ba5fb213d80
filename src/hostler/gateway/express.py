"""Requests for which everything is here: the request itself, its model, and a warm connection to that.

They are begun within the call in which their last byte came, without a scope, a task or a message, and each
piece of their answer is passed on within the call in which it came. Whatever is unusual, wrong or not ready
is left to `request`, which finds out again and says so.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hostler import aio
from hostler.errors import InternalError, RequestCancelled, UpstreamFailed
from hostler.gateway import paths
from hostler.gateway.answers import add_log_url, error_answer, error_event
from hostler.gateway.body import peek
from hostler.gateway.evidence import explained
from hostler.gateway.headers import Headers, answer_headers, asked_by
from hostler.gateway.inflight import request_id
from hostler.gateway.noted import Noted
from hostler.gateway.outbox import MANY
from hostler.gateway.relay import takes_events
from hostler.gateway.sinks import NO_BODY, ConnectionLost, ResponseHead
from hostler.gateway.upstream import STALE_SECONDS, took_too_long
from hostler.metrics.record import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from hostler.config.schema import Model
    from hostler.errors import HostlerError
    from hostler.fleet.lease import Held
    from hostler.gateway.connection import Connection
    from hostler.gateway.edge import Call
    from hostler.gateway.known_answers import KnownAnswer
    from hostler.gateway.pipeline import Gateway
    from hostler.gateway.pool import Pool
    from hostler.gateway.sender import Known

    Ended = Callable[["Express"], None]

TARGETS = {path.encode(): (path, paths.engine_path(path.encode()).decode()) for path in paths.POST_ROUTES}
"""What request lines may ask for, where nothing has to be decoded: the path that is, and the engine's."""


def serve_now(gateway: Gateway, ended: Ended, call: Call) -> bool:
    """Begin to serve `call`, where all that it needs is ready; False leaves everything as it was.

    `ended` is told when it has ended.
    """
    sender, body = call.sender, call.body
    if not sender.plain or gateway.profiles.pins:
        return False
    try:
        known = sender.known
        if known is None or known.keys is not gateway.keys:
            known = sender.knows(gateway.keys, call.client[0] if call.client else None)
        name = peek(body).model
        routes = gateway.routes
        target = routes.local_targets.get(name)
        if target is None:
            return False
        if known.limited:
            routes.permit(known.key, target, "")
        if not target.filter.idle:
            body = target.filter.apply(body, sender.kind, name)
        gateway.budget.take(call.size)
    except Exception:  # noqa: BLE001 - `request` finds out again and says so, were it a bug
        return False
    model = target.model
    held = gateway.fleet.lease_now(model.id)
    if held is not None:
        pool = gateway.pool_of(held.lease.base_url, model.timeouts)
        connection = pool.take()
        if connection is not None:
            Express(gateway, call, model, held, pool, connection, ended).begin(known, body)
            return True
        gateway.fleet.let_go(held)
    gateway.budget.give(call.size)
    return False


class Express(Noted):
    """One such request: the sink of its connection, the owner of its call, an entry of those in flight."""

    method = "POST"
    metadata: Mapping[str, str] = NOTHING
    # What most of them begin and end with need not be set for each.
    number = 0
    status = 0
    told = 0  # bytes of our own that the client got
    events = False
    _again: tuple[bytes, bytes] | None = None  # head and body, as long as they may be sent once more
    _answer_headers: Headers | None = None
    _work: asyncio.Task[None] | None = None  # what has to be awaited
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        model: Model,
        held: Held,
        pool: Pool,
        connection: Connection,
        ended: Ended,
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._gateway = gateway
        self._call = call
        self._patience = model.timeouts.response_header
        self._held: Held | None = held
        self._ended = ended
        self.began = gateway.clock.monotonic()
        self.model: str = model.id
        self.asked_path, self.path = TARGETS[call.target]
        self.request_id = request_id(call.given.get(b"x-request-id", b""))
        self._span = gateway.spans.begin(self.request_id, model.id, held.lease.run, held.slot.log.mark())

    def begin(self, known: Known, body: bytes) -> None:
        """Ask the engine."""
        gateway, call = self._gateway, self._call
        call.owner = self
        gateway.in_flight.add(self)
        connection = self._connection
        assert self._held is not None
        line, start = known.start(self._held.lease.base_url, connection.origin, call.target, self.path)
        length = b"%d" % len(body)
        fields = b"%b%b\r\ncontent-length: %b\r\n\r\n" % (start, self.request_id, length)
        self._sent = known.key, fields, body
        if gateway.recorder is not None and gateway.recorder.tracer is not None:
            fields = self._write_down(gateway.recorder, known.key, fields, body)  # the engine is told of it
        head = line + fields
        if self._patience:
            self._timer = connection.loop.call_later(self._patience, self._took_too_long, self._patience)
        self._again = head, body
        outbox = gateway.outbox
        if not outbox.open and len(gateway.in_flight) >= MANY:
            outbox.open = True
        connection.send_known(head, body, self, self._pool.answers, outbox if outbox.open else None)

    # -- an entry of the requests in flight -------------------------------------------------------------

    @property
    def began_wall(self) -> datetime:
        clock = self._gateway.clock
        return clock.wall() - timedelta(seconds=clock.monotonic() - self.began)

    @property
    def remote(self) -> str:
        return asked_by(self._call.given, self._call.client)

    @property
    def headers(self) -> Headers:
        return self._call.headers

    @property
    def response_headers(self) -> Headers:
        return self._answer_headers or []

    @property
    def call(self) -> Call:
        """The request as it came."""
        return self._call

    def cancel(self) -> None:
        if self._held is not None:
            if self._work is not None:
                self._work.cancel()
            self._connection.abandon()
            self._answer_failure(RequestCancelled("the request was cancelled by its number"))

    # -- the sink of the connection ---------------------------------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        self._is_answered()
        status = head.status
        observed = self._observe()
        if observed is not None:
            observed.answering(status, head.headers, head.given)
        headers = answer_headers(head, self.request_id)
        length = head.length
        if status in NO_BODY:
            # Without a body there is nothing to measure.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            length = 0
        self._answer_headers = headers
        self.status = status
        self.events = takes_events(head)
        self.writer = writer = self._call.writer()
        writer.begin(status, headers, length)

    def on_known(self, known: KnownAnswer, values: list[bytes], length: int) -> None:
        head = known.head
        self.on_head(ResponseHead(head.status, known.headers(values), head.given, length, head.events))

    def on_whole(self, known: KnownAnswer, values: list[bytes], body: bytes) -> None:
        gateway = self._gateway
        came = gateway.clock.monotonic()
        self._is_answered()
        outbox = gateway.outbox
        try:
            self._call.answer(known, values, self.request_id, body, outbox if outbox.open else None)
            self.status = known.head.status
            self.sent = len(body)
            self._observe_whole(known, values, body, came)
        except Exception as error:  # noqa: BLE001 - the last resort; the connection has let go of this request
            self._tell_bug(error)
            if not self.status:
                self._call.abort()
        self._finish()

    def on_settled(self) -> None:
        assert self.writer is not None
        self.writer.flush()

    def on_end(self) -> None:
        if self._paused:
            self.close()
        assert self.writer is not None
        self.writer.end()
        self._finish()

    def on_failure(self, error: UpstreamFailed) -> None:
        self.close()
        again, self._again = self._again, None
        waited = self._gateway.clock.monotonic() - self.began
        if again is not None and isinstance(error, ConnectionLost) and waited <= STALE_SECONDS:
            # A warm connection that the engine had just closed: it has seen nothing of the request.
            self._start(self._ask_again(again, error), f"ask {self.model} again")
        else:
            self._tell_failure(error)

    # -- the owner of the call --------------------------------------------------------------------------

    def lost(self) -> None:
        if self._held is None:
            return
        if self._work is not None:
            self._work.cancel()
        self._connection.abandon()
        self.close()
        observed = self._observe()
        if observed is not None:
            observed.cancelled()
        self._finish()

    # -- inner ------------------------------------------------------------------------------------------

    def _is_answered(self) -> None:
        """The engine has begun: the request is not needed any more."""
        if self._timer is not None:
            self._stop_timer()
        self._again = None
        call = self._call
        self._gateway.budget.give(len(call.body))
        call.body = b""

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _took_too_long(self, patience: float) -> None:
        self._timer = None
        connection = self._connection
        connection.abandon()
        self._tell_failure(took_too_long(connection.origin, patience))

    async def _ask_again(self, request: tuple[bytes, bytes], lost: UpstreamFailed) -> None:
        try:
            self._connection = await self._pool.connect()
        except UpstreamFailed:
            # Not closed for being idle: the engine itself is gone.
            await self._fail(lost)
        else:
            self._work = None
            self._connection.send(*request, self, method="POST")

    def _tell_failure(self, error: UpstreamFailed) -> None:
        if self._work is not None:
            self._work.cancel()
        self._start(self._fail(error), f"tell of a failure of {self.model}")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._work = aio.spawn(work, name=name, on_error=self._went_wrong)

    def _went_wrong(self, name: str, error: BaseException) -> None:
        """The last resort: nobody awaits that work, and the request must end."""
        self._tell_bug(error)
        if self._held is not None:
            self._connection.abandon()
            self._answer_failure(InternalError("Hostler failed to serve this request; its log says why"))

    def _tell_bug(self, error: BaseException) -> None:
        self._gateway.log.error(f"unexpected {type(error).__name__} while serving {self.path}: {error}")

    async def _fail(self, broken: UpstreamFailed) -> None:
        """Tell the client what is known, as far as it can still be told."""
        held = self._held
        assert held is not None
        self._stop_timer()
        # A client that sees the break and asks again must not meet an engine that is as good as dead.
        self._answer_failure(await explained(self._gateway.fleet, broken, held.lease))

    def _answer_failure(self, error: HostlerError) -> None:
        self.close()
        self._observe()
        call, writer = self._call, self.writer
        if writer is None:
            if self.observed is not None:
                self.observed.failed(error)
            writer = call.writer()
            add_log_url(error, call.headers, call.scheme)
            accept = call.given.get(b"accept", b"")
            self.status, headers, body = error_answer(error, path=self.asked_path, accept=accept)
            headers.append((b"x-request-id", self.request_id))
            self.told = len(body)
            writer.begin(self.status, headers, len(body))
            writer.write(body)
            writer.end()
            self._finish()
            return
        if isinstance(error, UpstreamFailed):
            self._gateway.log.warn(error.message)
            if self.observed is not None:
                self.observed.broke(error)
            writer.flush()
            if self.at_border and self.events:
                event = error_event(error, self.asked_path)
                writer.write(event)
                self.told = len(event)
        elif self.observed is not None:
            self.observed.failed(error)
        self._finish()
        call.abort()

    def _finish(self) -> None:
        """The request has ended; its answer, if there is one, is about to."""
        self._undo()
        if self.observed is not None:
            self.look()
            self.observed.finish(self.sent)
        self._ended(self)

    def _undo(self) -> None:
        """Give back what the request held."""
        gateway, held = self._gateway, self._held
        assert held is not None
        self._held = None
        if self._timer is not None:
            self._stop_timer()
        self._span.until = held.slot.log.newest_seq
        gateway.fleet.let_go(held)
        gateway.in_flight.remove(self)
        gateway.budget.give(len(self._call.body))
        self._call.owner = None
