"""What must hold: a block ends with `ClientGone` when the client goes, and with nothing else changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hostler.gateway.edge import ClientGone, PlainEdge, Truncated, cancelled_when_gone, edge_of


class Door:
    """An edge that is told from outside."""

    def __init__(self, *, gone: bool = False) -> None:
        self.callback: Callable[[], None] | None = None
        self.gone = gone
        self.task: asyncio.Task[Any] | None = None

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        self.callback = callback
        if callback is not None and self.gone:
            callback()

    def abort(self) -> None:
        raise AssertionError

    def writer(self) -> None:
        return None

    def body_now(self) -> None:
        return None


async def test_what_is_awaited_ends_when_the_client_goes() -> None:
    door = Door()
    undone: list[str] = []

    async def serve() -> None:
        with cancelled_when_gone(door):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                undone.append("yes")

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    assert door.callback is not None
    door.callback()

    with pytest.raises(ClientGone):
        await task
    assert undone == ["yes"]
    assert door.callback is None


async def test_a_client_that_is_gone_already_is_noticed_at_the_first_await() -> None:
    with pytest.raises(ClientGone), cancelled_when_gone(Door(gone=True)):
        await asyncio.sleep(0)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    door = Door()

    async def serve() -> None:
        with cancelled_when_gone(door):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert door.callback is None


async def test_an_error_comes_through_and_the_callback_is_withdrawn() -> None:
    door = Door()
    with pytest.raises(ValueError, match="mine"), cancelled_when_gone(door):
        raise ValueError("mine")
    assert door.callback is None


async def test_without_help_from_the_server_the_message_is_waited_for() -> None:
    messages: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    edge = PlainEdge(messages.get)
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    messages.put_nowait({"type": "http.disconnect"})

    with pytest.raises(ClientGone), cancelled_when_gone(edge):
        await asyncio.get_running_loop().create_future()
    with pytest.raises(Truncated):
        edge.abort()


async def test_the_servers_own_edge_is_preferred() -> None:
    door = Door()
    messages: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    assert edge_of({"extensions": {"hostler.edge": door}}, messages.get) is door
    assert isinstance(edge_of({}, messages.get), PlainEdge)
