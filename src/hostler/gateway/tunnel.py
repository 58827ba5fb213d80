"""Two connections made one: what comes in at one end goes out at the other, untouched and unparsed.

There is no buffer here. An end whose transport is full stops the reading at the other one, so what is held is
bounded by the two transports' own high-water marks (64 KiB, and the one read that passed it). Each direction
ends by itself: the end of input at one end becomes the end of output at the other.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import cast

# How long what is left of a tunnel may stand still once one direction has ended. RFC 6455 (section 7.1.1)
# lets a side wait for the other to close; nginx and HAProxy allow a lingering peer 5 to 30 s.
LINGER_SECONDS = 10.0
# Nobody hears from a connection that is not read, so it is looked at from time to time; a model that was held
# for nothing is let go so much later.
HELD_SECONDS = 5.0
# How long a peer may take nothing of what is there for it. Who waits for it cannot say that it left: behind a
# closed window not even the end of a connection arrives. nginx allows 60 s between two writes.
STALL_SECONDS = 300.0
# Both directions are over, or the peer has reset the connection; the peer sends no more (Linux).
BROKEN = select.POLLERR | select.POLLHUP
HALF = getattr(select, "POLLRDHUP", 0)
# First probe after 15 s of silence, given up after three more 5 s apart: a websocket may be silent for days,
# and nothing else tells of a peer that was switched off.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 15, 5, 3


class End(asyncio.Protocol):
    """One end of a tunnel: the protocol of a connection that was taken over."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End
        self.received = 0  # bytes
        self.finished = False  # its input has ended
        self.lost = False
        self._tunnel = tunnel
        self._full = False
        self._held: asyncio.TimerHandle | None = None
        self._looks = 0  # since the other end took something
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of the right shape, but of no class of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        transport = self.other.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def eof_received(self) -> bool:
        transport = self.transport
        if transport is None:
            return False
        if not self.finished:
            self.finished = True
            self.other.end_output()
            self._tunnel.ending()
        # TLS knows no half-closed connection.
        return transport.can_write_eof() and not self.other.finished

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.finished = True
        self._stop_looking()
        transport = self.other.transport
        if transport is not None and not self.other.lost:
            # What it was sent still arrives; then it sees an end without a close frame.
            transport.close()
        self._tunnel.ending()

    def pause_writing(self) -> None:
        self._full = True
        self.other.hold()

    def resume_writing(self) -> None:
        self._full = False
        self.other.go_on()

    def hold(self) -> None:
        """Read no more: the other end is full."""
        if self.transport is not None and not self.finished:
            self.transport.pause_reading()
            self._looks = 0
            self._look_later()

    def go_on(self) -> None:
        """Read on, unless the other end is full."""
        if self.transport is not None and not self.finished and not self.other._full:
            self._stop_looking()
            self.transport.resume_reading()

    def end_output(self) -> None:
        """Nothing more will be written to this end."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof() and not self.finished:
            transport.write_eof()
        else:
            transport.close()

    def _look_later(self) -> None:
        self._held = asyncio.get_running_loop().call_later(HELD_SECONDS, self._look)

    def _stop_looking(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None

    def _look(self) -> None:
        """Ask the system whether the peer is still there, since nobody reads what would tell."""
        self._held = None
        if self.transport is None or self.transport.is_closing():
            return
        found = condition(self.transport.get_extra_info("socket"))
        unsent = self.other.unsent()
        self._looks = self._looks + 1 if unsent == self._unsent else 0
        self._unsent = unsent
        if found & BROKEN or self._looks * HELD_SECONDS > STALL_SECONDS:
            self.other.abort()  # what it was sent, it does not take
            self.transport.abort()
            return
        if found & HALF:
            self._tunnel.ending()  # its last words may still be wanted
        self._look_later()

    def abort(self) -> None:
        self._stop_looking()
        if self.transport is not None and not self.lost:
            self.transport.abort()

    def unsent(self) -> int:
        """Bytes that the peer at this end has not taken yet."""
        return self.transport.get_write_buffer_size() if self.transport is not None and not self.lost else 0


class Tunnel:
    """The two ends, and when it is over.

    The ends are to be made the protocols of two connections whose reading is paused (`connection_made` of
    each called); then `run` sets them going.
    """

    def __init__(self) -> None:
        self.client, self.engine = End(self), End(self)
        self.client.other, self.engine.other = self.engine, self.client
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._progress: tuple[int, ...] = ()

    async def run(self, *, from_client: bytes = b"", from_engine: bytes = b"") -> int:
        """Pass on until both ends have closed; returns how many bytes came from the engine.

        `from_client` and `from_engine` came too early and go first. Cancelling it ends both connections.
        """
        try:
            for end, early in ((self.client, from_client), (self.engine, from_engine)):
                if early:
                    end.data_received(early)
            self.client.go_on()
            self.engine.go_on()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self.client.abort()
            self.engine.abort()
        return self.engine.received

    def ending(self) -> None:
        """One direction has ended, or one connection: the rest is given a while."""
        if self.client.lost and self.engine.lost:
            if not self._over.done():
                self._over.set_result(None)
        elif self._timer is None:
            self._watch()

    def _watch(self) -> None:
        self._progress = self._measure()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._look)

    def _look(self) -> None:
        if self._measure() != self._progress:
            self._watch()
            return
        self.client.abort()
        self.engine.abort()

    def _measure(self) -> tuple[int, ...]:
        return self.client.received, self.engine.received, self.client.unsent(), self.engine.unsent()


def condition(sock: socket.socket | None) -> int:
    """What the system knows of a connection without reading it: BROKEN, HALF, or 0."""
    if sock is None:
        return 0
    poll = select.poll()
    poll.register(sock.fileno(), HALF)
    return sum(event for _, event in poll.poll(0))


def keep_alive(sock: socket.socket | None) -> None:
    """Let the system find out when the peer at the other side of a silent TCP connection is gone."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
        if idle is not None:
            sock.setsockopt(socket.IPPROTO_TCP, idle, KEEPALIVE_IDLE)
        if hasattr(socket, "TCP_KEEPINTVL"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    except OSError:
        pass  # a peer that is gone already; nothing depends on it
