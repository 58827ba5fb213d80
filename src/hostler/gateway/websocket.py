"""Requests that ask for a websocket: which they are, how an engine is asked, and what follows its 101.

An engine's 101 makes one connection of two. Who can do that is the server, so it says so by an object in
`scope["extensions"]["hostler.upgrade"]`: our own server copies bytes (`hostler.web.upgrade`), for a server
with websocket messages `hostler.gateway.messages` does. Without that object the request is an ordinary one,
as RFC 9110, section 7.8 allows, and the engine says that it wants an upgrade.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from hostler.gateway.connection import Connection
from hostler.gateway.edge import Scope
from hostler.gateway.headers import Headers, response_headers
from hostler.gateway.paths import GET_ROUTES, POST_ROUTES
from hostler.gateway.pool import Pool
from hostler.gateway.sinks import ResponseHead
from hostler.gateway.upstream import Exchange, send_request

EXTENSION = "hostler.upgrade"

# What replaces the hop-by-hop headers that `request_headers` took away.
REQUEST: Headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]

# Beside the routes for POST and GET: OpenAI's realtime API, which vLLM serves as well.
WEBSOCKET_ROUTES = POST_ROUTES | GET_ROUTES | {"/v1/realtime"}


class Upgrade(Protocol):
    """One request's connection, as far as it can become a websocket."""

    def check(self) -> None:
        """Raise InternalError when a library that this takes is missing; the engine was not asked yet."""
        ...

    async def carry(self, head: ResponseHead, engine: Connection) -> int:
        """Answer with the engine's `head` and pass everything on, both ways, until both sides have ended.

        Returns how many bytes went to the client. Raises UpstreamFailed when the engine is gone already and
        nothing was answered; afterwards each side is shown how the other ended.
        """
        ...


def wants_websocket(method: str, http_version: str, headers: Headers) -> bool:
    """Whether a request is a websocket's handshake (RFC 6455, section 4.1); one with a body is not."""
    if method != "GET" or http_version != "1.1":
        return False
    connection: set[bytes] = set()
    upgrade: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            connection.update(tokens(value))
        elif name == b"upgrade":
            upgrade.update(tokens(value))
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return False
    return b"upgrade" in connection and b"websocket" in upgrade


def tokens(value: bytes) -> list[bytes]:
    """The items of a comma-separated list, in lower case."""
    return [item.strip().lower() for item in value.split(b",")]


def upgrade_of(scope: Scope) -> Upgrade | None:
    """The way to make a websocket of this request; None when it is an ordinary one."""
    upgrade: Upgrade | None = scope.get("extensions", {}).get(EXTENSION)
    return upgrade


def is_websocket_route(path: str, scope: Scope) -> bool:
    """Whether `path`, which names its model in the query, is to be passed on as a websocket."""
    return path in WEBSOCKET_ROUTES and upgrade_of(scope) is not None


async def ask(pool: Pool, head: bytes, *, response_timeout: float = 0.0) -> tuple[Exchange, ResponseHead]:
    """Ask an engine to switch; the answer is a 101, or whatever it says instead.

    On a connection of its own: an idle one might have been closed, and this one will not come back. Raises
    as `exchange` does; the caller must close the exchange.
    """
    connection = await pool.connect()
    return await send_request(connection, "GET", head, b"", response_timeout, upgrade=True)


def switching_head(head: ResponseHead) -> bytes:
    """The bytes of a 101 for the client: the engine's headers, but for those of the other hop."""
    parts = [b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"]
    for name, value in response_headers(head.headers, head.given):
        # A 101 has no body to measure (RFC 9110, section 8.6).
        if name != b"content-length":
            parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


async def carry(upgrade: Upgrade, answer: Exchange, head: ResponseHead) -> int:
    """What follows a 101: see `Upgrade.carry`; whatever happens, the engine's connection has ended then."""
    assert answer.connection is not None
    try:
        return await upgrade.carry(head, answer.connection)
    except asyncio.CancelledError:
        answer.close()
        raise
