"""Who holds a port."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

from hostler.process import port
from hostler.testing import free_port


async def test_a_free_port_is_known_at_once() -> None:
    async with asyncio.timeout(5):
        assert not await port.held(["127.0.0.1", "::1"], free_port(), 60.0)


async def test_a_held_port_is_held_to_the_end_of_patience() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]

        assert await port.held(["::1", "127.0.0.1"], number, 0.1)


async def test_a_port_that_is_let_go() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    number = server.getsockname()[1]
    asyncio.get_running_loop().call_later(0.1, server.close)

    async with asyncio.timeout(10):
        assert not await port.held(["127.0.0.1"], number, 60.0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_holder_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = port.holder(server.getsockname()[1])

    assert found is not None
    assert found.pid == os.getpid()
    assert str(found).startswith(f"process {os.getpid()} (")
    assert len(found.command) <= port.COMMAND_LIMIT


def test_nobody_holds_a_free_port() -> None:
    assert port.holder(free_port()) is None
