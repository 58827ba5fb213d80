"""A request that has come whole, before anything was made of it: for what can be served at once."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hostler.gateway.wire import COPIED_BYTES
from hostler.web.writer import AnswerWriter, break_off, known_head

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from uvicorn.protocols.http.flow_control import FlowControl

    from hostler.gateway.edge import CallOwner
    from hostler.gateway.headers import Headers
    from hostler.gateway.known_answers import KnownAnswer
    from hostler.gateway.outbox import Outbox
    from hostler.gateway.sender import Sender
    from hostler.web.cycles import CycleProtocol


class _Nobody:
    """What is told of a message that nobody awaits."""

    __slots__ = ()

    def set(self) -> None:
        pass


_NOBODY = _Nobody()


class Call:
    """One request over HTTP/1.1 and the state of its answer; see `hostler.gateway.edge.Call`.

    To uvicorn it is a cycle: it has of `RequestResponseCycle` what the server and `AnswerWriter` use.
    """

    method = b"POST"
    message_event = _NOBODY
    more_body = False
    scope: Mapping[str, Any] = MappingProxyType({})  # it has none, and so no extension
    # What most calls begin and end with need not be set for each.
    owner: CallOwner | None = None
    disconnected = waiting_for_100_continue = response_started = response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0

    def __init__(
        self,
        protocol: CycleProtocol,
        target: bytes,
        headers: Headers | None,
        sender: Sender,
        body: bytes,
        keep_alive: bool,
    ) -> None:
        self.target = target
        self._headers = headers  # None: those of the sender, but for the length
        self.sender = sender
        self.given = sender.given
        self.body = body
        self.size = len(body)
        self.keep_alive = keep_alive
        self._protocol = protocol
        self.transport: asyncio.Transport = protocol.transport
        self.flow: FlowControl = protocol.flow

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            sender = self.sender
            self._headers = headers = list(sender.headers)
            headers[sender.place] = (b"content-length", b"%d" % self.size)
        return self._headers

    @property
    def client(self) -> tuple[str, int] | None:
        return self._protocol.client

    @property
    def scheme(self) -> str:
        return self._protocol.scheme or "http"

    def writer(self) -> AnswerWriter:
        return AnswerWriter(self._protocol, self)

    def answer(
        self,
        known: KnownAnswer,
        values: list[bytes],
        request_id: bytes,
        body: bytes,
        outbox: Outbox | None,
    ) -> None:
        if self.disconnected:
            return
        head = known_head(known, values, request_id, keep_alive=self.keep_alive)
        transport = self.transport
        if len(body) > COPIED_BYTES:
            transport.write(head)
            transport.write(body)
        elif outbox is None or not self.keep_alive:
            transport.write(head + body)
        else:
            outbox.write(transport, head + body)
        self.response_started = self.response_complete = True
        if not self.keep_alive:
            transport.close()
        self.on_response()

    def abort(self) -> None:
        break_off(self, self.transport)

    def on_response(self) -> None:
        """The answer is complete."""
        self.owner = None
        self._protocol.on_response_complete()
