"""A WebSocket echo: enough of RFC 6455 to see that frames get through in both directions.

The query of the request changes what it does: `refuse=403` answers with that status instead, `protocol=1`
takes the first subprotocol offered, `close=4001&reason=bye` answers the first message by closing, `ping=1`
sends a ping first, `flood=1000` sends so many messages of 64 KiB before it echoes, `stall=1` never reads.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from typing import Final
from urllib.parse import parse_qsl

from hostler.engines.stub.wire import Request, Response, Takeover

KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
FRAME_LIMIT: Final = 64 * 1024 * 1024  # above anything a test sends
CLOSE, PING, PONG = 0x8, 0x9, 0xA
BINARY_MESSAGE: Final = 0x82
FLOOD_MESSAGE: Final = bytes(65_536)


def accept(request: Request) -> Response | Takeover:
    """Turn the connection into an echo, if the request asks for a WebSocket."""
    key = request.headers.get("sec-websocket-key")
    if request.headers.get("upgrade", "").lower() != "websocket" or key is None:
        return Response(
            426, {"upgrade": "websocket", "content-type": "text/plain"}, b"a WebSocket lives here\n"
        )
    wish = dict(parse_qsl(request.query))
    if "refuse" in wish:
        return Response(int(wish["refuse"]), {"content-type": "text/plain"}, b"no WebSocket for you\n")
    token = base64.b64encode(hashlib.sha1(key.encode() + KEY_SUFFIX, usedforsecurity=False).digest())
    chosen = b""
    offered = request.headers.get("sec-websocket-protocol")
    if offered and "protocol" in wish:
        chosen = b"sec-websocket-protocol: " + offered.split(",")[0].strip().encode("latin-1") + b"\r\n"

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + token + b"\r\n" + chosen + b"\r\n"
        )
        with contextlib.suppress(asyncio.IncompleteReadError):
            await _converse(reader, writer, wish)

    return Takeover(run)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: dict[str, str]) -> None:
    if "ping" in wish:
        writer.write(_header(0x80 | PING, 5) + b"hello")
    for _ in range(int(wish.get("flood", "0"))):
        writer.write(_header(BINARY_MESSAGE, len(FLOOD_MESSAGE)) + FLOOD_MESSAGE)
        await writer.drain()
    if "stall" in wish:
        await asyncio.Event().wait()
    if "close" in wish:
        await _frame(reader)
        last = int(wish["close"]).to_bytes(2, "big") + wish.get("reason", "").encode()
        writer.write(_header(0x80 | CLOSE, len(last)) + last)
        await writer.drain()
        await _frame(reader)  # the client's answer
        return
    await _echo(reader, writer)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send every frame back as it came, fragments included; answer pings; end with the client's close."""
    while True:
        first, payload = await _frame(reader)
        opcode = first & 0x0F
        if opcode == PONG:
            continue
        if opcode == PING:
            first = (first & 0xF0) | PONG
        writer.write(_header(first, len(payload)) + payload)
        await writer.drain()
        if opcode == CLOSE:
            return


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte (final flag and opcode) and the unmasked payload of the next frame."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    if length > FRAME_LIMIT:
        raise asyncio.IncompleteReadError(b"", None)
    mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
    payload = await reader.readexactly(length)
    # One big number each is a thousand times quicker than byte by byte.
    stream = (mask * (length // 4 + 1))[:length]
    plain = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return first, plain.to_bytes(length, "big")


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
