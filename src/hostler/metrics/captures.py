"""Captures: whole requests and answers, compressed, as many of the newest as fit.

Only what was finished is kept. While a request runs its bytes are collected under a budget of the same size
as the store; what does not fit is cut off and marked, so memory never holds more than twice the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from hostler.errors import Busy
from hostler.metrics import zstd
from hostler.metrics.worker import Worker

MEGABYTE = 1_048_576
# Captures that wait to be compressed; their bytes count in the budget.
MAX_WAITING = 256
# Faster than any engine answers, and JSON shrinks to a fifth.
LEVEL = 3
REDACTED = "[REDACTED]"
SECRET_HEADERS = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Which bodies of a path are kept; headers always are."""

    request_body: bool = True
    response_body: bool = True


_ALL = Rule()
# Sound and images are large and of no use in a list of requests.
_RULES = {
    "/v1/audio/speech": Rule(response_body=False),
    "/v1/images/generations": Rule(response_body=False),
    "/sdapi/v1/txt2img": Rule(response_body=False),
    "/v1/audio/voices": Rule(request_body=False),
    "/v1/audio/transcriptions": Rule(request_body=False),
    "/v1/images/edits": Rule(request_body=False, response_body=False),
    "/sdapi/v1/img2img": Rule(request_body=False, response_body=False),
}


def rule_of(path: str) -> Rule:
    """What is kept of requests to `path`, which is without `/upstream/MODEL`."""
    return _RULES.get(path, _ALL)


class Capture(msgspec.Struct, frozen=True):
    """One request and its answer. Bodies are decoded; None is one that was not kept. `truncated` says that
    an answer or a request was larger than there was room for.
    """

    id: int
    model: str
    path: str
    request_headers: dict[str, str]
    request_body: bytes | None
    response_headers: dict[str, str]
    response_body: bytes | None
    truncated: bool = False


def shown_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The first value of each header by its usual spelling, without secrets."""
    shown: dict[str, str] = {}
    for name, value in headers:
        text = "-".join(word.capitalize() for word in name.decode("latin-1").split("-"))
        if text not in shown:
            secret = name.lower() in SECRET_HEADERS
            shown[text] = REDACTED if secret else value.decode("latin-1")
    return shown


class Budget:
    """Bytes that all requests in progress may collect together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, wanted: int) -> int:
        """How many of `wanted` bytes may be kept; they are taken."""
        given = max(0, min(wanted, self.limit - self.held))
        self.held += given
        return given

    def give(self, count: int) -> None:
        """`count` bytes are gone."""
        self.held -= count


class Collector:
    """The bytes of one body as they pass. `close` gives their room back; any number of times."""

    __slots__ = ("_budget", "_parts", "held", "truncated")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._parts: list[bytes] = []
        self.held = 0
        self.truncated = False

    def feed(self, data: bytes) -> None:
        """Keep `data`, or what there is room for; after the first cut nothing more is kept."""
        if self.truncated:
            return
        room = self._budget.take(len(data))
        if room < len(data):
            self.truncated = True
            data = data[:room]
        self.held += room
        if data:
            self._parts.append(data)

    def body(self) -> bytes:
        """Everything that was kept."""
        return b"".join(self._parts)

    def close(self) -> None:
        """Let go of the bytes."""
        self._budget.give(self.held)
        self.held = 0
        self._parts = []


class Captures:
    """The newest captures by the id of their row, at most `limit` bytes of them compressed; 0 is off.

    Only the event loop's thread may call it; compressing is another thread's work. `on_problem` is told
    about the first capture that is larger than everything.
    """

    def __init__(self, limit: int, *, on_problem: Callable[[str], None]) -> None:
        self._budget = Budget(limit)
        self._on_problem = on_problem
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._waiting: set[int] = set()
        self._work = Worker("capture compressor", bound=MAX_WAITING)
        self.size = 0
        self.skipped = 0  # too large, or too many at once

    def __repr__(self) -> str:
        limit = self._budget.limit
        return f"<Captures {len(self._kept)}, {self.size} of {limit} B, {len(self._waiting)} waiting>"

    @property
    def enabled(self) -> bool:
        """Whether anybody should collect anything."""
        return self._budget.limit > 0

    @property
    def collected(self) -> int:
        """Bytes held for requests in progress."""
        return self._budget.held

    def collector(self) -> Collector | None:
        """Where to put a body that passes; None when captures are off."""
        return Collector(self._budget) if self.enabled else None

    def resize(self, limit: int) -> None:
        """Another limit; the newest captures that fit into it stay."""
        self._budget.limit = limit
        self._shrink()

    def add(self, capture: Capture, body: Collector | None = None) -> None:
        """Keep `capture`, with what `body` holds as its answer; `body` is closed when it is compressed."""
        if not self.enabled:
            if body is not None:
                body.close()
            return
        # The request body is held until it is compressed, so it is counted, allowed or not.
        request = len(capture.request_body or b"")
        self._budget.held += request

        def done() -> None:
            self._budget.give(request)
            if body is not None:
                body.close()

        try:
            future = self._work.submit(lambda: packed(capture, body))
        except Busy:
            done()
            self.skipped += 1
            return
        self._waiting.add(capture.id)
        loop = asyncio.get_running_loop()

        def finished() -> None:
            self._waiting.discard(capture.id)
            done()
            if future.exception() is None:
                self._keep(capture.id, future.result())

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finished)

        future.add_done_callback(tell)

    def has(self, number: int) -> bool:
        """Whether there is, or will be in a moment, a capture of row `number`."""
        return number in self._kept or number in self._waiting

    async def get(self, number: int) -> Capture | None:
        """The capture of row `number`, unpacked on the compressor's thread; None without one. Raises Busy."""
        if number in self._waiting:
            # Jobs are done in order, and this one's callback is ours: the other's has run before.
            await asyncio.wrap_future(self._work.submit(lambda: None, urgent=True))
        found = self._kept.get(number)
        if found is None:
            return None
        return await asyncio.wrap_future(self._work.submit(lambda: unpacked(found)))

    def close(self) -> None:
        """Forget everything."""
        self._work.close()
        self._kept.clear()
        self.size = 0

    def _keep(self, number: int, compressed: bytes) -> None:
        if len(compressed) > self._budget.limit:
            self.skipped += 1
            if self.skipped == 1 and self._budget.limit:
                self._on_problem(
                    f"capture of request {number} is larger than captureBuffer and was not kept; "
                    "there is no warning about further ones"
                )
            return
        self._kept[number] = compressed
        self.size += len(compressed)
        self._shrink()

    def _shrink(self) -> None:
        while self.size > self._budget.limit:
            _, oldest = self._kept.popitem(last=False)
            self.size -= len(oldest)


def unpacked(compressed: bytes) -> Capture:
    """What `Captures` holds, readable again."""
    return msgspec.msgpack.decode(zstd.decompress(compressed), type=Capture)


def packed(capture: Capture, body: Collector | None) -> bytes:
    """`capture` with what was collected of its answer, compressed."""
    if body is not None:
        capture = with_answer(capture, body.body())
        if body.truncated:
            capture = msgspec.structs.replace(capture, truncated=True)
    return zstd.compress(msgspec.msgpack.encode(capture), LEVEL)


def with_answer(capture: Capture, body: bytes) -> Capture:
    """`capture` with the answer `body`, decoded where its headers say how; else both stay as they are."""
    headers = dict(capture.response_headers)
    name = next((name for name in headers if name.lower() == "content-encoding"), None)
    if name is not None:
        # What cannot be decoded keeps its header, so that the reader knows what it is.
        decoded = decode(body, headers[name].strip().lower(), bound=16 * max(len(body), 65_536))
        if decoded is not None:
            body = decoded
            del headers[name]
    return msgspec.structs.replace(capture, response_headers=headers, response_body=body)


def decode(body: bytes, encoding: str, bound: int) -> bytes | None:
    """`body` without its encoding, as far as it goes; None when it is not that, or is more than `bound`."""
    wbits = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(encoding)
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "zstd":
            decoded = zstd.ZstdDecompressor().decompress(body, bound + 1)
        elif wbits is not None:
            raw = encoding == "deflate" and body[:1] and body[0] & 0x0F != 8
            decoded = zlib.decompressobj(-15 if raw else wbits).decompress(body, bound + 1)
        else:
            return None
    except (zlib.error, zstd.ZstdError):
        return None
    return decoded if len(decoded) <= bound else None
