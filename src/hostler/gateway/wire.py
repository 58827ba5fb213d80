"""The socket of a connection to an engine: read or left unread, and given up."""

from __future__ import annotations

import asyncio
from typing import cast

# Above this, several writes are cheaper than a copy of what is written; on either side of us.
COPIED_BYTES = 65_536


class Wire(asyncio.Protocol):
    """What a connection does with its transport, whatever goes over it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.transport: asyncio.Transport | None = None
        self._reusable = True
        self._paused = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on; kept, as Python 3.11 makes a system call to tell which one runs."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def closed(self) -> bool:
        """Whether the connection can carry no further request."""
        return self.transport is None or self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of the right shape, but of no class of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> bool:
        return False

    def pause(self) -> None:
        """Stop reading: the sink is full."""
        if self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _close(self) -> None:
        self._reusable = False
        if self.transport is not None:
            self.transport.abort()
