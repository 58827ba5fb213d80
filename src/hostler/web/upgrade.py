"""A connection that stops being HTTP: taken from the server's protocol, and made one with an engine's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hostler.gateway.connection import Connection
from hostler.gateway.sinks import ResponseHead
from hostler.gateway.tunnel import Tunnel
from hostler.gateway.websocket import switching_head

if TYPE_CHECKING:
    from hostler.web.cycles import CycleProtocol


class TakenOver(asyncio.Protocol):
    """What the server knows a connection by that is not HTTP any more: it counts it, and can end it.

    Whatever happens on the connection is `inner`'s.
    """

    def __init__(
        self, inner: asyncio.Protocol, transport: asyncio.Transport, connections: set[object]
    ) -> None:
        self.transport = transport
        self._inner = inner
        self._connections = connections
        connections.add(self)
        inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def shutdown(self) -> None:
        """The server ends; running requests have had their time."""
        self.transport.close()


class ServerUpgrade:
    """One request that may switch; see `hostler.gateway.websocket.Upgrade`."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: CycleProtocol) -> None:
        self._protocol = protocol

    def check(self) -> None:
        pass

    async def carry(self, head: ResponseHead, engine: Connection) -> int:
        tunnel = Tunnel()
        _, from_engine = engine.detach(tunnel.engine)
        from_client = self._protocol.take_over(tunnel.client)
        assert tunnel.client.transport is not None
        tunnel.client.transport.write(switching_head(head))
        return await tunnel.run(from_client=from_client, from_engine=from_engine)
