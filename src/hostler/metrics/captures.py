"""Captures: whole requests and answers, compressed, as many of the newest as fit.

Only what was finished is kept. While a request runs its bytes are collected under a budget of the same size
as the store; what does not fit is cut off and marked, so memory never holds more than twice the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from hostler.errors import Busy
from hostler.metrics import zstd
from hostler.metrics.decoding import UndecodableError, decoder_for
from hostler.metrics.worker import Worker

MEGABYTE = 1_048_576
# Blocks that wait to be compressed; their bytes count in the budget.
MAX_WAITING = 64
# Captures that are kept as they came: compressed together they shrink more, and cost a fifth.
MAX_FRESH = MEGABYTE
# What a capture takes beside its bodies: headers, names, objects.
OVERHEAD = 1500
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


class RawCapture(NamedTuple):
    """A capture as the gateway has it: headers are made readable, and secrets covered, when it is kept."""

    id: int
    model: str
    path: str
    request_headers: Iterable[tuple[bytes, bytes]]
    request_body: bytes | None
    response_headers: Iterable[tuple[bytes, bytes]]

    def shown(self) -> Capture:
        """What may be kept and shown of it."""
        return Capture(
            id=self.id,
            model=self.model,
            path=self.path,
            request_headers=shown_headers(self.request_headers),
            request_body=self.request_body,
            response_headers=shown_headers(self.response_headers),
            response_body=None,
        )


class _Fresh(NamedTuple):
    """A capture as it came, and what was collected of its answer."""

    capture: Capture | RawCapture
    body: Collector | None
    size: int


class Captures:
    """The newest captures by the id of their row, at most `limit` bytes of them; 0 is off.

    The newest are kept as they came; when those are more than a quarter of the limit (or 1 MB), the older
    ones of them are compressed into one block by another thread. Only the event loop's thread may call it.
    `on_problem` is told about the first capture that is larger than everything.
    """

    def __init__(self, limit: int, *, on_problem: Callable[[str], None]) -> None:
        self._budget = Budget(limit)
        self._on_problem = on_problem
        self._fresh: OrderedDict[int, _Fresh] = OrderedDict()
        self._fresh_size = 0
        self._waiting: dict[int, Future[bytes]] = {}
        self._blocks: OrderedDict[int, tuple[list[int], bytes]] = OrderedDict()  # by the first of its ids
        self._block_of: dict[int, int] = {}
        self._work = Worker("capture compressor", bound=MAX_WAITING)
        self._packed = 0
        self.skipped = 0  # too large, or too many at once

    def __repr__(self) -> str:
        limit = self._budget.limit
        count = len(self._fresh) + len(self._block_of)
        return f"<Captures {count}, {self.size} of {limit} B, {len(self._waiting)} waiting>"

    @property
    def enabled(self) -> bool:
        """Whether anybody should collect anything."""
        return self._budget.limit > 0

    @property
    def collected(self) -> int:
        """Bytes held for requests in progress, and for captures that are not compressed yet."""
        return self._budget.held

    @property
    def size(self) -> int:
        """Bytes of the captures that are kept."""
        return self._packed + self._fresh_size

    def collector(self) -> Collector | None:
        """Where to put a body that passes; None when captures are off."""
        return Collector(self._budget) if self.enabled else None

    def resize(self, limit: int) -> None:
        """Another limit; the newest captures that fit into it stay."""
        self._budget.limit = limit
        self._shrink()

    def add(self, capture: Capture | RawCapture, body: Collector | None = None) -> None:
        """Keep `capture`, with what `body` holds as its answer; `body` is closed when it is compressed."""
        if not self.enabled:
            if body is not None:
                body.close()
            return
        request = len(capture.request_body or b"")
        self._budget.held += request  # allowed or not: it is there
        size = request + (body.held if body is not None else 0) + OVERHEAD
        self._fresh[capture.id] = _Fresh(capture, body, size)
        self._fresh_size += size
        if self._fresh_size > min(self._budget.limit // 4, MAX_FRESH):
            self._pack()

    def has(self, number: int) -> bool:
        """Whether there is, or will be in a moment, a capture of row `number`."""
        return number in self._fresh or number in self._block_of or number in self._waiting

    async def get(self, number: int) -> Capture | None:
        """The capture of row `number`, made on the compressor's thread; None without one. Raises Busy."""
        fresh = self._fresh.get(number)
        if fresh is not None:
            return await asyncio.wrap_future(self._work.submit(lambda: complete(fresh.capture, fresh.body)))
        packing = self._waiting.get(number)
        if packing is not None:
            block = await asyncio.wrap_future(packing)
        elif number in self._block_of:
            _, block = self._blocks[self._block_of[number]]
        else:
            return None
        return await asyncio.wrap_future(self._work.submit(lambda: unpacked(block, number)))

    def close(self) -> None:
        """Forget everything."""
        self._work.close()
        while self._fresh:
            self._release(self._fresh.popitem()[1])
        self._blocks.clear()
        self._block_of.clear()
        self._packed = 0

    def _pack(self) -> None:
        """Have the older half of the fresh ones compressed."""
        half = self._fresh_size // 2
        chosen: list[_Fresh] = []
        while self._fresh and (not chosen or self._fresh_size > half):
            _, fresh = self._fresh.popitem(last=False)
            self._fresh_size -= fresh.size
            chosen.append(fresh)
        try:
            future = self._work.submit(lambda: packed([(one.capture, one.body) for one in chosen]))
        except Busy:
            self.skipped += len(chosen)
            for one in chosen:
                self._release(one, counted=False)
            return
        ids = [one.capture.id for one in chosen]
        self._waiting.update(dict.fromkeys(ids, future))
        loop = asyncio.get_running_loop()

        def finished() -> None:
            for one in chosen:
                del self._waiting[one.capture.id]
                self._release(one, counted=False)
            # The future knows its callback and that knows the future: nothing large may hang on them.
            chosen.clear()
            if future.exception() is None:
                self._keep(ids, future.result())

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finished)

        future.add_done_callback(tell)

    def _release(self, fresh: _Fresh, *, counted: bool = True) -> None:
        self._budget.give(len(fresh.capture.request_body or b""))
        if fresh.body is not None:
            fresh.body.close()
        if counted:
            self._fresh_size -= fresh.size

    def _keep(self, ids: list[int], block: bytes) -> None:
        if len(block) > self._budget.limit:
            self.skipped += len(ids)
            if self.skipped == len(ids) and self._budget.limit:
                self._on_problem(
                    f"capture of request {ids[0]} is larger than captureBuffer and was not kept; "
                    "there is no warning about further ones"
                )
            return
        self._blocks[ids[0]] = ids, block
        self._block_of.update(dict.fromkeys(ids, ids[0]))
        self._packed += len(block)
        self._shrink()

    def _shrink(self) -> None:
        while self.size > self._budget.limit and self._blocks:
            _, (ids, oldest) = self._blocks.popitem(last=False)
            self._packed -= len(oldest)
            for number in ids:
                del self._block_of[number]
        while self.size > self._budget.limit and self._fresh:
            self._release(self._fresh.popitem(last=False)[1])


def unpacked(block: bytes, number: int) -> Capture | None:
    """The capture `number` of a block."""
    found = msgspec.msgpack.decode(zstd.decompress(block), type=list[Capture])
    return next((one for one in found if one.id == number), None)


def packed(captures: Iterable[tuple[Capture | RawCapture, Collector | None]]) -> bytes:
    """Captures, each with what was collected of its answer, compressed into one block."""
    return zstd.compress(msgspec.msgpack.encode([complete(*one) for one in captures]), LEVEL)


def complete(capture: Capture | RawCapture, body: Collector | None) -> Capture:
    """`capture` with what was collected of its answer."""
    if isinstance(capture, RawCapture):
        capture = capture.shown()
    if body is not None:
        capture = with_answer(capture, body.body())
        if body.truncated:
            capture = msgspec.structs.replace(capture, truncated=True)
    return capture


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
    plain = bytearray()
    try:
        decoder = decoder_for(encoding)
        if decoder is None:
            return body
        for piece in decoder.feed(body):
            plain += piece
            if len(plain) > bound:
                return None
    except UndecodableError:
        return None
    return bytes(plain)
