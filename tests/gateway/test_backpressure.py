"""What must hold: a connection that was held back is given back able to hear."""

from __future__ import annotations

import asyncio
from typing import cast

from hostler.gateway.connection import Connection
from hostler.gateway.edge import Writer
from hostler.gateway.origin import Origin
from hostler.gateway.pool import Pool
from hostler.gateway.relay import Relay
from hostler.gateway.upstream import Exchange


class Wire(asyncio.Transport):
    """A transport that only notes whether it is being read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return False


async def test_the_end_of_an_answer_ends_the_pause() -> None:
    origin = Origin("http", "127.0.0.1", 1)
    pool = Pool(origin)
    connection = Connection(origin, pool)
    wire = Wire()
    connection.connection_made(wire)
    answer = Exchange(asyncio.get_running_loop(), high=1000)
    answer.connection = connection
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", answer, method="GET")

    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + b"x" * 1500)
    held_back = wire.reading
    connection.data_received(b"x" * 1500)  # was on its way already

    assert held_back is False
    assert pool.take() is connection
    assert wire.reading
    assert len(await answer.read()) == 3000


async def test_who_is_behind_with_what_is_all_here_holds_back_nobody_else() -> None:
    """The whole answer is here before its client is looked at: its connection serves others by then."""
    origin = Origin("http", "127.0.0.1", 1)
    pool = Pool(origin)
    connection = Connection(origin, pool)
    wire = Wire()
    connection.connection_made(wire)
    answer = Exchange(asyncio.get_running_loop())
    answer.connection = connection
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", answer, method="GET")
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
    assert pool.take() is connection

    answer.hand_over(Relay(cast("Writer", Behind()), connection, None))

    assert wire.reading


class Behind:
    """Takes an answer, and is behind from its first byte on."""

    def write(self, data: bytes) -> bool:
        return True

    def on_drain(self, callback: object) -> None:
        """It never catches up."""
