"""An HTTP client exact to the byte, that tells a truncated answer from a whole one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

PATIENCE = 20.0  # what a machine with two busy cores may need for any single step

Pairs = Iterable[tuple[str, str]]


class TruncatedError(Exception):
    """The connection ended before the answer did."""


@dataclass
class Answer:
    """A status, headers as they came, and what came of the body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = True

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        """The value of a header that may be there once at most."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, checked for its shape."""
        value = self.json()
        assert value["src"] == "hostler"
        error: dict[str, Any] = value["error"]
        assert set(error) - {"details"} == {"message", "type", "param", "code"}
        return error


def request(method: str, target: str, body: Any = None, headers: Pairs = (), *, host: bool = True) -> bytes:
    """A request as bytes; a body that is not bytes is sent as JSON, and its length is declared."""
    lines = [f"{method} {target} HTTP/1.1"]
    if host:
        lines.append("host: front")
    lines += [f"{name}: {value}" for name, value in headers]
    data = b""
    if body is not None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            lines.append("content-type: application/json")
        data = body
        lines.append(f"content-length: {len(data)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: int | None = field(default=None)  # bytes of the body still to come; None: not by length
    chunked: bool = False

    @classmethod
    async def connect(cls, port: int) -> Self:
        # The stream must not read ahead much: a test of back-pressure has to be able to stop.
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
        return cls(reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Go away at once, whatever may still come."""
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def ask(self, method: str, target: str, body: Any = None, headers: Pairs = ()) -> Answer:
        """Send a request and read its whole answer."""
        await self.send(request(method, target, body, headers))
        return await self.read(method)

    async def ask_stream(self, body: Any) -> None:
        """Ask for a stream of chat and read its head."""
        await self.send(request("POST", "/v1/chat/completions", body))
        answer = await self.head()
        if answer.status != 200 or answer.get("content-type") != "text/event-stream":
            raise AssertionError(f"{answer.status} {(await self.rest())[0]!r}")

    async def read(self, method: str = "GET") -> Answer:
        """The whole next answer, or what came of it."""
        answer = await self.head(method)
        answer.body, answer.complete = await self.rest()
        return answer

    async def head(self, method: str = "GET") -> Answer:
        """The status and headers of the next answer; 1xx are passed over."""
        while True:
            answer = await self._head(method)
            if answer.status >= 200:
                return answer

    async def interim(self) -> Answer:
        """The next status and headers, 1xx included."""
        return await self._head("GET")

    async def _head(self, method: str) -> Answer:
        async with asyncio.timeout(PATIENCE):
            try:
                block = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise TruncatedError("no answer") from error
        first, *lines = block[:-4].decode("latin-1").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        answer = Answer(int(first.split(" ")[1]), headers)
        self.chunked = answer.get("transfer-encoding") == "chunked"
        length = answer.get("content-length")
        assert not (self.chunked and length is not None)
        self.left = int(length) if length is not None else None
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            self.chunked, self.left = False, 0
        return answer

    async def piece(self) -> bytes:
        """The next piece of the body; b"" at its end. Raises TruncatedError when there is none to come."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._piece()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise TruncatedError("the answer broke off") from error

    async def _piece(self) -> bytes:
        if self.chunked:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
            assert data.endswith(b"\r\n")
            return data[:-2]
        if self.left is None:
            return await self.reader.read(65_536)
        if self.left == 0:
            return b""
        data = await self.reader.read(min(self.left, 65_536))
        if not data:
            raise asyncio.IncompleteReadError(b"", self.left)
        self.left -= len(data)
        return data

    async def until(self, text: bytes) -> bytes:
        """Everything up to the piece in which `text` has come."""
        seen = b""
        while text not in seen:
            piece = await self.piece()
            assert piece, f"the answer ended without {text!r}: {seen[-400:]!r}"
            seen += piece
        return seen

    async def rest(self) -> tuple[bytes, bool]:
        """What is left of the body, and whether it came to its end."""
        seen = bytearray()
        try:
            while piece := await self.piece():
                seen += piece
        except TruncatedError:
            return bytes(seen), False
        return bytes(seen), True

    async def end(self) -> bytes:
        """What comes until the server closes the connection."""
        seen = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while data := await self.reader.read(65_536):
                    seen += data
            except ConnectionError:
                pass
        return seen
