"""Warm models, asked both ways: at once, by `hostler.gateway.express`, and as a task with its scope.

Whatever a client, an engine or an operator sees must be the same. A test with the fixture `lane` runs once
for each way; `lane.took(n)` tells that it really was the one that was meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hostler.gateway.express import Express
from hostler.web.app import WebApp

from .client import Client, request
from .server import CHAT, ONLY_SEND, Front, config, in_process, question, raw_engine, running, until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'

Deed = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An engine that thinks, until it is left."""
    await reader.read(1)


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An engine that ends the connection."""


class Lane:
    """Which way requests take, and those that took the short one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, short: bool) -> None:
        self.short = short
        self.taken: list[Express] = []
        begin = Express.begin

        def noted(one: Express, *arguments: Any) -> None:
            self.taken.append(one)
            begin(one, *arguments)

        monkeypatch.setattr(Express, "begin", noted)
        if not short:
            monkeypatch.setattr(WebApp, "at_once", frozenset())

    def took(self, count: int) -> None:
        assert len(self.taken) == (count if self.short else 0)


@pytest.fixture(params=["at once", "as a task"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lane:
    if ONLY_SEND and request.param == "at once":
        pytest.skip("there is one way only")
    return Lane(monkeypatch, short=request.param == "at once")


@dataclass
class Engine:
    """Answers its first request with `OK`, and does with every other what `then` says.

    Where that is a function, the connection ends with it.
    """

    then: bytes | Deed = OK
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    left: int = 0  # connections that ended

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = self.header("content-length")
                self.bodies.append(await reader.readexactly(int(length[0]) if length else 0))
                if len(self.heads) == 1:
                    writer.write(OK)
                elif isinstance(self.then, bytes):
                    writer.write(self.then)
                else:
                    await self.then(reader, writer)
                    return
        finally:
            self.left += 1

    def header(self, name: str) -> list[str]:
        pairs = [line.partition(b":") for line in self.heads[-1].split(b"\r\n")[1:]]
        return [value.strip().decode("latin-1") for key, _, value in pairs if key.decode().lower() == name]


@asynccontextmanager
async def warm(
    then: bytes | Deed = OK,
    *,
    settings: dict[str, Any] | None = None,
    headers: Any = (),
    tls: tuple[str, str] | None = None,
    **fields: Any,
) -> AsyncIterator[tuple[Front, Engine]]:
    """A model `a` that is up, with a warm connection to its engine; one request was made."""
    engine = Engine(then)
    async with raw_engine(engine.serve) as port:
        configured = config(in_process("a", port, **fields), **(settings or {}))
        async with running(configured, tls=tls) as front:
            if tls is None:
                answer = await front.ask("POST", CHAT, question("a"), headers)
                assert answer.body == b"ok"
            yield front, engine


async def asked(front: Front, *, stream: bool = False, headers: Any = ()) -> Client:
    """A chat request that was sent."""
    client = await front.connect()
    await client.send(request("POST", CHAT, question("a", stream=stream), headers))
    return client


async def told(front: Front, count: int, path: str = CHAT) -> list[tuple[str, int]]:
    """(status, bytes) of the access lines for `path`, as soon as there are `count`; there are no more."""

    def lines() -> list[str]:
        front.hostler.app.write_lines()
        history = front.log("proxy").history().decode().splitlines()
        return [line for line in history if f'"POST {path} HTTP/1.1"' in line]

    await until(lambda: len(lines()) >= count, f"{count} access lines")
    assert len(lines()) == count
    words = [line.partition(' HTTP/1.1" ')[2].split(" ") for line in lines()]
    return [(status, int(size)) for status, size, *_ in words]


async def left_behind(front: Front, count: int, headers: Any = ()) -> dict[str, Any]:
    """The newest of `count` rows of activity, once nothing else is left of any request."""
    await front.until_idle()
    await until(lambda: not front.hostler.gateway.in_flight.entries(), "nothing in flight")
    await until(lambda: front.hostler.gateway.budget.held == 0, "no body held")
    front.hostler.observatory.recorder.flush()
    answer = await front.get("/api/metrics/activity?sort=id&order=desc&limit=10", headers)
    assert answer.status == 200, front.log("proxy").history().decode()
    found = answer.json()
    assert found["total"] == count, "one row for each request"
    newest: dict[str, Any] = found["data"][0]
    return newest


async def ended(
    front: Front, *, status: int, size: int, kind: str, count: int = 2, sent: int | None = None
) -> dict[str, Any]:
    """The row of the newest request, which ended so: what the log and the activity say of it is the same.

    `size` is what the access line says, `sent` what the row does: there what is of our own has no bytes.
    """
    row = await left_behind(front, count)
    assert (row["resp_status_code"], row["error_kind"]) == (status, kind)
    assert row["bytes_out"] == (size if sent is None else sent)
    lines = await told(front, count)
    assert lines[-1] == (str(status) if status else "-", size)
    return row
