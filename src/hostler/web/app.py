"""The whole HTTP surface as one ASGI application.

Paths that name a model go to the gateway; everything else is ordinary routes. Around both: CORS, keys, and
one access line in the proxy's log when a request ends.
"""

from __future__ import annotations

import asyncio
import importlib
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote

from hostler.aio import Batch
from hostler.clock import SYSTEM, Clock
from hostler.config.schema import ApiKey
from hostler.errors import Forbidden, HostlerError, MethodNotAllowed, NotFound
from hostler.gateway.answers import error_answer, header
from hostler.gateway.auth import KeyRing
from hostler.gateway.edge import PAST_SEND, Call, Message, Receive, Scope, Send
from hostler.gateway.express import TARGETS, Express, serve_now
from hostler.gateway.headers import Headers, asked_by, first_values
from hostler.gateway.messages import as_http
from hostler.gateway.paths import GET_ROUTES, POST_ROUTES, own_path
from hostler.gateway.websocket import is_websocket_route
from hostler.logs.levels import Level
from hostler.web.writer import DATE

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from hostler.gateway.pipeline import Gateway
    from hostler.logs.monitor import LogMonitor
    from hostler.web.state import WebState

HEALTH_PATHS = frozenset(("/health", "/wol-health"))
# No key is asked for here: a monitor must be able to see that we live, a browser must find its way.
OPEN_PATHS = HEALTH_PATHS | {"/", "/favicon.ico", "/upstream"}
GATEWAY_PREFIXES = ("/upstream/", "/comfyui/")
QUIET_PREFIXES = ("/wol-health", "/health", "/api/performance", "/metrics")
# How long an access line waits for others, and how many of them may: a quarter of what the buffer of a log
# holds. The copy to standard output lives off that, and in a flood would have gaps with larger pieces.
LINES_SECONDS = 0.02
MAX_LINES = 256
# Of each thing a client says, in the access line: real ones are shorter.
SHOWN_CHARACTERS = 256
_PLAIN = re.compile(r"[ !#-\[\]-~]{0,256}")
DEFAULT_CORS_HEADERS = b"Content-Type, Authorization, Accept, X-Requested-With"
TOKEN_CHARACTERS = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class WebApp:
    """The outermost application: decides who serves a request, and writes its access line."""

    at_once = frozenset(TARGETS)

    def __init__(self, state: WebState, gateway: Gateway, keys: KeyRing, clock: Clock = SYSTEM) -> None:
        self._gateway = gateway
        self._keys = keys
        self._log: LogMonitor = state.hub.proxy
        self._clock = clock
        # Many lines in one write cost far less than each by itself.
        self._lines = Batch(self._write_lines, seconds=LINES_SECONDS, most=MAX_LINES)
        # Begins to serve a request for one of `at_once`, where all that it needs is ready.
        self.serve_now: Callable[[Call], bool] = partial(serve_now, gateway, self._served_at_once)
        self._state = state
        self._routes: Starlette | None = None  # made with the first request for one

    def replace(self, keys: KeyRing) -> None:
        """Ask for these keys from now on."""
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            scope, receive, send = as_http(scope, receive, send)
        elif scope["type"] != "http":
            return
        path = own_path(scope)
        counted = CountedSend(send)
        began = self._clock.monotonic()
        try:
            await self._serve(path, scope, receive, counted)
        except HostlerError as error:
            await _send_error(error, path, scope, counted)
        finally:
            counted.count(scope)
            if not path.startswith(QUIET_PREFIXES):
                served = _served_by_asgi(scope, counted, self._clock.monotonic() - began)
                self._lines.add(access_line(served))

    def flush(self) -> None:
        """Write answers that wait; a server calls it before it closes a connection."""
        self._gateway.outbox.flush()

    def _served_at_once(self, request: Express) -> None:
        seconds = self._clock.monotonic() - request.began
        call = request.call
        sender = call.sender
        said = sender.said
        if said is None:
            said = sender.said = _said(call.given, call.client)
        who, agent = said
        asked, size = f"POST {request.asked_path} HTTP/1.1", request.sent + request.told
        self._lines.add(_line(who, asked, request.status, size, agent, seconds, request.request_id))

    def write_lines(self) -> None:
        """Write the access lines that are due; whoever reads the log, or ends it, calls this first."""
        self._lines.flush()

    def _write_lines(self, lines: list[str]) -> None:
        self._log.log_all(Level.INFO, lines)

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: CountedSend) -> None:
        method: str = scope["method"]
        if method == "OPTIONS":
            await _answer_options(scope["headers"], send)
            return
        if (
            method in methods_of(path)
            or path.startswith(GATEWAY_PREFIXES)
            or path == "/comfyui"
            or is_websocket_route(path, scope)
        ):
            await self._gateway(scope, receive, send)
            return
        if path in HEALTH_PATHS:
            await _answer_health(path, method, send)
            return
        if path.startswith("/logs"):
            self.write_lines()
        # These read no body: one that the client still holds back must not be taken for a request.
        send.close = bool(header(scope["headers"], b"expect"))
        scope["api_key"] = self._check_key(scope["headers"], path)
        if ("//" in path or "/." in path) and not path.startswith("/logs/"):
            await _send_clean(path, scope, send)
            return
        if methods_of(path):
            raise MethodNotAllowed(f"{path} does not take {method}")
        routes = self._routes or await self._load_routes()
        await routes(scope, receive, send)

    async def _load_routes(self) -> Starlette:
        # It takes some 60 ms, in which streams must go on: on a thread, they get every other turn.
        module = await asyncio.to_thread(importlib.import_module, "hostler.web.own")
        if self._routes is None:
            self._routes = cast("Starlette", module.make(self._state))
        return self._routes

    def _check_key(self, headers: Headers, path: str) -> ApiKey | None:
        """Ask for a key wherever one is configured, and for the scope that the path needs; what it was."""
        if path in OPEN_PATHS:
            return None
        key = self._keys.check(first_values(headers))
        if key is not None:
            _require_scope(key, path)
        return key


def methods_of(path: str) -> tuple[str, ...]:
    """What a path that names a model in its body or query may be asked with; empty for other paths."""
    get = ("GET", "HEAD") if path in GET_ROUTES else ()
    return (*get, "POST") if path in POST_ROUTES else get


class CountedSend:
    """`send`, and what went through it; with `close` the connection ends after the answer."""

    __slots__ = ("_send", "bytes", "close", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.close = False
        self.status = 0
        self.bytes = 0

    def count(self, scope: Scope) -> None:
        """Count what the client got by another way, if it did."""
        if PAST_SEND in scope:
            self.status, self.bytes = scope[PAST_SEND]

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"] = list(message.get("headers", ()))
            # An engine's date is passed on; what is ours gets one here (RFC 9110, section 6.6.1).
            if not any(name.lower() == b"date" for name, _ in headers):
                headers.append((b"date", DATE.now()))
            if self.close:
                headers.append((b"connection", b"close"))
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


class Served(NamedTuple):
    """What the access line of a request is made of.

    `given` are the first values of its headers; the status is 0 when its client left before there was one.
    """

    method: str
    path: str
    version: str
    given: Mapping[bytes, bytes]
    client: Sequence[object] | None
    status: int
    size: int
    seconds: float
    request_id: bytes = b""


def _served_by_asgi(scope: Scope, counted: CountedSend, seconds: float) -> Served:
    return Served(
        scope["method"],
        scope["path"],
        scope.get("http_version", "1.1"),
        first_values(scope["headers"]),
        scope.get("client"),
        counted.status,
        counted.bytes,
        seconds,
        scope.get("request_id", b""),
    )


def access_line(served: Served) -> str:
    """One line about a finished request."""
    who, agent = _said(served.given, served.client)
    request = _quoted(f"{served.method} {served.path} HTTP/{served.version}")
    return _line(who, request, served.status, served.size, agent, served.seconds, served.request_id)


def _line(
    who: str, request: str, status: int, size: int, agent: str, seconds: float, request_id: bytes
) -> str:
    """`who`, `request` and `agent` cannot forge a line any more."""
    line = f'Request {who} "{request}" {status or "-"} {size} "{agent}" {seconds:.3f}s'
    # Requests for models have an id; it is made of harmless characters.
    return f"{line} {request_id.decode('latin-1')}" if request_id else line


def _said(given: Mapping[bytes, bytes], client: Sequence[object] | None) -> tuple[str, str]:
    """Who asks, and with what program."""
    return _quoted(asked_by(given, client) or "-"), _quoted(given.get(b"user-agent", b"").decode("latin-1"))


def _quoted(text: str) -> str:
    """What a client chose must not be able to forge a line of the log, nor to push the others out of it."""
    if _PLAIN.fullmatch(text):
        return text
    return text[:SHOWN_CHARACTERS].encode("unicode_escape").decode().replace('"', "'")


def _require_scope(key: ApiKey, path: str) -> None:
    if not key.scopes:
        return
    if path.startswith("/logs") or (path.startswith("/api/requests/") and path.endswith("/logs")):
        needed = "logs"
    elif path in ("/v1/models", "/models"):
        needed = "inference"
    else:
        needed = "admin"
    if needed not in key.scopes:
        raise Forbidden(f"this API key lacks the scope {needed!r}")


async def _answer_health(path: str, method: str, send: Send) -> None:
    """`OK` as soon as requests are served."""
    if method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"{path} does not take {method}")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"OK"})


async def _answer_options(headers: Headers, send: Send) -> None:
    asked = header(headers, b"access-control-request-headers")
    names = [name.strip() for name in asked.split(b",")]
    names = [name for name in names if name and TOKEN_CHARACTERS.issuperset(name)]
    answer: Headers = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"access-control-allow-headers", b", ".join(names) if asked else DEFAULT_CORS_HEADERS),
        (b"access-control-max-age", b"86400"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": answer})
    await send({"type": "http.response.body", "body": b""})


async def _send_clean(path: str, scope: Scope, send: Send) -> None:
    """Lead to the path that is meant; 307 keeps the method and the body."""
    meant = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith(("/", "/.", "/..")) and meant != "/":
        meant += "/"
    if meant == path:
        raise NotFound(f"there is nothing at {path}")
    query: bytes = scope.get("query_string", b"")
    location = quote(scope.get("root_path", "") + meant, safe="/:@!$&'()*+,;=~").encode()
    location += b"?" + query if query else b""
    headers = [(b"location", location), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _send_error(error: HostlerError, path: str, scope: Scope, send: Send) -> None:
    accept = header(scope["headers"], b"accept")
    status, headers, body = error_answer(error, path=path, accept=accept)
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(methods_of(path) or ("GET", "HEAD")).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
