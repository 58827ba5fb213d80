"""An engine that answers every request with what it got, byte for byte, as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .client import Answer
from .server import raw_engine


@dataclass(frozen=True)
class Seen:
    """A request as the engine saw it; header names in lower case, `body` as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def seen(answer: Answer) -> Seen:
    """What the engine saw of the request that was answered so."""
    assert answer.status == 200, answer.body
    found = answer.json()
    return Seen(found["method"], found["target"], found["headers"], found["body"].encode("latin-1"))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split(" ")
        found = {"method": method, "target": target, "headers": headers, "body": body.decode("latin-1")}
        data = json.dumps(found).encode()
        kind = b"Content-Type: application/json\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()


@asynccontextmanager
async def mirror() -> AsyncIterator[int]:
    """Runs one; gives its port."""
    async with raw_engine(_answer) as port:
        yield port
