"""What must hold: connections are reused, a dead one is replaced once, a full reader pauses the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hostler.clock import ManualClock
from hostler.errors import UpstreamFailed
from hostler.gateway.origin import Origin
from hostler.gateway.pool import MAX_IDLE, Pool, Unreachable
from hostler.gateway.sinks import ConnectionLost
from hostler.gateway.upstream import exchange, request_head

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def engine(handler: Handler) -> AsyncIterator[Origin]:
    """A server on a free port that treats each connection with `handler`."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Origin("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask(pool: Pool, *, timeout: float = 0.0) -> bytes:
    head = request_head(b"POST", b"/", pool.origin.authority, [(b"content-length", b"0")])
    answer, _ = await exchange(pool, "POST", head, b"", response_timeout=timeout)
    body = b""
    try:
        while data := await answer.read():
            body += data
    finally:
        answer.close()
    return body


async def test_a_connection_is_reused() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK)

    async with engine(handler) as origin:
        pool = Pool(origin)
        for _ in range(5):
            assert await ask(pool) == b"ok"
        pool.close()

    assert connections == 1


async def test_a_connection_that_the_engine_had_closed_is_replaced_once() -> None:
    requests = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(OK)
        # The next request on this connection is read and then not answered, as when an idle time ran out.
        await reader.readuntil(b"\r\n\r\n")

    async with engine(handler) as origin:
        pool = Pool(origin)
        assert await ask(pool) == b"ok"
        assert await ask(pool) == b"ok"
        pool.close()

    assert requests == 2


async def test_a_request_that_the_engine_had_in_hand_is_not_sent_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It took its time before it closed the connection, so it may have done what it was asked."""
    monkeypatch.setattr("hostler.gateway.upstream.STALE_SECONDS", -1.0)
    requests = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        requests += 1

    async with engine(handler) as origin:
        pool = Pool(origin)
        await ask(pool)
        with pytest.raises(ConnectionLost):
            await ask(pool)

    assert requests == 2


async def test_an_engine_that_died_over_a_request_is_not_called_unreachable() -> None:
    """The connection was lost with the request on it; that nobody listens any more is only the sequel."""
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        gone.set()
        await closed.wait()
        writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    pool = Pool(Origin("http", "127.0.0.1", server.sockets[0].getsockname()[1]))
    await ask(pool)
    asking = asyncio.ensure_future(ask(pool))
    await gone.wait()
    server.close()
    await asyncio.sleep(0)
    closed.set()

    with pytest.raises(ConnectionLost):
        await asking


async def test_a_fresh_connection_that_is_closed_is_a_failure() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with engine(handler) as origin:
        with pytest.raises(UpstreamFailed, match="without answering"):
            await ask(Pool(origin))


async def test_nobody_there() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with engine(handler) as origin:
        pass
    with pytest.raises(Unreachable, match="connection refused"):
        await ask(Pool(origin))


async def test_an_engine_that_does_not_begin_to_answer() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with engine(handler) as origin:
        with pytest.raises(UpstreamFailed, match=r"did not begin to answer within 0\.05 s"):
            await ask(Pool(origin), timeout=0.05)


async def test_a_reader_that_stands_still_pauses_the_engine() -> None:
    total = 16 * 1024 * 1024
    piece = b"x" * 65536
    sent = 0
    stalled = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // len(piece)):
            writer.write(piece)
            try:
                async with asyncio.timeout(0.2):
                    await writer.drain()
            except TimeoutError:
                stalled.set()
                await writer.drain()
            sent += len(piece)

    async with engine(handler) as origin:
        pool = Pool(origin)
        head = request_head(b"GET", b"/", b"x", [])
        answer, _ = await exchange(pool, "GET", head, b"")
        await stalled.wait()
        held = sent
        received = 0
        while data := await answer.read():
            received += len(data)
        answer.close()
        pool.close()

    assert received == total
    assert held < total


async def test_idle_connections_are_bounded_and_age() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK)

    clock = ManualClock()
    async with engine(handler) as origin:
        pool = Pool(origin, idle=90, clock=clock)
        connections = [await pool.connect() for _ in range(MAX_IDLE + 3)]
        for connection in connections:
            pool.give_back(connection)
        assert repr(pool).endswith(f"{MAX_IDLE} idle>")
        clock.advance(91)

        assert pool.take() is None
        assert repr(pool).endswith(" 0 idle>")


async def test_cancelling_the_reader_ends_the_request_at_the_engine() -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        gone.set()

    async with engine(handler) as origin:
        answer, _ = await exchange(Pool(origin), "GET", request_head(b"GET", b"/", b"x", []), b"")
        assert await answer.read() == b"x"
        waiting = asyncio.get_running_loop().create_task(answer.read())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        answer.close()
        async with asyncio.timeout(2):
            await gone.wait()
