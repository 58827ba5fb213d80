"""From a granted request to its answer: what is sent to an engine or a peer, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hostler.config.schema import Timeouts, Tls
from hostler.errors import UpstreamFailed
from hostler.gateway import websocket
from hostler.gateway.answers import error_event, header
from hostler.gateway.edge import PAST_SEND
from hostler.gateway.headers import Headers, answer_headers, peer_headers, request_headers
from hostler.gateway.origin import Origin
from hostler.gateway.pool import TRUSTED
from hostler.gateway.relay import Relay, ends_event, takes_events
from hostler.gateway.resolve import Remote
from hostler.gateway.rewrite import set_model, set_model_in_query
from hostler.gateway.sinks import NO_BODY, ResponseHead
from hostler.gateway.upstream import Exchange, exchange, request_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hostler.gateway.edge import Writer
    from hostler.gateway.pool import Pool
    from hostler.gateway.request import Request
    from hostler.gateway.resolve import Local, Target
    from hostler.gateway.wish import Wish

    Explain = Callable[[UpstreamFailed], Awaitable[UpstreamFailed]]

origin_of = lru_cache(maxsize=1024)(Origin.parse)
BODILESS = ("GET", "HEAD", "DELETE", "OPTIONS")
# Of an answer that is no stream, when a stream was promised: enough to hold any error.
MAX_ERROR_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it is sent: where to, by which limits, and its bytes."""

    pool: Pool
    head: bytes
    body: bytes
    timeouts: Timeouts


def to_engine(request: Request, name: str, target: Local, wish: Wish, base_url: str) -> Outgoing:
    """The request for the engine at `base_url`; it sees the client's `Host` and address."""
    origin = origin_of(base_url)
    body, query = contents(request, name, target, wish)
    client = request.scope.get("client")
    headers = request_headers(
        request.headers,
        request.given,
        client=client[0] if client else None,
        length=_length(request, body),
        drop_credentials=request.has_keys,
        request_id=request.request_id,
    )
    return _outgoing(request, origin, wish.path, query, headers, body, target.model.timeouts)


def to_peer(request: Request, name: str, target: Remote, wish: Wish) -> Outgoing:
    """The request for a peer, which sees itself asked, with its own key."""
    origin = origin_of(target.peer.proxy)
    body, query = contents(request, name, target, wish)
    headers = peer_headers(
        request.headers,
        request.given,
        length=_length(request, body),
        key=target.peer.api_key,
        drop_credentials=request.has_keys,
        request_id=request.request_id,
    )
    peer = target.peer
    return _outgoing(request, origin, wish.path, query, headers, body, peer.timeouts, peer.tls)


def contents(request: Request, name: str, target: Target, wish: Wish) -> tuple[bytes, bytes]:
    """Body and query as `target`, reached by `name`, gets them; the client's own where nothing changes."""
    body = request.body
    query: bytes = request.scope.get("query_string", b"")
    if not wish.filtered:
        return body, query
    kind = header(request.headers, b"content-type")
    # A peer knows its models by its own names; an engine gets the name it was reached by.
    wanted = target.name if isinstance(target, Remote) else name
    if wanted != wish.asked:
        if request.method in BODILESS or not body:
            query = set_model_in_query(query, wanted)
        else:
            body = set_model(body, kind, wanted)
    return target.filter.apply(body, kind, name), query


def _length(request: Request, body: bytes) -> int | None:
    return len(body) if body or request.method not in BODILESS else None


def _outgoing(
    request: Request,
    origin: Origin,
    path: bytes,
    query: bytes,
    headers: Headers,
    body: bytes,
    timeouts: Timeouts,
    tls: Tls = TRUSTED,
) -> Outgoing:
    if request.loading is not None:
        # It is going to be part of an answer that has begun, and that is not compressed.
        headers = [pair for pair in headers if pair[0] != b"accept-encoding"]
    if request.upgrade is not None:
        headers += websocket.REQUEST
    if request.observed is not None:
        headers = request.observed.sending(headers, body)
    target = origin.root + path + (b"?" + query if query else b"")
    pool = request.gateway.pools.get(origin, connect=timeouts.connect, idle=timeouts.idle_conn, tls=tls)
    return Outgoing(pool, _request_head(request, target, origin, headers), body, timeouts)


def _request_head(request: Request, target: bytes, origin: Origin, headers: Headers) -> bytes:
    host = None if any(name == b"host" for name, _ in headers) else origin.authority
    return request_head(request.method.encode("ascii"), target, host, headers)


async def forward(request: Request, outgoing: Outgoing, explain: Explain) -> None:
    """Send, and pass the answer on as it comes; `explain` adds to a failure what is known of the engine."""
    patience = outgoing.timeouts.response_header
    try:
        if request.upgrade is not None:
            answer, head = await websocket.ask(outgoing.pool, outgoing.head, response_timeout=patience)
        else:
            answer, head = await exchange(
                outgoing.pool, request.method, outgoing.head, outgoing.body, response_timeout=patience
            )
    except UpstreamFailed as error:
        raise await explain(error) from error
    request.first_byte(head)
    request.drop_body()
    try:
        if request.upgrade is not None and head.status == 101:
            request.started = True
            request.scope[PAST_SEND] = 101, await websocket.carry(request.upgrade, answer, head)
        elif request.loading is not None and request.loading.begun:
            await _go_on(request, answer, head, explain)
        else:
            await _relay(request, answer, head, explain)
    finally:
        answer.close()


async def _relay(request: Request, answer: Exchange, head: ResponseHead, explain: Explain) -> None:
    headers = answer_headers(head, request.request_id)
    bodiless = head.status in NO_BODY
    if bodiless:
        # Without a body there is nothing to measure, and servers take a length for a promise.
        headers = [pair for pair in headers if pair[0] != b"content-length"]
    if request.wants_timing:
        headers.append((b"server-timing", request.timing()))
    writer = None if bodiless or request.method == "HEAD" else request.edge.writer()
    if writer is not None:
        await _relay_to(writer, request, answer, head, headers, explain)
        return
    await request.begin(head.status, headers)
    await _pass_on(request, answer, takes_events(head), explain)


async def _relay_to(
    writer: Writer, request: Request, answer: Exchange, head: ResponseHead, headers: Headers, explain: Explain
) -> None:
    """The short way, where the server has one."""
    assert answer.connection is not None
    request.response_headers = headers
    request.started = True
    writer.begin(head.status, headers, head.length)
    relay = request.relay = Relay(writer, answer.connection, request.observed)
    event = b""
    try:
        answer.hand_over(relay)
        if not relay.done.done():
            writer.flush()
        await relay.done
    except UpstreamFailed as broken:
        writer.flush()
        error = await _told(broken, request, explain)
        if relay.at_border and takes_events(head):
            event = error_event(error, request.scope["path"])
            writer.write(event)
        request.edge.abort()
    else:
        writer.end()
    finally:
        relay.close()
        relay.look()
        request.scope[PAST_SEND] = head.status, request.sent + len(event)


async def _go_on(request: Request, answer: Exchange, head: ResponseHead, explain: Explain) -> None:
    """An answer within a stream that has begun with the loading text."""
    if head.status == 200 and takes_events(head):
        await _pass_on(request, answer, True, explain)
        return
    body = b""
    while (data := await answer.read()) and len(body) < MAX_ERROR_BYTES:
        body += data
    raise UpstreamFailed(
        f"the engine answered with status {head.status} and no stream of events",
        details={"status": head.status, "body": body[:MAX_ERROR_BYTES].decode("utf-8", "replace")},
    )


async def _pass_on(request: Request, answer: Exchange, events: bool, explain: Explain) -> None:
    send = request.send
    observed = request.observed
    tail = b""
    try:
        while data := await answer.read():
            tail = (tail + data[-4:])[-4:]
            request.passed += len(data)
            if observed is not None:
                observed.passed(data)
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except UpstreamFailed as broken:
        error = await _told(broken, request, explain)
        if ends_event(tail) and events:
            # Between two events a last one can still tell what happened.
            event = error_event(error, request.scope["path"])
            await send({"type": "http.response.body", "body": event, "more_body": True})
        request.edge.abort()
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _told(broken: UpstreamFailed, request: Request, explain: Explain) -> UpstreamFailed:
    """What became of an answer that broke off in the middle; it is written down."""
    # A client that sees the break and asks again must not meet an engine that is as good as dead.
    error = await explain(broken)
    request.gateway.log.warn(error.message)
    if request.observed is not None:
        request.observed.broke(error)
    return error
