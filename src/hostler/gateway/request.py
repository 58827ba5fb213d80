"""One request on its way: who asks, for what, which target serves it, and how its answer ends.

Whatever goes wrong before the answer has begun becomes an error answer; afterwards the connection is broken
off so that the client can tell.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hostler import aio
from hostler.config.schema import ApiKey
from hostler.errors import (
    BackedOff,
    HostlerError,
    InternalError,
    QueueFull,
    RequestCancelled,
    StartFailed,
    UpstreamFailed,
)
from hostler.fleet.lease import Lease
from hostler.fleet.visit import visit
from hostler.gateway import paths, websocket
from hostler.gateway.answers import add_log_url, error_answer, header
from hostler.gateway.body import read_body
from hostler.gateway.edge import ClientGone, Edge, Receive, Scope, Send, Truncated, edge_of
from hostler.gateway.evidence import explained, remember_start
from hostler.gateway.forward import forward, to_engine, to_peer
from hostler.gateway.headers import Headers, asked_by, first_values
from hostler.gateway.inflight import request_id
from hostler.gateway.loading import PATHS as LOADING_PATHS
from hostler.gateway.loading import LoadingStream, Snapshot
from hostler.gateway.observe import observe
from hostler.gateway.pool import Unreachable
from hostler.gateway.resolve import Local, Remote, Target
from hostler.gateway.wish import SlashMissing, Wish, by_body, by_path, refuse_blocked
from hostler.process.progress import progress_of

if TYPE_CHECKING:
    from hostler.gateway.observe import Observed
    from hostler.gateway.pipeline import Gateway
    from hostler.gateway.relay import Relay
    from hostler.gateway.sinks import ResponseHead

# Where the newest telling line is looked for while a model loads.
PROGRESS_LINES = 20


class Request:
    """One request on its way through the gateway."""

    def __init__(self, gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
        self.gateway = gateway
        self.routes = gateway.routes
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.headers: Headers = scope["headers"]
        self.raw_path = paths.raw_path(scope)
        self.started = False
        self.body = b""
        self.body_read = False
        self._held = 0  # bytes of the budget for bodies
        self.has_keys = bool(gateway.keys)
        self.edge: Edge = edge_of(scope, receive)
        self.upgrade = websocket.upgrade_of(scope)
        self.loading: LoadingStream | None = None
        self.observed: Observed | None = None
        self.given = given = first_values(self.headers)
        self.request_id = scope["request_id"] = request_id(given.get(b"x-request-id", b""))
        self.wants_timing = given.get(b"x-server-timing") == b"1"
        # What the table of requests in flight shows.
        self.number = 0
        self.began_wall = gateway.clock.wall()
        self.began = gateway.clock.monotonic()
        self.model = ""
        self.path = ""
        self.response_headers: Headers = []
        self.passed = 0  # bytes of the answer, where there is no relay
        self.relay: Relay | None = None
        self.metadata: dict[str, str] = {}
        self._waited = self._loaded = self._first = 0.0
        self._task: asyncio.Task[object] | None = None
        self._gone = self._cancelled = False

    @property
    def remote(self) -> str:
        """Who asks."""
        return asked_by(self.given, self.scope.get("client"))

    @property
    def sent(self) -> int:
        """How many bytes of the answer the client was sent."""
        return self.passed if self.relay is None else self.relay.sent

    async def answer(self) -> None:
        try:
            await self._serve()
        except ClientGone:
            if self.observed is not None:
                self.observed.cancelled()
        except Truncated:
            raise
        except HostlerError as error:
            await self._fail(error)
        except OSError as error:
            await self._fail(UpstreamFailed(f"the connection to the engine failed: {error}"))
        except Exception as error:  # noqa: BLE001 - the last resort; a traceback would tell a client nothing
            self.gateway.log.error(
                f"unexpected {type(error).__name__} while serving {self.scope['path']}: {error}"
            )
            await self._fail(InternalError("Hostler failed to serve this request; its log says why"))
        finally:
            if self.observed is not None:
                self.observed.finish(self.sent)

    async def _serve(self) -> None:
        gateway = self.gateway
        key = gateway.keys.check(self.given)
        try:
            wish = by_path(self.raw_path, self.method, self.routes, gateway.profiles)
        except SlashMissing:
            await self._add_slash()
            return
        here = self.edge.body_now()
        self.body = await read_body(self.receive, self.headers, gateway.limit, gateway.budget, here=here)
        self._held = len(self.body)
        self.body_read = True
        try:
            if wish is None:
                wish = by_body(
                    self.scope, self.raw_path, self.body, self.routes, gateway.profiles, gateway.order
                )
            await self._grant(wish, key)
        finally:
            self.drop_body()

    async def _grant(self, wish: Wish, key: ApiKey | None) -> None:
        """Serve what is asked for, in the sight of whoever looks at the requests in flight."""
        for _, target in wish.targets:
            self.routes.permit(key, target, wish.selector)
        if wish.selector:
            self.metadata["selector"] = wish.selector
        self.path = wish.path.decode("latin-1")
        in_flight = self.gateway.in_flight
        self.model = wish.targets[0][1].id
        if wish.tracked:
            in_flight.add(self)
        if wish.tracked and self.method == "POST":
            self._observe(key)
        try:
            await self._interruptibly(wish)
        finally:
            if wish.tracked:
                in_flight.remove(self)

    def _observe(self, key: ApiKey | None) -> None:
        """Have the request leave a row, where anybody keeps them."""
        recorder = self.gateway.recorder
        if recorder is None:
            return
        self.observed = observe(
            recorder,
            self.gateway.clock,
            model=self.model,
            path=self.path,
            request_id=self.request_id,
            key=key,
            given=self.given,
        )
        self.observed.record.metadata = self.metadata

    async def _interruptibly(self, wish: Wish) -> None:
        """Serve, and end it when the client leaves, or somebody cancels the request."""
        self._task = self.edge.task or asyncio.current_task()
        self.edge.on_disconnect(self._leave)
        try:
            await self._serve_first(wish)
        except asyncio.CancelledError:
            if not (self._gone or self._cancelled):
                raise
            # Ours: what was to be undone was undone on the way up.
            assert self._task is not None
            self._task.uncancel()
            if self._gone:
                raise ClientGone from None
            raise RequestCancelled("the request was cancelled by its number") from None
        finally:
            self._task = None
            self.edge.on_disconnect(None)

    def _leave(self) -> None:
        if self._task is not None and not (self._gone or self._cancelled):
            self._gone = True
            self._task.cancel()

    def cancel(self) -> None:
        """End the request; its client is told, visibly broken off where the answer has begun."""
        if self._task is not None and not (self._gone or self._cancelled):
            self._cancelled = True
            self._task.cancel()

    def drop_body(self) -> None:
        """Give up the memory; an answer may take much longer to come than the request took to be read."""
        self.gateway.budget.give(self._held)
        self._held = 0
        self.body = b""

    # -- targets ----------------------------------------------------------------------------------------

    async def _serve_first(self, wish: Wish) -> None:
        """Let the first target serve that can: another one is asked only where several were named."""
        *others, (last_name, last) = wish.targets
        for name, target in others:
            try:
                await self._serve_by(name, target, wish)
                return
            except (StartFailed, BackedOff, Unreachable, QueueFull) as error:
                if self.started:
                    raise
                self.gateway.log.warn(f"{wish.selector}: asking the next target: {error.message}")
        await self._serve_by(last_name, last, wish)

    async def _serve_by(self, name: str, target: Target, wish: Wish) -> None:
        if self.model != target.id:
            self.model = target.id
            if self.observed is not None:
                self.observed.record.model = target.id
            self.gateway.in_flight.changed(self)
        if isinstance(target, Remote):
            await self._ask_peer(name, target, wish)
        else:
            await self._ask_engine(name, target, wish)

    async def _ask_peer(self, name: str, target: Remote, wish: Wish) -> None:
        async def explain(error: UpstreamFailed) -> UpstreamFailed:
            return type(error)(f"peer proxy error: {target.peer.id}: {error.message}")

        if self.upgrade is not None:
            self.upgrade.check()
        if self.observed is not None:
            self.observed.granted(None)
        await forward(self, to_peer(self, name, target, wish), explain)

    async def _ask_engine(self, name: str, target: Local, wish: Wish) -> None:
        """Lease the model and forward; a second time when the engine had just died and saw nothing of it."""
        fleet = self.gateway.fleet
        if wish.blocked:
            refuse_blocked(wish, ready=fleet.is_ready(target.id))
        if self.upgrade is not None:
            self.upgrade.check()
            if target.model.compat.ignore_websockets:
                await self._forward(visit(fleet.slot(target.id)), name, target, wish)
                return
        try:
            await self._lease_and_forward(name, target, wish)
        except Unreachable as error:
            if "exit" not in error.details or self.started:
                raise
            await self._lease_and_forward(name, target, wish)

    async def _lease_and_forward(self, name: str, target: Local, wish: Wish) -> None:
        saying: list[asyncio.Task[None]] = []

        def waits(ticket: int) -> None:
            task = self._say_loading(ticket, target, wish)
            if task is not None:
                saying.append(task)

        try:
            async with self.gateway.fleet.lease(target.id, on_wait=waits) as lease:
                self._waited, self._loaded = lease.waited, lease.loading
                if self.observed is not None:
                    self.observed.granted(lease)
                if saying:
                    await self._stop_saying(saying, ready=True)
                await self._forward(lease, name, target, wish)
        finally:
            if saying:
                await self._stop_saying(saying, ready=False)

    async def _forward(self, lease: Lease, name: str, target: Local, wish: Wish) -> None:
        async def explain(error: UpstreamFailed) -> UpstreamFailed:
            return await explained(self.gateway.fleet, error, lease)

        slot = self.gateway.fleet.slot(lease.model)
        log, run = slot.log, slot.run
        # Of a run that was started for it, all there is from its beginning on.
        after = run.cursor if lease.cold and run is not None else log.mark()
        span = self.gateway.spans.begin(self.request_id, lease.model, lease.run, after)
        try:
            await forward(self, to_engine(self, name, target, wish, lease.base_url), explain)
        finally:
            span.until = log.newest_seq

    # -- the loading text -------------------------------------------------------------------------------

    def _say_loading(self, ticket: int, target: Local, wish: Wish) -> asyncio.Task[None] | None:
        """Tell a streaming client how the model loads, where that is wanted."""
        fleet = self.gateway.fleet
        if not (wish.stream and target.model.send_loading_state and self.raw_path in LOADING_PATHS):
            return None
        if self.loading is None:
            if fleet.is_ready(target.id):
                return None
            log = fleet.slot(target.id).log

            def look() -> Snapshot:
                lines = log.tail(PROGRESS_LINES)
                last = lines[-1] if lines else ""
                return Snapshot(fleet.state(target.id), fleet.position(ticket), progress_of(lines), last)

            self.loading = LoadingStream(
                self.send,
                target.id,
                look,
                request_id=self.request_id,
                headers=[(b"x-request-id", self.request_id)],
                clock=self.gateway.clock,
            )
        return aio.spawn(self.loading.run(), name=f"loading text of {target.id}")

    async def _stop_saying(self, saying: list[asyncio.Task[None]], *, ready: bool) -> None:
        await aio.cancel_and_wait(saying)
        saying.clear()
        loading = self.loading
        if loading is None:
            return
        if not loading.begun:
            self.loading = None
            return
        self.started = True
        if ready:
            await loading.ready()

    # -- the answer -------------------------------------------------------------------------------------

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.response_headers = headers
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        self.started = True

    def first_byte(self, head: ResponseHead) -> None:
        """The engine has begun to answer."""
        self._first = self.gateway.clock.monotonic() - self.began
        if self.observed is not None:
            self.observed.answering(head.status, head.headers, head.given)

    def timing(self) -> bytes:
        """Where the time went, in milliseconds, for a `Server-Timing` header."""
        queue = max(0.0, self._waited - self._loaded)
        parts = (("queue", queue), ("load", self._loaded), ("ttfb", self._first))
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in parts).encode()

    async def _add_slash(self) -> None:
        """`/upstream/m` is `/upstream/m/`: the engine's own page must find what lies beside it."""
        root: str = self.scope.get("root_path", "")
        query: bytes = self.scope.get("query_string", b"")
        location = root.encode() + self.raw_path + b"/" + (b"?" + query if query else b"")
        status = 301 if self.method in ("GET", "HEAD") else 308
        await self._send_whole(status, [(b"location", location), (b"content-length", b"0")])

    async def _fail(self, error: HostlerError) -> None:
        """Tell the client, as far as it can still be told; every failure comes this way."""
        if self.observed is not None:
            self.observed.failed(error)
        elif self.gateway.recorder is not None:
            self.gateway.recorder.refused(error.status)
        remember_start(self.gateway.spans, self.gateway.fleet, self.request_id, error)
        add_log_url(error, self.headers, self.scope.get("scheme", "http"))
        if self.loading is not None and self.loading.begun and not self.sent:
            await self.loading.failed(error, self.scope["path"])
            return
        if self.started:
            self.edge.abort()
            return
        self.started = True
        status, headers, body = error_answer(
            error, path=self.scope["path"], accept=header(self.headers, b"accept")
        )
        headers.append((b"x-request-id", self.request_id))
        await self._send_whole(status, headers, body)

    async def _send_whole(self, status: int, headers: Headers, body: bytes = b"") -> None:
        if not self.body_read and header(self.headers, b"expect"):
            # The client was never told to send its body; what came next would be taken for it.
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
