"""uvicorn, driven by Hostler: our protocol class, our signals, our order of shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from hostler.errors import ConfigError
from hostler.logs.levels import Level
from hostler.logs.monitor import LogMonitor
from hostler.web.protocol import HostlerProtocol

# nginx keeps an idle client connection for 75 s.
KEEP_ALIVE_SECONDS = 75
# What a client may still take to read the end of its answer once everything else has stopped.
LAST_WORDS_SECONDS = 2


class ProxyLogHandler(logging.Handler):
    """Passes uvicorn's warnings and errors on to the proxy's own log, without tracebacks of ours."""

    def __init__(self, log: LogMonitor) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = f"{text}: {type(error).__name__}: {error}"
        self._log.log(Level.ERROR if record.levelno >= logging.ERROR else Level.WARN, text)


class Server(UvicornServer):
    """An HTTP server that leaves signals to its owner and can stop listening before it stops."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def stop_listening(self) -> None:
        """Take no new connections; those that are open go on, and their requests are still answered."""
        for server in self.servers:
            server.close()


def make_server(app: Any, *, log: LogMonitor, tls: tuple[str, str] | None) -> Server:
    """A server for `app`; `tls` is (certificate file, key file)."""
    handler = ProxyLogHandler(log)
    logger = logging.getLogger("uvicorn.error")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    # What goes wrong with processes is written without knowing of our logs.
    logging.getLogger("hostler.process").handlers = [handler]
    config = Config(
        app,
        http=HostlerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_WORDS_SECONDS,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
        backlog=2048,
    )
    try:
        config.load()
    except OSError as error:
        raise ConfigError(f"cannot use the TLS certificate and key: {error}") from error
    return Server(config)


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for `host`:`port`; an empty host means every address, IPv6 included.

    Raises ConfigError that says what holds the port or why the address is unusable.
    """
    wanted: list[tuple[socket.AddressFamily, str]] = []
    if host == "":
        wanted = [(socket.AF_INET, "0.0.0.0")]
        if socket.has_dualstack_ipv6():
            wanted = [(socket.AF_INET6, "::")]
    else:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host!r}: {error.strerror or error}") from error
        wanted = [(family, str(address[0])) for family, _, _, _, address in found]
    sockets: list[socket.socket] = []
    for family, address in dict.fromkeys(wanted):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "" else 1)
            sock.bind((address, port))
            sock.listen(2048)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            for other in sockets:
                other.close()
            raise ConfigError(
                f"cannot listen on {address}:{port}: {error.strerror}; "
                "is another Hostler or another server using it? Choose another with --listen"
            ) from error
        sockets.append(sock)
    return sockets
