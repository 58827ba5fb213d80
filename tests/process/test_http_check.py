"""The smallest of HTTP clients, against servers that are anything but."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hostler.process.http_check import BODY_LIMIT, Target, dial, get_status, is_loopback
from hostler.testing import free_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that hands each connection to `handler` when its request has been read."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def saying(*parts: bytes) -> Handler:
    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a connection takes its time")
async def test_a_connection_on_this_machine_is_made_or_refused_at_once() -> None:
    async with serving(saying()) as port:
        made = dial("127.0.0.1", port)
        assert made is not None
        made.close()

    with pytest.raises(ConnectionRefusedError):
        dial("127.0.0.1", free_port())


def test_no_other_machine_is_dialled() -> None:
    assert dial("192.0.2.1", 80) is None


async def ask(
    port: int, *, base: str = "http://127.0.0.1:{}", path: str = "/health", timeout: float = 5
) -> int:
    return await get_status(Target.parse(base.format(port), path), timeout)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 101),
    ],
)
async def test_answers(answer: bytes, status: int) -> None:
    async with serving(saying(answer)) as port:
        assert await ask(port) == status


async def test_the_request() -> None:
    seen = b""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await ask(port, base="http://127.0.0.1:{}/base/", path="health?full=1")

    assert seen.startswith(b"GET /base/health?full=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in seen
    assert b"Connection: close\r\n" in seen


async def test_the_status_counts_though_the_body_never_ends() -> None:
    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * BODY_LIMIT)
            await writer.drain()

    async with serving(endless) as port:
        assert await ask(port) == 200


async def test_the_status_counts_though_the_body_never_comes() -> None:
    async def waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await reader.read()

    async with serving(waiting) as port:
        assert await ask(port) == 200


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ((), ConnectionError),
        ((b"HTTP/1.1 200 O",), ConnectionError),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), ValueError),
        ((b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 2 * BODY_LIMIT), ValueError),
    ],
)
async def test_what_is_no_answer(parts: tuple[bytes, ...], error: type[Exception]) -> None:
    async with serving(saying(*parts)) as port:
        with pytest.raises(error):
            await ask(port)


async def test_silence_ends_at_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        with pytest.raises(TimeoutError):
            await ask(port, timeout=0.05)


@pytest.mark.parametrize("base", ["http://127.0.0.1:{}", "http://localhost:{}", "http://[::1]:{}"])
async def test_nobody_there(base: str) -> None:
    with pytest.raises(OSError):
        await ask(free_port(), base=base)


async def test_localhost_is_known_without_a_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(*_args: object, **_options: object) -> None:
        raise AssertionError("nobody is to be asked")

    loop = asyncio.get_running_loop()
    if hasattr(loop, "__dict__"):  # asyncio's own; uvloop's cannot be changed
        monkeypatch.setattr(loop, "getaddrinfo", forbidden)
    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as port:
        assert await ask(port, base="http://localhost:{}") == 200
    with pytest.raises(ConnectionRefusedError):
        await ask(free_port(), base="http://localhost:{}")


async def test_tls_needs_no_certificate_on_loopback(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2 -subj /CN=other"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), context) as port:
        assert await ask(port, base="https://localhost:{}") == 200


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/health"),
        ("localhost:8080", "/health"),
        ("ftp://localhost", "/health"),
        ("http://", "/health"),
        ("http://host:99999999", "/health"),
        ("http://host", "/a b"),
        ("http://host", "/a\r\nX: y"),
    ],
)
def test_what_is_no_target(base: str, path: str) -> None:
    with pytest.raises(ValueError):
        Target.parse(base, path)


@pytest.mark.parametrize(
    ("base", "port", "loopback"),
    [
        ("http://127.0.0.1:5800", 5800, True),
        ("http://LOCALHOST", 80, True),
        ("https://[::1]/x", 443, True),
        ("http://0.0.0.0:1", 1, True),
        ("http://192.168.1.5:8080", 8080, False),
        ("https://gpu-box", 443, False),
    ],
)
def test_targets(base: str, port: int, loopback: bool) -> None:
    target = Target.parse(base, "/health")

    assert (target.port, target.loopback) == (port, loopback)


def test_loopback_is_more_than_one_address() -> None:
    assert is_loopback("127.9.9.9")
    assert not is_loopback("example.org")
