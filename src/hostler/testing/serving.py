"""A whole Hostler behind a real socket, inside a test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hostler.app import Hostler, http_server
from hostler.config.schema import Config
from hostler.testing.ports import LOOPBACK
from hostler.web.server import open_sockets


@asynccontextmanager
async def serving(config: Config, *, drain: float = 0.0) -> AsyncIterator[tuple[Hostler, int]]:
    """Serve `config` on a free port of loopback; gives the Hostler and the port.

    At the end running requests get `drain` seconds, then everything is stopped.
    """
    sockets = open_sockets(LOOPBACK, 0)
    async with Hostler(config) as hostler, http_server(hostler, sockets, drain=drain):
        yield hostler, sockets[0].getsockname()[1]
