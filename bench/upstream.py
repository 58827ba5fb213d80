"""The upstream of streams: `python -m bench.upstream --port N`.

Answers every POST with server-sent events in the shape of a chat completion: `max_tokens` chunks, one each
`pace_ms` milliseconds or, when that is 0, as fast as the reader takes them. Every event is an HTTP chunk.
Each holds `MARK` once, followed by the monotonic time in nanoseconds at which it was written, so a client on
the same machine can count events and knows how old they are without parsing anything. A request without
`stream` gets a small whole answer.

It is a bare `asyncio.Protocol` on uvloop: what it costs per chunk is below what any proxy costs (some 4 µs
paced, 0.1 µs at full speed), and its processor time is not counted in anything.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import time
from typing import Any, Final, cast

from bench.requests import ANSWER

MARK: Final = b"~"  # is nowhere else in a stream
STAMP_DIGITS: Final = 19
BURST: Final = 64  # chunks per write at full speed: some 14 KB, as much as engines hand over at once
BACKLOG: Final = 2048

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
WHOLE: Final = (
    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n{ANSWER}"
).encode()
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
FRONT: Final = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"streams",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"stamp":"'
)
BACK: Final = b'"}\n\n'
USAGE: Final = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"streams",'
    b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":100,"total_tokens":109}}\n\n'
)
DONE: Final = b"data: [DONE]\n\n"
SIZE: Final = len(FRONT) + len(MARK) + STAMP_DIGITS + len(BACK)
FRAME: Final = b"%x\r\n" % SIZE


def chunk(stamp: int) -> bytes:
    """One event as an HTTP chunk."""
    return b"%s%s%s%019d%s\r\n" % (FRAME, FRONT, MARK, stamp, BACK)


def framed(data: bytes) -> bytes:
    """`data` as an HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


ONE: Final = chunk(0)
MANY: Final = ONE * BURST
END: Final = framed(USAGE) + framed(DONE) + b"0\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._left = 0
        self._pace = 0.0
        self._due = 0.0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) >= size:
            self._buffer = rest[size:]
            self._answer(json.loads(rest[:size]) if size else {})

    def _answer(self, request: dict[str, Any]) -> None:
        assert self._transport is not None
        if not request.get("stream"):
            self._transport.write(WHOLE)
            return
        self._transport.write(HEAD)
        self._left = int(request["max_tokens"])
        self._pace = float(request["pace_ms"]) / 1000
        if self._pace:
            self._due = self._loop.time()
            self._tick()
        else:
            self._pour()

    def _tick(self) -> None:
        if self._transport is None:
            return
        if not self._left:
            self._transport.write(END)
            return
        self._transport.write(chunk(time.monotonic_ns()))
        self._left -= 1
        self._due += self._pace
        self._loop.call_at(self._due, self._tick)

    def _pour(self) -> None:
        if self._transport is None or self._paused:
            return
        if not self._left:
            self._transport.write(END)
            return
        count = min(self._left, BURST)
        self._left -= count
        self._transport.write(MANY if count == BURST else ONE * count)
        self._loop.call_soon(self._pour)  # the other streams have their turn

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if not self._pace:
            self._pour()


async def serve(port: int) -> None:
    """Serve on loopback until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", port, backlog=BACKLOG)
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    """Serve on the port of the command line."""
    import uvloop

    parser = argparse.ArgumentParser(description="The upstream of streams of the benchmark suite.")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
