"""Websockets under a server that speaks them itself and gives the application messages (ASGI's `websocket`).

The request becomes an ordinary one for the gateway, and its connection one that can be switched: then the
engine gets frames made of the client's messages, and the client messages made of the engine's frames. Two
things are lost in that, and only in that: frames are not kept apart within a message, and pings end here,
where they are answered. The frames are made and read by the `websockets` package, which is not needed
otherwise: `pip install 'hostler[websockets]'`.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

from hostler import aio
from hostler.errors import InternalError
from hostler.gateway import edge, tunnel, websocket
from hostler.gateway.connection import Connection
from hostler.gateway.edge import Message, PlainEdge, Receive, Scope, Send
from hostler.gateway.headers import Headers, response_headers
from hostler.gateway.sinks import ResponseHead

# A message has to be held whole, since ASGI knows no parts of one. uvicorn allows 16 MiB by default; a video
# of a few seconds, as ComfyUI sends them, may be larger.
MAX_MESSAGE_BYTES = 64 * 1_048_576
READ_BYTES = 262_144
# How long an engine may take to answer a close; RFC 6455 asks for a reasonable time, `websockets` gives 10 s.
CLOSE_SECONDS = 5.0
# Codes that are told to an application and never sent: no code given, and no close at all.
NO_CODE, NO_CLOSE = 1005, 1006
INTERNAL_ERROR = 1011
# Of frames, by RFC 6455, section 11.8.
CONTINUATION, TEXT, CONTROL = 0, 1, (8, 9, 10)
# The server made its own handshake with the client, and the frames between us and the engine are ours.
NOT_PASSED_ON = frozenset((b"connection", b"upgrade", b"sec-websocket-extensions", b"sec-websocket-accept"))


def as_http(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """A websocket's scope as that of the GET request it began with, and what belongs to it."""
    headers: Headers = [pair for pair in scope["headers"] if pair[0] not in NOT_PASSED_ON]
    names = {name for name, _ in headers}
    if b"sec-websocket-key" not in names:
        headers.append((b"sec-websocket-key", base64.b64encode(os.urandom(16))))
    if b"sec-websocket-version" not in names:
        headers.append((b"sec-websocket-version", b"13"))
    offered = scope.get("subprotocols") or ()
    if offered and b"sec-websocket-protocol" not in names:
        headers.append((b"sec-websocket-protocol", ", ".join(offered).encode("latin-1")))
    messages = Messages(scope, receive, send)
    request: Scope = {
        **scope,
        "type": "http",
        "method": "GET",
        "scheme": "https" if scope.get("scheme") == "wss" else "http",
        "http_version": scope.get("http_version", "1.1"),
        "headers": headers,
        "extensions": {edge.EXTENSION: messages.edge, websocket.EXTENSION: messages},
    }
    return request, messages.receive, messages.send


class Messages:
    """One websocket of another server: an ordinary request at first, perhaps switched later."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.edge = PlainEdge(self.receive)
        self._receive = receive
        self._send = send
        # Without it a refusal cannot say why: the server makes a 403 of it.
        self._can_answer = "websocket.http.response" in (scope.get("extensions") or {})
        self._refused = False
        self._gone = False

    # -- as a request -----------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """What a GET request without a body would receive."""
        message = await self._receive()
        if message["type"] == "websocket.connect":
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """An ordinary answer, to a client that wanted a websocket."""
        if self._can_answer:
            await self._send({**message, "type": f"websocket.{message['type']}"})
        elif not self._refused:
            self._refused = True
            await self._send({"type": "websocket.close", "code": 1008, "reason": ""})

    # -- as a websocket ---------------------------------------------------------------------------------

    def check(self) -> None:
        _library()

    async def carry(self, head: ResponseHead, engine: Connection) -> int:
        self.edge.on_disconnect(None)  # from here on, messages are read by nobody else
        link = Link(engine)
        try:
            await self._send({"type": "websocket.accept", **_accepted(head)})
            outwards = aio.spawn(self._to_engine(link), name="websocket messages to an engine")
            try:
                return await self._to_client(link)
            finally:
                await aio.cancel_and_wait([outwards])
        finally:
            link.end()

    async def _to_engine(self, link: Link) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
                await link.close(message.get("code", NO_CODE), message.get("reason") or "")
                return
            data = message.get("bytes")
            await link.send(message["text"] if data is None else data)

    async def _to_client(self, link: Link) -> int:
        """Every message of the engine, until it has ended; returns how many bytes they were."""
        sent = 0
        try:
            async for data in link.messages():
                sent += len(data)
                if not self._gone:
                    kind = "text" if isinstance(data, str) else "bytes"
                    await self._send({"type": "websocket.send", kind: data})
            if not self._gone:
                await self._send({"type": "websocket.close", **link.ending()})
        except OSError:
            pass  # the client went in this very moment; some servers raise that here
        return sent


class Link:
    """The engine's end: a connection that carries frames, by the rules of RFC 6455 for a client."""

    def __init__(self, engine: Connection) -> None:
        library = _library()
        self._open = library.State.OPEN
        self._protocol = library.Protocol(library.Side.CLIENT, max_size=MAX_MESSAGE_BYTES)
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=READ_BYTES)
        streams = asyncio.StreamReaderProtocol(self._reader)
        self._transport, self._early = engine.detach(streams)
        tunnel.keep_alive(self._transport.get_extra_info("socket"))
        self._writer = asyncio.StreamWriter(self._transport, streams, self._reader, loop)
        self._transport.resume_reading()
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, data: str | bytes) -> None:
        """Send a message; nothing happens when the engine has closed."""
        if self._protocol.state is not self._open:
            return
        if isinstance(data, str):
            self._protocol.send_text(data.encode())
        else:
            self._protocol.send_binary(data)
        await self._flush()

    async def close(self, code: int, reason: str) -> None:
        """Pass the client's end on; `messages` then ends with the engine's answer to it, or without."""
        if code == NO_CLOSE or self._protocol.state is not self._open:
            self._transport.abort()
            return
        if code == NO_CODE:
            self._protocol.send_close()
        else:
            self._protocol.send_close(code, reason)
        await self._flush()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    async def messages(self) -> AsyncIterator[str | bytes]:
        """Whole messages, until the engine closes or is gone."""
        parts: list[bytes] = []
        is_text = False
        data = self._early
        while True:
            if data:
                self._protocol.receive_data(data)
            for frame in self._protocol.events_received():
                if frame.opcode in CONTROL:
                    continue  # pings are answered, and a close is kept in mind
                if frame.opcode != CONTINUATION:
                    is_text = frame.opcode == TEXT
                parts.append(bytes(frame.data))
                if frame.fin:
                    whole, parts = b"".join(parts), []
                    yield whole.decode("utf-8", "replace") if is_text else whole
            await self._flush()
            if self._protocol.state is not self._open and self._protocol.close_rcvd is not None:
                return
            if self._protocol.parser_exc is not None:
                return
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError:
                return
            if not data:
                return

    def ending(self) -> dict[str, Any]:
        """How the engine ended, as a client may be told."""
        received = self._protocol.close_rcvd
        if received is None:
            return {"code": INTERNAL_ERROR, "reason": "the engine closed the connection"}
        return {"code": 1000 if received.code == NO_CODE else received.code, "reason": received.reason}

    def end(self) -> None:
        """Let go of the connection; what was written to it still arrives when both sides have closed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._protocol.close_rcvd is not None and self._protocol.close_sent is not None:
            self._transport.close()
        else:
            self._transport.abort()

    async def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data and not self._transport.is_closing():
            self._writer.write(data)
            try:
                async with asyncio.timeout(tunnel.STALL_SECONDS):
                    await self._writer.drain()
            except TimeoutError:
                self._transport.abort()
            except OSError:
                pass  # whoever reads notices it too


def _library() -> ModuleType:
    """`websockets.protocol`; raises InternalError when the package is not installed."""
    try:
        from websockets import protocol
    except ImportError:
        raise InternalError(
            "websockets under this server need the package `websockets`: pip install 'hostler[websockets]'"
        ) from None
    return protocol


def _accepted(head: ResponseHead) -> Message:
    """The engine's 101 as far as it is about us: the subprotocol, and headers of its own."""
    accept: Message = {"headers": [], "subprotocol": None}
    for name, value in response_headers(head.headers, head.given):
        lower = name.lower()
        if lower == b"sec-websocket-protocol":
            accept["subprotocol"] = value.decode("latin-1")
        elif lower not in NOT_PASSED_ON and lower != b"content-length":
            accept["headers"].append((lower, value))
    return accept
