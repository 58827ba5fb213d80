"""Many small requests at once: their writes are done together, and nobody's answer is lost or another's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hostler.gateway.outbox import MANY, Outbox

from .server import CHAT, ONLY_SEND, Front, config, in_process, question, raw_engine, running

CLIENTS = 16
EACH = 20


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An engine that answers with what it was asked."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: %d\r\n\r\n%b" % (length, body))


async def ask(front: Front, number: int) -> None:
    client = await front.connect()
    for count in range(EACH):
        asked: dict[str, Any] = question("a", number=number, count="x" * count)
        last = count == EACH - 1
        answer = await client.ask("POST", CHAT, asked, [("connection", "close")] if last else ())
        assert answer.complete
        assert answer.json() == asked
    assert await client.reader.read() == b""


async def test_each_client_gets_its_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []
    flush = Outbox.flush

    def noted(outbox: Outbox) -> None:
        together.append(len(outbox))
        flush(outbox)

    monkeypatch.setattr(Outbox, "flush", noted)
    async with raw_engine(echo) as port, running(config(in_process("a", port))) as front:
        await ask(front, CLIENTS)  # starts the model
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(ask(front, number))
        await front.until_idle()
        front.hostler.observatory.recorder.flush()
        rows = (await front.get("/api/metrics/activity?limit=1")).json()["total"]

    assert rows == (CLIENTS + 1) * EACH
    if not ONLY_SEND:
        assert max(together) >= MANY
