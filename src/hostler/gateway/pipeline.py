"""The way of a model request: read, find the model, lease it, forward, stream the answer back.

`Gateway` is an ordinary ASGI application for the paths in `paths`; it runs under any server. Whatever goes
wrong before the answer has begun becomes an error answer; afterwards the connection is broken off so that
the client can tell.
"""

from __future__ import annotations

from functools import lru_cache

from hostler.config.schema import ApiKey, Config
from hostler.core import ModelId
from hostler.errors import ClientError, Forbidden, HostlerError, InternalError, NotFound, UpstreamFailed
from hostler.fleet.fleet import Fleet
from hostler.fleet.lease import Lease
from hostler.gateway import paths
from hostler.gateway.answers import add_log_url, error_answer, error_event, header
from hostler.gateway.auth import KeyRing
from hostler.gateway.body import BodyBudget, peek_form, peek_json, peek_multipart, read_body
from hostler.gateway.connection import ResponseHead
from hostler.gateway.edge import (
    ClientGone,
    Edge,
    Receive,
    Scope,
    Send,
    Truncated,
    cancelled_when_gone,
    edge_of,
)
from hostler.gateway.headers import Headers, request_headers, response_headers
from hostler.gateway.origin import Origin
from hostler.gateway.pool import PoolSet, Unreachable
from hostler.gateway.upstream import Exchange, exchange, request_head
from hostler.logs.monitor import LogMonitor

MEGABYTE = 1_048_576
# All request bodies in memory together: twice the largest single one, and never less than 1 GiB, so that
# one huge upload cannot shut out the others.
MIN_BODY_BUDGET = 1024 * MEGABYTE

origin_of = lru_cache(maxsize=1024)(Origin.parse)


class Gateway:
    """Serves every path that names a model; see the module's text for the order of things."""

    def __init__(self, config: Config, fleet: Fleet, *, keys: KeyRing, log: LogMonitor) -> None:
        self._config = config
        self._fleet = fleet
        self._keys = keys
        self._log = log
        self._pools = PoolSet()
        self._limit = config.max_body_mb * MEGABYTE
        self._budget = BodyBudget(max(MIN_BODY_BUDGET, 2 * self._limit))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that leaves ends it quietly at any await."""
        await Request(self, scope, receive, send).answer()

    def replace(self, config: Config, keys: KeyRing) -> None:
        """Serve requests that come from now on by another configuration; others end by theirs."""
        self._config = config
        self._keys = keys
        self._limit = config.max_body_mb * MEGABYTE
        self._budget.total = max(MIN_BODY_BUDGET, 2 * self._limit)

    def close(self) -> None:
        """Close every idle connection to an engine."""
        self._pools.close()

    def engine_gone(self, base_url: str) -> None:
        """Forget the idle connections to an engine that ended."""
        self._pools.close_origin(origin_of(base_url))


class Request:
    """One request on its way through the gateway."""

    def __init__(self, gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
        self.gateway = gateway
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: Headers = scope["headers"]
        self.raw_path = paths.raw_path(scope)
        self.started = False
        self.body = b""
        self.body_read = False
        self.edge: Edge = edge_of(scope, receive)

    async def answer(self) -> None:
        try:
            await self._serve()
        except ClientGone:
            pass
        except Truncated:
            raise
        except HostlerError as error:
            await self._fail(error)
        except OSError as error:
            await self._fail(UpstreamFailed(f"the connection to the engine failed: {error}"))
        except Exception as error:  # noqa: BLE001 - the last resort; a traceback would tell a client nothing
            self.gateway._log.error(
                f"unexpected {type(error).__name__} while serving {self.scope['path']}: {error}"
            )
            await self._fail(InternalError("Hostler failed to serve this request; its log says why"))

    async def _serve(self) -> None:
        gateway = self.gateway
        key = gateway._keys.check(self.headers)
        upstream = self._upstream_path()
        if upstream is not None and not upstream.rest:
            await self._add_slash()
            return
        self.body = await read_body(self.receive, self.headers, gateway._limit, gateway._budget)
        self.body_read = True
        try:
            if upstream is not None:
                model, target = upstream.model, upstream.rest
            else:
                model, target = self._find_model(), paths.engine_path(self.raw_path)
            self._permit(key, model)
            with cancelled_when_gone(self.edge):
                await self._use(model, target)
        finally:
            self._drop_body()

    def _drop_body(self) -> None:
        """Give up the memory; an answer may take much longer to come than the request took to be read."""
        self.gateway._budget.give(len(self.body))
        self.body = b""

    def _permit(self, key: ApiKey | None, model: ModelId) -> None:
        if key is None:
            return
        if key.scopes and "inference" not in key.scopes:
            raise Forbidden("this API key may not send requests to models")
        if key.models and model not in {self.gateway._config.resolve(name) for name in key.models}:
            raise Forbidden(f"this API key may not use {model!r}")

    # -- which model ------------------------------------------------------------------------------------

    def _upstream_path(self) -> paths.UpstreamPath | None:
        if not self.raw_path.startswith(paths.UPSTREAM):
            return None
        found = paths.split_upstream(self.raw_path, self.gateway._config.resolve)
        if found is None:
            raise NotFound("model not found", param="model")
        return found

    async def _add_slash(self) -> None:
        """`/upstream/m` is `/upstream/m/`: the engine's own page must find what lies beside it."""
        root: str = self.scope.get("root_path", "")
        query: bytes = self.scope.get("query_string", b"")
        location = root.encode() + self.raw_path + b"/" + (b"?" + query if query else b"")
        status = 301 if self.scope["method"] in ("GET", "HEAD") else 308
        await self._send_whole(status, [(b"location", location), (b"content-length", b"0")])

    def _find_model(self) -> ModelId:
        body = self.body
        query: bytes = self.scope.get("query_string", b"")
        kind = header(self.headers, b"content-type")
        if self.scope["method"] in ("GET", "HEAD"):
            name, _ = peek_form(b"", query)
        elif b"form-urlencoded" in kind:
            name, _ = peek_form(body, query)
        elif b"multipart/form-data" in kind.lower():
            name, _ = peek_multipart(body, kind)
        else:
            name, _ = peek_json(body) if body.strip() else ("", False)
            if not name:
                name, _ = peek_form(b"", query)
        if not name:
            raise ClientError("no model id could be identified: the request has no `model`", param="model")
        model = self.gateway._config.resolve(name)
        if model is None:
            raise NotFound(f"no model called {name!r}; GET /v1/models lists what there is", param="model")
        return model

    # -- the engine -------------------------------------------------------------------------------------

    async def _use(self, model: ModelId, target: bytes) -> None:
        """Lease the model and forward; a second time when the engine had just died and saw nothing of it."""
        lease_of = self.gateway._fleet.lease
        async with lease_of(model) as lease:
            try:
                await self._forward(lease, target)
                return
            except Unreachable as error:
                if "exit" not in error.details:
                    raise
        async with lease_of(model) as lease:
            await self._forward(lease, target)

    async def _forward(self, lease: Lease, target: bytes) -> None:
        gateway = self.gateway
        model = gateway._fleet.model(lease.model)
        origin = origin_of(lease.base_url)
        query: bytes = self.scope.get("query_string", b"")
        client = self.scope.get("client")
        method: str = self.scope["method"]
        head = request_head(
            method,
            origin.prefix.encode() + target + (b"?" + query if query else b""),
            origin.authority,
            request_headers(
                self.headers,
                client=client[0] if client else None,
                length=len(self.body)
                if self.body or method not in ("GET", "HEAD", "DELETE", "OPTIONS")
                else None,
                drop_credentials=bool(gateway._keys),
            ),
        )
        pool = gateway._pools.get(origin, connect=model.timeouts.connect, idle=model.timeouts.idle_conn)
        try:
            answer, answer_head = await exchange(
                pool, method, head, self.body, response_timeout=model.timeouts.response_header
            )
        except UpstreamFailed as error:
            raise await self._explain(error, lease) from error
        self._drop_body()
        try:
            await self._relay(answer, answer_head, lease)
        finally:
            answer.close()

    async def _explain(self, error: UpstreamFailed, lease: Lease) -> UpstreamFailed:
        fleet = self.gateway._fleet
        message = f"{lease.model}: {error.message}"
        log = fleet.slot(lease.model).log
        details: dict[str, object] = {"model": lease.model, "run": lease.run}
        end = await fleet.fate(lease)
        if end is not None:
            message += f"; its process ended: {end}"
            details["exit"] = str(end)
        details["log"] = log.tail(20)
        kind = Unreachable if isinstance(error, Unreachable) else UpstreamFailed
        return kind(message, details=details)

    async def _relay(self, answer: Exchange, head: ResponseHead, lease: Lease) -> None:
        send = self.send
        headers = response_headers(head.headers)
        if head.status in (204, 304):
            # Without a body there is nothing to measure, and servers take a length for a promise.
            headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        self.started = True
        tail = b""
        try:
            while data := await answer.read():
                tail = (tail + data[-4:])[-4:]
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except UpstreamFailed as broken:
            # A client that sees the break and asks again must not meet an engine that is as good as dead.
            error = await self._explain(broken, lease)
            self.gateway._log.warn(error.message)
            at_border = not tail or tail.endswith((b"\n\n", b"\r\n\r\n"))
            if at_border and takes_events(head):
                # Between two events a last one can still tell what happened.
                event = error_event(error, self.scope["path"])
                await send({"type": "http.response.body", "body": event, "more_body": True})
            self.edge.abort()
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    # -- errors -----------------------------------------------------------------------------------------

    async def _fail(self, error: HostlerError) -> None:
        if self.started:
            self.edge.abort()
            return
        self.started = True
        add_log_url(error, self.headers, self.scope.get("scheme", "http"))
        status, headers, body = error_answer(
            error, path=self.scope["path"], accept=header(self.headers, b"accept")
        )
        await self._send_whole(status, headers, body)

    async def _send_whole(self, status: int, headers: Headers, body: bytes = b"") -> None:
        if not self.body_read and header(self.headers, b"expect"):
            # The client was never told to send its body; what came next would be taken for it.
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def takes_events(head: ResponseHead) -> bool:
    """Whether something can be added to the answer: an event stream as it is, of no declared length."""
    headers = [(name.lower(), value) for name, value in head.headers]
    plain = head.length is None and not header(headers, b"content-encoding")
    return plain and b"text/event-stream" in header(headers, b"content-type").lower()
