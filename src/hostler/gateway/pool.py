"""Warm connections to engines, one pool for each origin."""

from __future__ import annotations

import asyncio
import ssl

from hostler.clock import SYSTEM, Clock
from hostler.config.schema import Tls
from hostler.errors import UpstreamFailed
from hostler.gateway.connection import Connection
from hostler.gateway.known_answers import KnownAnswers
from hostler.gateway.origin import Origin
from hostler.process.http_check import addresses, is_loopback

# Idle connections kept for each origin. More requests at once than this is rare for one engine.
MAX_IDLE = 64

# By the authorities that the system trusts.
TRUSTED = Tls()


class Unreachable(UpstreamFailed):
    """There was no connection, so the engine has seen nothing of the request."""


class Pool:
    """Warm connections to one origin.

    Only the event loop's thread touches it. Idle connections are used last in, first out, so that a quiet
    pool shrinks; one that the engine closes is dropped at once, one that is idle for `idle` seconds at the
    next use.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        connect: float = 30.0,
        idle: float = 90.0,
        tls: Tls = TRUSTED,
        clock: Clock = SYSTEM,
    ) -> None:
        self.origin = origin
        self.answers = KnownAnswers()
        self._connect_timeout = connect or None
        self._idle_timeout = idle
        self._clock = clock
        self._idle: dict[Connection, float] = {}
        self._tls = tls
        self._ssl: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<Pool {self.origin}, {len(self._idle)} idle>"

    def take(self) -> Connection | None:
        """A warm connection, or None."""
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.transport is None or connection.transport.is_closing():
                continue
            if self._idle_timeout and self._clock.monotonic() - since > self._idle_timeout:
                connection.abandon()
                continue
            return connection
        return None

    async def connect(self) -> Connection:
        """A new connection; raises Unreachable when there is none in time."""
        problem: Exception | None = None
        if self.origin.scheme == "https" and self._ssl is None:
            self._ssl = self._context()
        for host in addresses(self.origin.host):
            try:
                return await self._connect_to(host)
            except TimeoutError:
                problem = TimeoutError(f"no connection within {self._connect_timeout:g} s")
            except OSError as error:
                problem = error
        raise Unreachable(f"cannot reach the engine at {self.origin}: {reason(problem)}") from problem

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._tls.ca or None)
        except OSError as error:
            raise Unreachable(f"cannot read the certificates in {self._tls.ca}: {reason(error)}") from error
        # As for its health check: nobody has a certificate for an address of this machine.
        here = not self._tls.ca and is_loopback(addresses(self.origin.host)[0])
        if here or not self._tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _connect_to(self, host: str) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout):
            _, connection = await loop.create_connection(
                lambda: Connection(self.origin, self),
                host,
                self.origin.port,
                ssl=self._ssl,
                server_hostname=self.origin.host if self._ssl else None,
            )
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep `connection` for the next request; more than MAX_IDLE are closed."""
        if len(self._idle) >= MAX_IDLE:
            connection.abandon()
            return
        self._idle[connection] = self._clock.monotonic()

    def forget(self, connection: Connection) -> None:
        """`connection` is gone."""
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Close every idle connection; busy ones end with their requests."""
        for connection in list(self._idle):
            connection.abandon()
        self._idle.clear()
        self.answers = KnownAnswers()  # the next engine there may be another one


def reason(error: Exception | None) -> str:
    """The words of an error for a person; asyncio's own text lists every address it tried."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class PoolSet:
    """The pools of all origins, made when first used."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._pools: dict[tuple[Origin, float, float, Tls], Pool] = {}

    def get(self, origin: Origin, *, connect: float, idle: float, tls: Tls = TRUSTED) -> Pool:
        """The pool for `origin` with these limits, in seconds."""
        key = (origin, connect, idle, tls)
        pool = self._pools.get(key)
        if pool is None:
            pool = Pool(origin, connect=connect, idle=idle, tls=tls, clock=self._clock)
            self._pools[key] = pool
        return pool

    def close_origin(self, origin: Origin) -> None:
        """Close the idle connections of an origin whose engine is gone."""
        for (known, *_), pool in self._pools.items():
            if known == origin:
                pool.close()

    def close(self) -> None:
        """Close every idle connection of every pool."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
