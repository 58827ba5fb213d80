"""The reference that is always there: `python -m bench.relay --port N --to M` passes bytes both ways.

It knows nothing of HTTP: a connection to the upstream for each of a client's, one read and one write for
each piece, on uvloop. So it is what a Python process cannot do without, and the regression gate needs no
program that may not be installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from functools import partial
from typing import Final, cast

BACKLOG: Final = 2048


class End(asyncio.Protocol):
    """One end of a connection; what it reads goes out at the other."""

    def __init__(self, other: End | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self._other = other
        self._early: list[bytes] = []  # came before the other end was connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._other is not None:
            self._other.joined(self)

    def joined(self, other: End) -> None:
        """The other end is there."""
        self._other = other
        assert other.transport is not None
        if self.transport is None or self.transport.is_closing():
            other.transport.close()
        elif self._early:
            other.transport.write(b"".join(self._early))
            self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._other is None or self._other.transport is None:
            self._early.append(data)
        else:
            self._other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.close()


class Front(End):
    """The client's end: it has the other one made."""

    def __init__(self, to: int) -> None:
        super().__init__()
        self._to = to
        self._connecting: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(loop.create_connection(partial(End, self), "127.0.0.1", self._to))


async def serve(port: int, to: int) -> None:
    """Relay on loopback until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Front, to), "127.0.0.1", port, backlog=BACKLOG)
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    """Serve on the port of the command line."""
    import uvloop

    parser = argparse.ArgumentParser(description="The reference of the regression gate.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.to))


if __name__ == "__main__":
    main()
