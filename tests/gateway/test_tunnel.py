"""What must hold: bytes go through unchanged, each direction ends by itself, and nothing is held for ever."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.gateway import tunnel as tunnel_module
from hostler.gateway.tunnel import BROKEN, HALF, End, Tunnel, condition


class Wire:
    """A transport without a socket."""

    def __init__(self, *, half: bool = True) -> None:
        self.sent = b""
        self.reading = False
        self.state = "open"
        self.half = half
        self.unsent = 0

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        assert self.state == "open"
        self.sent += data

    def can_write_eof(self) -> bool:
        return self.half

    def write_eof(self) -> None:
        assert self.state == "open"
        self.state = "half"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def is_closing(self) -> bool:
        return self.state in ("closed", "aborted")

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


def joined(*, half: bool = True) -> tuple[Tunnel, Wire, Wire]:
    tunnel = Tunnel()
    client, engine = Wire(half=half), Wire()
    for end, wire in ((tunnel.client, client), (tunnel.engine, engine)):
        end.connection_made(cast("asyncio.BaseTransport", wire))
    return tunnel, client, engine


def close(end: End) -> None:
    end.connection_lost(None)


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1))), st.binary(), st.binary())
def test_bytes_arrive_in_order_and_unchanged(
    pieces: list[tuple[bool, bytes]], from_client: bytes, from_engine: bytes
) -> None:
    async def play() -> None:
        tunnel, client, engine = joined()
        running = asyncio.create_task(tunnel.run(from_client=from_client, from_engine=from_engine))
        await asyncio.sleep(0)
        for to_engine, data in pieces:
            (tunnel.client if to_engine else tunnel.engine).data_received(data)
        close(tunnel.client)
        close(tunnel.engine)
        assert await running == len(client.sent)
        assert engine.sent == from_client + b"".join(data for to_engine, data in pieces if to_engine)
        assert client.sent == from_engine + b"".join(data for to_engine, data in pieces if not to_engine)

    asyncio.run(play())


async def test_an_end_that_is_full_stops_the_reading_at_the_other() -> None:
    tunnel, client, engine = joined()
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)

    def reading() -> tuple[bool, bool]:
        return client.reading, engine.reading

    assert reading() == (True, True)

    tunnel.client.pause_writing()
    assert reading() == (True, False)
    tunnel.client.resume_writing()
    assert reading() == (True, True)

    close(tunnel.client)
    close(tunnel.engine)
    await running


async def test_an_end_that_was_full_from_the_beginning_is_waited_for() -> None:
    tunnel, _, engine = joined()
    tunnel.client.pause_writing()
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)
    reading = [engine.reading]
    tunnel.client.resume_writing()
    reading.append(engine.reading)
    assert reading == [False, True]
    close(tunnel.client)
    close(tunnel.engine)
    await running


async def test_each_direction_ends_by_itself() -> None:
    tunnel, client, engine = joined()
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)

    assert tunnel.client.eof_received() is True
    assert (client.state, engine.state) == ("open", "half")
    tunnel.engine.data_received(b"the rest")
    assert client.sent == b"the rest"
    tunnel.client.pause_writing()
    tunnel.client.resume_writing()
    assert tunnel.engine.eof_received() is False  # so the transport closes itself
    assert client.state == "closed"

    close(tunnel.engine)
    close(tunnel.client)
    assert await running == 8


async def test_tls_cannot_be_half_closed() -> None:
    tunnel, client, engine = joined(half=False)
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)
    assert tunnel.engine.eof_received() is True
    assert client.state == "closed"
    close(tunnel.client)
    close(tunnel.engine)
    await running

    tunnel, client, engine = joined(half=False)
    assert tunnel.client.eof_received() is False
    assert engine.state == "half"


async def test_a_lost_connection_closes_the_other() -> None:
    tunnel, client, _ = joined()
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)
    tunnel.engine.connection_lost(ConnectionResetError())
    assert client.state == "closed"
    assert not running.done()
    tunnel.client.data_received(b"too late")
    close(tunnel.client)
    await running


async def test_what_moves_is_waited_for_and_what_stands_still_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel_module, "LINGER_SECONDS", 0.0)
    tunnel, client, engine = joined()
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)
    client.unsent = 10
    tunnel.engine.connection_lost(None)
    while client.unsent:
        client.unsent -= 1  # its client reads on
        tunnel._look()
        assert client.state == "closed"
    tunnel._look()
    assert client.state == "aborted"
    assert engine.state == "open"
    close(tunnel.client)
    await running


async def test_cancelling_ends_both() -> None:
    tunnel, client, engine = joined()
    running = asyncio.create_task(tunnel.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (client.state, engine.state) == ("aborted", "aborted")


def test_the_system_tells_of_a_peer_without_reading() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        theirs, _ = server.accept()
        assert condition(ours) == 0
        theirs.sendall(b"unread")
        assert condition(ours) == 0
        theirs.shutdown(socket.SHUT_WR)
        assert condition(ours) == HALF
        ours.sendall(b"unread as well: a reset")
        theirs.close()
        assert condition(ours) & BROKEN
    assert condition(None) == 0
