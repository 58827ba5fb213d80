"""Answers to clients that speak HTTP/1.0."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from hostler.gateway.sinks import NO_BODY


class OldSend:
    """`send` for a client that speaks HTTP/1.0: to it, uvicorn would send chunks that it does not know.

    Without a length, the end of the connection is the end of the answer.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cycle.send
        self._until_close = False

    async def __call__(self, message: Any) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            measured = any(name.lower() == b"content-length" for name, _ in message["headers"])
            bodiless = cycle.scope["method"] == "HEAD" or message["status"] in NO_BODY
            # What uvicorn takes for decided it does not announce.
            cycle.chunked_encoding = self._until_close = not measured and not bodiless
            if measured:
                cycle.chunked_encoding = None
        if message["type"] == "http.response.start" or not self._until_close:
            await self._send(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.transport.write(message.get("body", b""))
        if not message.get("more_body", False):
            cycle.response_complete = True
            cycle.message_event.set()
            cycle.transport.close()
            cycle.on_response()
