"""One GET to an engine, for its status only: as small as a question asked hundreds of times should be."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import select
import socket
import ssl
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

BODY_LIMIT: Final = 64 * 1024
"""Bytes of an answer that are read for politeness; the status is all we want."""
BODY_PATIENCE: Final = 0.1
"""Seconds the body may take after the headers; hanging up at once makes some servers print a trace."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask: the addresses to try in turn, and the request."""

    addresses: tuple[str, ...]
    port: int
    tls: bool
    server_name: str
    request: bytes

    @classmethod
    def parse(cls, base: str, path: str) -> Target:
        """From an engine's base URL and a path below it; ValueError when it is no such URL."""
        url = urlsplit(base.strip())
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{base!r} is not an http or https URL")
        tls = url.scheme == "https"
        port = url.port or (443 if tls else 80)
        full = url.path.rstrip("/") + "/" + path.lstrip("/")
        lines = (
            f"GET {full} HTTP/1.1",
            f"Host: {url.netloc.rpartition('@')[2]}",
            "User-Agent: hostler",
            "Accept: */*",
            "Connection: close",
        )
        if any(char <= " " or char == "\x7f" for line in (full, url.netloc) for char in line):
            raise ValueError(f"{base!r} with {path!r} is not a URL")
        request = "\r\n".join((*lines, "", "")).encode()
        return cls(addresses(url.hostname), port, tls, url.hostname, request)

    @property
    def loopback(self) -> bool:
        """Whether the engine is on this machine, as far as its address says so."""
        return is_loopback(self.addresses[0])


def addresses(host: str) -> tuple[str, ...]:
    """What to connect to for `host`, in turn."""
    # Asking the resolver for this name costs a thread and a millisecond, and the answer is known.
    return ("127.0.0.1", "::1") if host.lower().rstrip(".") == "localhost" else (host,)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of the loopback interface (or the unspecified one, which leads there)."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@functools.cache
def tls_context(*, verify: bool) -> ssl.SSLContext:
    """For connections to engines; made once, as it reads the system's certificates."""
    context = ssl.create_default_context()
    if not verify:  # nobody has a certificate for 127.0.0.1
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Check(asyncio.Protocol):
    """Sends the request and resolves `status`; httptools calls the `on_…` methods."""

    def __init__(self, request: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._read = 0
        self._patience: asyncio.TimerHandle | None = None
        self._code = 0
        self.status: asyncio.Future[int] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of the right shape, but of no class of asyncio's.
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
        except httptools.HttpParserError as error:
            self._finish(ValueError(f"not an HTTP answer: {error}"))
        if self._read >= BODY_LIMIT:
            self._finish(ValueError("not an HTTP answer: endless headers"))

    def on_headers_complete(self) -> None:
        code = self._parser.get_status_code()
        if code >= 200 or code == 101:
            self._code = code
            self._patience = self._loop.call_later(BODY_PATIENCE, self._finish)

    def on_message_complete(self) -> None:
        if self._code:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionResetError("closed without an answer"))

    def _finish(self, error: Exception | None = None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self.status.done():
            return
        if self._code:
            self.status.set_result(self._code)
        else:
            self.status.set_exception(error or ConnectionResetError("closed without an answer"))


def dial(address: str, port: int) -> socket.socket | None:
    """A connection to an address of this machine; None when it is not made at once, or is elsewhere.

    Linux has made or refused it when the call returns, which costs a tenth of what an event loop takes for
    the same. Raises OSError.
    """
    if sys.platform != "linux" or not is_loopback(address):
        return None
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        error = made.connect_ex((address, port))
        if error == errno.EINPROGRESS and _writable(made):
            error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error and error != errno.EINPROGRESS:  # that is an engine that has no room for another one
            raise OSError(error, os.strerror(error))
    except BaseException:
        made.close()
        raise
    if error:
        made.close()
        return None
    return made


def _writable(made: socket.socket) -> bool:
    poller = select.poll()
    poller.register(made, select.POLLOUT)
    return bool(poller.poll(0))


async def _ask(target: Target, address: str) -> int:
    loop = asyncio.get_running_loop()
    context = tls_context(verify=not target.loopback) if target.tls else None
    connect = functools.partial(
        loop.create_connection,
        lambda: _Check(target.request),
        ssl=context,
        server_hostname=target.server_name if target.tls else None,
    )
    made = dial(address, target.port)
    if made is not None:
        # Somebody listens. The loop makes a connection of its own: one that is given to it and cancelled
        # meanwhile, uvloop closes without the socket's knowledge, which then closes a descriptor of others.
        made.close()
    transport, check = await connect(address, target.port)
    try:
        status: int = await check.status
        return status
    finally:
        transport.abort()


async def get_status(target: Target, timeout: float) -> int:
    """The status `target` answers with; OSError (TimeoutError among them) or ValueError when none."""
    async with asyncio.timeout(timeout):
        for address in target.addresses[:-1]:
            try:
                return await _ask(target, address)
            except ConnectionRefusedError:
                continue  # "localhost" has two addresses, and an engine may listen at either
        try:
            return await _ask(target, target.addresses[-1])
        except ConnectionRefusedError:
            raise
        except OSError as error:
            if len(target.addresses) > 1 and not isinstance(error, (TimeoutError, ConnectionError)):
                raise ConnectionRefusedError("connection refused") from error  # a machine without IPv6
            raise
