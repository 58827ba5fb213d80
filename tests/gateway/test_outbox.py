"""What must hold: what waits is written once, in order, at the end of the turn."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hostler.gateway.outbox import Outbox


class Wire:
    def __init__(self, *, closing: bool = False, breaks: bool = False) -> None:
        self.sent: list[bytes] = []
        self._closing = closing
        self._breaks = breaks

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes) -> None:
        if self._breaks:
            raise RuntimeError("the handler is closed")
        self.sent.append(data)


def put(outbox: Outbox, wire: Wire, data: bytes) -> None:
    outbox.write(cast("asyncio.Transport", wire), data)


async def test_all_of_a_turn_is_written_at_its_end() -> None:
    outbox, one, other = Outbox(), Wire(), Wire()
    put(outbox, one, b"1")
    put(outbox, other, b"2")
    put(outbox, one, b"3")
    assert (one.sent, other.sent, len(outbox)) == ([], [], 3)
    await asyncio.sleep(0)

    assert (one.sent, other.sent, len(outbox)) == ([b"1", b"3"], [b"2"], 0)
    put(outbox, one, b"4")
    await asyncio.sleep(0)
    assert one.sent == [b"1", b"3", b"4"]


async def test_what_was_put_before_a_task_began_is_written_before_it_runs() -> None:
    outbox, wire = Outbox(), Wire()
    put(outbox, wire, b"first")
    await asyncio.create_task(_write(wire))

    assert wire.sent == [b"first", b"second"]


async def _write(wire: Wire) -> None:
    wire.write(b"second")


async def test_a_flush_writes_now_and_once() -> None:
    outbox, wire = Outbox(), Wire()
    put(outbox, wire, b"1")
    outbox.flush()
    assert wire.sent == [b"1"]
    put(outbox, wire, b"2")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.sent == [b"1", b"2"]


async def test_one_that_cannot_be_written_to_keeps_no_others_waiting() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    outbox, broken, closed, wire = Outbox(), Wire(breaks=True), Wire(closing=True), Wire()
    for each in (broken, closed, wire):
        put(outbox, each, b"x")
    await asyncio.sleep(0)

    assert wire.sent == [b"x"]
    assert closed.sent == []
    assert [str(context["exception"]) for context in told] == ["the handler is closed"]


async def test_a_turn_with_a_single_write_closes_it() -> None:
    outbox, wire = Outbox(), Wire()
    outbox.open = True
    put(outbox, wire, b"1")
    put(outbox, wire, b"2")
    await asyncio.sleep(0)
    assert outbox.open
    put(outbox, wire, b"3")
    await asyncio.sleep(0)
    assert not outbox.open
