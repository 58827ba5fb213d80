"""Addresses to listen on, as people write them. Pure."""

from __future__ import annotations

from hostler.cli.outcome import UsageError

HOST = "127.0.0.1"
PORT = 8080
TLS_PORT = 8443
EVERYWHERE = ""  # what hostler.app takes for all interfaces, of both protocols


def parse(text: str | None, *, tls: bool = False) -> tuple[str, int]:
    """`HOST:PORT`, `:PORT` (every interface), `PORT` (this machine only) or `[IPV6]:PORT`.

    None is the default: this machine only, port 8080, or 8443 with TLS.
    """
    if text is None:
        return HOST, TLS_PORT if tls else PORT
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host = HOST
    elif not host:
        host = EVERYWHERE
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"--listen {text}: write an IPv6 address in brackets, like [::1]:8080")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise UsageError(f"--listen {text}: give HOST:PORT, like 127.0.0.1:8080, or :8080 for all interfaces")
    return host, int(port)
