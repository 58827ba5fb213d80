"""A whole Hostler behind a real socket, inside a test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hostler import aio
from hostler.app import Hostler
from hostler.config.schema import Config
from hostler.testing.ports import LOOPBACK
from hostler.web.server import make_server, open_sockets


@asynccontextmanager
async def serving(config: Config, *, drain: float = 0.0) -> AsyncIterator[tuple[Hostler, int]]:
    """Serve `config` on a free port of loopback; gives the Hostler and the port.

    At the end running requests get `drain` seconds, then everything is stopped.
    """
    sockets = open_sockets(LOOPBACK, 0)
    hostler = Hostler(config)
    async with hostler:
        server = make_server(hostler.app, log=hostler.hub.proxy, tls=None)
        running = aio.spawn(server.serve(sockets=sockets), name="http server of a test")
        await server.listening.wait()
        try:
            yield hostler, sockets[0].getsockname()[1]
        finally:
            server.stop_listening()
            await hostler.close(drain=drain)
            server.should_exit = True
            await running
