"""What our server offers the gateway beyond ASGI, for one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from hostler.web.writer import AnswerWriter, break_off

if TYPE_CHECKING:
    from hostler.web.cycles import CycleProtocol

# Of a body that is taken without being received; larger ones have stopped the reading (uvicorn: at 64 KiB).
SMALL_BODY = 65_536


class ServerEdge:
    """One request's connection; see `hostler.gateway.edge.Edge`."""

    __slots__ = ("_callback", "_gone", "_protocol", "cycle", "task")

    def __init__(self, protocol: CycleProtocol) -> None:
        self._protocol = protocol
        self._callback: Callable[[], None] | None = None
        self._gone = False
        self.cycle: RequestResponseCycle | None = None
        self.task: asyncio.Task[Any] | None = None

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if callback is not None and (self._gone or (self.cycle is not None and self.cycle.disconnected)):
            callback()

    def lost(self) -> None:
        """The client's connection is gone."""
        self._gone = True
        self.cycle = None  # whose scope holds this: what refers to itself only a collector could free
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def abort(self) -> None:
        cycle, transport = self.cycle, self._protocol.transport
        if cycle is None:
            return
        break_off(cycle, transport, until_close=cycle.scope["http_version"] == "1.0")

    def body_now(self) -> bytes | None:
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.disconnected or len(cycle.body) > SMALL_BODY:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        cycle.waiting_for_100_continue = False
        return body

    def writer(self) -> AnswerWriter | None:
        cycle = self.cycle
        if cycle is None or cycle.response_started or cycle.scope["http_version"] != "1.1":
            return None
        return AnswerWriter(self._protocol, cycle)
