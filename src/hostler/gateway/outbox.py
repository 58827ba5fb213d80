"""Writes that are done together, at the end of a turn of the event loop.

An engine and a client that are woken for one write and sleep again before the next are a quarter of what the
kernel does for a small request. When many are served at once, a turn of the loop has several writes for each
of them: done one behind the other, they find whoever is to read them awake.
"""

from __future__ import annotations

import asyncio

# Requests in progress from which on a turn of the loop mostly has several writes: with fewer, whoever waits
# for a write would only wait longer.
MANY = 4


class Outbox:
    """What is to be written to transports at the end of this turn: small pieces, one for each of them.

    `open` says that writes should come this way: whoever sees that many are served at once sets it, and a
    turn with a single write ends it. Whoever closes a transport, or writes to it in another way, calls
    `flush` first. Only the event loop's thread may call it.
    """

    __slots__ = ("_loop", "_pieces", "open")

    def __init__(self) -> None:
        self.open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pieces: list[tuple[asyncio.Transport, bytes]] = []

    def __len__(self) -> int:
        return len(self._pieces)

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` to `transport` in a moment, unless that is closed by then."""
        if not self._pieces:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self.flush)
        self._pieces.append((transport, data))

    def flush(self) -> None:
        """Write what waits, now."""
        pieces, self._pieces = self._pieces, []
        if len(pieces) == 1:
            self.open = False
        for transport, data in pieces:
            try:
                if not transport.is_closing():
                    transport.write(data)
            except Exception as error:  # noqa: BLE001 - one that cannot be written to must not keep others waiting
                context = {"message": "a write failed", "exception": error, "transport": transport}
                asyncio.get_running_loop().call_exception_handler(context)
