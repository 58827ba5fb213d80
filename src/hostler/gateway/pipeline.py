"""The way of a model request: read, find the model, lease it, forward, stream the answer back.

`Gateway` is an ordinary ASGI application for the paths in `paths`; it runs under any server. Whatever goes
wrong before the answer has begun becomes an error answer; afterwards the connection is broken off so that
the client can tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

from hostler.config.schema import ApiKey, Config
from hostler.core import ModelId
from hostler.errors import ClientError, Forbidden, HostlerError, InternalError, NotFound, UpstreamFailed
from hostler.fleet.fleet import Fleet
from hostler.fleet.lease import Lease
from hostler.gateway import paths
from hostler.gateway.answers import error_answer, error_event, header
from hostler.gateway.auth import KeyRing
from hostler.gateway.body import BodyBudget, ClientGone, peek_form, peek_json, read_body
from hostler.gateway.connection import ResponseHead
from hostler.gateway.edge import Edge, Receive, Scope, Send, edge_of
from hostler.gateway.headers import Headers, request_headers, response_headers
from hostler.gateway.origin import Origin
from hostler.gateway.pool import PoolSet
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
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.started = False
        self.body_read = False
        self.edge: Edge = edge_of(scope, receive)
        self._client_left = False

    async def answer(self) -> None:
        task = asyncio.current_task()
        assert task is not None

        def leave() -> None:
            self._client_left = True
            task.cancel()

        try:
            await self._serve(leave)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            if not self._client_left:
                raise
            # Ours: the client went away. What was to be undone was undone on the way up.
            task.uncancel()
        except HostlerError as error:
            await self._fail(error)
        except OSError as error:
            await self._fail(UpstreamFailed(f"the connection to the engine failed: {error}"))
        except Exception as error:  # noqa: BLE001 - the last resort; a traceback would tell a client nothing
            self.gateway._log.error(
                f"unexpected {type(error).__name__} while serving {self.scope['path']}: {error}"
            )
            await self._fail(InternalError("Hostler failed to serve this request; its log says why"))
        finally:
            self.edge.on_disconnect(None)

    async def _serve(self, leave: Callable[[], None]) -> None:
        gateway = self.gateway
        key = gateway._keys.check(self.headers)
        upstream = self._upstream_path()
        body = await read_body(self.receive, self.headers, gateway._limit, gateway._budget)
        self.body_read = True
        try:
            self.edge.on_disconnect(leave)
            if upstream is not None:
                model, target = upstream.model, upstream.rest
            else:
                model, target = self._find_model(body), paths.engine_path(self.raw_path)
            self._permit(key, model)
            async with gateway._fleet.lease(model) as lease:
                await self._forward(lease, target, body)
        finally:
            gateway._budget.give(len(body))

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

    def _find_model(self, body: bytes) -> ModelId:
        query: bytes = self.scope.get("query_string", b"")
        if self.scope["method"] in ("GET", "HEAD"):
            name, _ = peek_form(b"", query)
        elif b"form-urlencoded" in header(self.headers, b"content-type"):
            name, _ = peek_form(body, query)
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

    async def _forward(self, lease: Lease, target: bytes, body: bytes) -> None:
        gateway = self.gateway
        model = gateway._fleet.model(lease.model)
        origin = origin_of(lease.base_url)
        query: bytes = self.scope.get("query_string", b"")
        client = self.scope.get("client")
        method: str = self.scope["method"]
        head = request_head(
            method,
            origin.prefix.encode() + (target or b"/") + (b"?" + query if query else b""),
            origin.authority,
            request_headers(
                self.headers,
                client=client[0] if client else None,
                length=len(body) if body or method not in ("GET", "HEAD", "DELETE", "OPTIONS") else None,
                drop_credentials=bool(gateway._keys),
            ),
        )
        pool = gateway._pools.get(origin, connect=model.timeouts.connect, idle=model.timeouts.idle_conn)
        try:
            answer, answer_head = await exchange(
                pool, method, head, body, response_timeout=model.timeouts.response_header
            )
        except UpstreamFailed as error:
            raise self._explain(error, lease) from error
        try:
            await self._relay(answer, answer_head)
        finally:
            answer.close()

    def _explain(self, error: UpstreamFailed, lease: Lease) -> UpstreamFailed:
        slot = self.gateway._fleet.slot(lease.model)
        message = f"{lease.model}: {error.message}"
        if slot.runs != lease.run or slot.run is None:
            message += f"; its process ended: {slot.last_exit}"
        details = {"log": slot.log.tail(20), "model": lease.model, "run": lease.run}
        return UpstreamFailed(message, details=details)

    async def _relay(self, answer: Exchange, head: ResponseHead) -> None:
        send = self.send
        headers = response_headers(head.headers)
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        self.started = True
        tail = b""
        try:
            while data := await answer.read():
                tail = (tail + data[-2:])[-2:]
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except UpstreamFailed as error:
            self.gateway._log.warn(f"{self.scope['path']}: {error.message}")
            is_stream = b"text/event-stream" in header([(k.lower(), v) for k, v in headers], b"content-type")
            if is_stream and tail in (b"", b"\n\n"):
                # At the border between two events a last one can still tell what happened.
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
        model = error.details.get("model")
        if isinstance(model, str) and "log_url" not in error.details:
            error.details["log_url"] = self._log_url(model)
        status, headers, body = error_answer(
            error, path=self.scope["path"], accept=header(self.headers, b"accept")
        )
        if not self.body_read and header(self.headers, b"expect"):
            # The client was never told to send its body; what came next would be taken for it.
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _log_url(self, model: str) -> str:
        host = header(self.headers, b"host").decode("latin-1") or "127.0.0.1:8080"
        return f"{self.scope.get('scheme', 'http')}://{host}/logs/stream/{quote(model, safe='/')}"
