"""uvicorn's HTTP protocol with the bounds and signals it lacks.

Added: a bound on the size and the age of a request head (uvicorn's httptools protocol has neither), TCP
keep-alive so that dead peers of idle streams are noticed, refusals in JSON, and the `hostler.edge`
extension of `hostler.gateway.edge`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hostler.errors import ClientError, HeadTooLarge, RequestTimeout
from hostler.gateway.answers import error_answer
from hostler.gateway.edge import EXTENSION

# nginx allows four buffers of 8 KiB for large heads, Apache 100 fields of 8 KiB, Node 16 KiB in all.
MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
# Apache's mod_reqtimeout gives a head 20 to 40 s.
HEAD_SECONDS = 20.0
# First probe after 15 s of silence, given up after three more 5 s apart.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 15, 5, 3


class ServerEdge:
    """One request's connection; see `hostler.gateway.edge.Edge`."""

    __slots__ = ("_callback", "_protocol", "cycle")

    def __init__(self, protocol: HostlerProtocol) -> None:
        self._protocol = protocol
        self._callback: Callable[[], None] | None = None
        self.cycle: RequestResponseCycle | None = None

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if callback is not None and self.cycle is not None and self.cycle.disconnected:
            callback()

    def lost(self) -> None:
        """The client's connection is gone."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def abort(self) -> None:
        cycle, transport = self.cycle, self._protocol.transport
        if cycle is None:
            return
        cycle.disconnected = True
        if cycle.chunked_encoding or cycle.expected_content_length:
            # The missing last chunk, or the missing bytes, say that this is not all; what was sent arrives.
            transport.close()
        else:
            # Nothing in the framing would tell: the client must see a reset.
            transport.abort()


class HostlerProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edges: list[ServerEdge] = []
        self._edge: ServerEdge | None = None
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            _keep_alive(sock)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)
        edges, self._edges = self._edges, []
        for edge in edges:
            edge.lost()

    def data_received(self, data: bytes) -> None:
        parser: httptools.HttpRequestParser | None = self.parser
        if parser is None or self.transport.is_closing():
            return
        if self._in_head or not self._serving():
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No protocol to switch to: the request was answered as if it had not asked.
            pass
        except httptools.HttpParserError as error:
            self._refuse(ClientError(f"this is not a valid HTTP request ({error})"))
            return
        if self._in_head:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"the request head is larger than {MAX_HEAD_BYTES} bytes"))
            elif self._head_timer is None:
                self._start_head_timer()

    # -- httptools callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._edge = ServerEdge(self)
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # uvicorn's type knows no extension of ours
        scope["extensions"] = {EXTENSION: self._edge}

    def on_headers_complete(self) -> None:
        self._in_head = False
        large = self._head_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES
        self._head_bytes = 0
        self._stop_head_timer()
        if large or len(self.headers) > MAX_HEADERS:
            self._refuse(
                HeadTooLarge(
                    f"the request head is larger than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} fields"
                )
            )
            return
        super().on_headers_complete()
        if self._edge is not None:
            self._edge.cycle = self.cycle
            self._edges.append(self._edge)

    def on_body(self, body: bytes) -> None:
        # Without a cycle the request was refused, and what follows it is nobody's.
        if self._cycle() is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._cycle() is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._edges = [edge for edge in self._edges if edge.cycle is None or not edge.cycle.response_complete]
        super().on_response_complete()

    # -- inner ------------------------------------------------------------------------------------------

    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn declares it never None, and starts with None

    def _serving(self) -> bool:
        cycle = self._cycle()
        return cycle is not None and not cycle.response_complete

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._head_bytes:
            self._refuse(RequestTimeout(f"the request head did not arrive within {HEAD_SECONDS:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: ClientError) -> None:
        """Answer what cannot be a request, and close: nothing after it can be understood."""
        if not self._serving() and not self.transport.is_closing():
            status, headers, body = error_answer(error)
            lines = [f"HTTP/1.1 {status} {type(error).__name__}\r\n".encode()]
            lines += [name + b": " + value + b"\r\n" for name, value in headers if name != b"connection"]
            self.transport.write(b"".join(lines) + b"connection: close\r\n\r\n" + body)
        self._stop_head_timer()
        self.transport.close()


def _keep_alive(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
        if idle is not None:
            sock.setsockopt(socket.IPPROTO_TCP, idle, KEEPALIVE_IDLE)
        if hasattr(socket, "TCP_KEEPINTVL"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    except OSError:
        pass  # a peer that is gone already; nothing depends on it
