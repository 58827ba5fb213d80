"""Captures: whole requests and answers, compressed, as many of the newest as fit.

Everything counts in one budget: the bodies of requests that still run, the captures that wait to be
compressed, and the compressed ones. Whoever needs room takes it from the oldest captures; what does not fit
then is cut off and marked. So memory never holds more than the limit.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from operator import attrgetter
from typing import NamedTuple

from hostler.clock import SYSTEM, Clock
from hostler.errors import Busy
from hostler.metrics.capture_blocks import Capture, packed, unpacked, whole
from hostler.metrics.capture_parts import (
    FRAME_OVERHEAD,
    MAX_FRAME,
    OVERHEAD,
    Budget,
    Collector,
    Fresh,
    RawCapture,
    frame_of,
    values_size,
)
from hostler.metrics.worker import Worker

MEGABYTE = 1_048_576
# Blocks that wait to be compressed; their bytes count in the budget.
MAX_WAITING = 64
# Captures that are kept as they came: compressed together they shrink more, and cost a fifth.
MAX_FRESH = MEGABYTE // 4
# No block more often than this: what comes faster pushes its predecessors out before anybody could look at
# them, and to compress it would be most of what a small request costs. It is kept as it came, while it fits.
PACK_SECONDS = 0.25
# Captures that wait for that: in such a flood the oldest go. At some 1.5 KB each they take half a megabyte;
# it would fill all of captureBuffer with what nobody has the time to look at.
MAX_FRESH_COUNT = 300


_number = attrgetter("id")


class _Block(NamedTuple):
    """Captures that were compressed together: bit N of `ids` says that `first` + N is one of them.

    Small requests of one kind shrink to ten bytes each: an index of objects would be larger than they are.
    """

    first: int
    ids: int
    data: bytearray

    @property
    def size(self) -> int:
        return len(self.data) + self.ids.bit_length() // 8

    def has(self, number: int) -> bool:
        return number >= self.first and bool(self.ids >> (number - self.first) & 1)


class Captures:
    """The newest captures by the id of their row, at most `limit` bytes of them; 0 is off. Ids only grow.

    The newest are kept as they came; when those are more than a quarter of the limit (or 256 KB), the older
    ones of them are compressed into one block by another thread, a few times a second at most. `enabled` says
    whether anybody should collect anything. Only the event loop's thread may call it.
    `on_problem` is told about the first capture that found no room.
    """

    def __init__(self, limit: int, *, on_problem: Callable[[str], None], clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._packed_at = float("-inf")
        self._budget = Budget(limit, self._reclaim)
        self.enabled = limit > 0
        self._on_problem = on_problem
        self._fresh: deque[Fresh] = deque()  # in the order of their ids
        self._fresh_size = 0
        self._fresh_most = min(limit // 4, MAX_FRESH)
        self._waiting: dict[int, Future[bytearray]] = {}
        self._blocks: list[_Block] = []  # oldest first
        self._work = Worker("capture compressor", bound=MAX_WAITING)
        self._packed = 0
        self.skipped = 0  # too large, or too many at once

    def __repr__(self) -> str:
        limit = self._budget.limit
        count = len(self._fresh) + sum(block.ids.bit_count() for block in self._blocks)
        return f"<Captures {count}, {self.held} of {limit} B, {len(self._waiting)} waiting>"

    @property
    def held(self) -> int:
        """Bytes of everything: of requests in progress, of what waits, of what is kept."""
        return self._budget.held

    @property
    def size(self) -> int:
        """Bytes of the captures that are kept."""
        return self._packed + self._fresh_size

    def collector(self) -> Collector | None:
        """Where to put a body that passes; None when captures are off."""
        return Collector(self._budget) if self.enabled else None

    def hold(self, body: bytes) -> bytes | None:
        """`body`, if there is room for it while its request runs; `let_go`, or `add` its capture.

        Half of everything is the most: one day what becomes of it has to lie beside it.
        """
        fits = 2 * len(body) <= self._budget.limit and self._budget.take_all(len(body))
        return body if fits else None

    def let_go(self, body: bytes | None) -> None:
        """There will be no capture of a request whose body was held."""
        if body is not None:
            self._budget.give(len(body))

    def resize(self, limit: int) -> None:
        """Another limit; the newest captures that fit into it stay."""
        self._budget.limit = limit
        self._fresh_most = min(limit // 4, MAX_FRESH)
        self.enabled = limit > 0
        self._reclaim(self._budget.held - limit)

    def add(self, capture: Capture | RawCapture, body: Collector | None = None) -> None:
        """Keep `capture`, whose request was held, with what `body` holds as its answer."""
        question = capture.request_body
        request = len(question) if question is not None else 0
        held = body.held if body is not None else 0
        if isinstance(capture, RawCapture) and self.enabled and request + held <= MAX_FRAME:
            fresh = self._framed(capture, request + held, body)
        else:
            fresh = self._whole(capture, request, body)
        if fresh is None:
            self._skip([capture.id])
            return
        self._fresh.append(fresh)
        self._fresh_size += fresh.held
        self.tidy()

    def hold_whole(self, size: int) -> bool:
        """Whether there is room for the small bodies of a request that has ended; until `add_whole`."""
        return 2 * size <= self._budget.limit and self._budget.take_all(size)

    def let_go_whole(self, held: int) -> None:
        """There will be none of that request."""
        self._budget.give(held)

    def add_whole(self, capture: RawCapture, held: int) -> None:
        """Keep a small `capture` that has its answer; `held` is what its bodies took. `tidy` is due then."""
        frame = frame_of(capture)
        size = len(frame) + FRAME_OVERHEAD
        if not self._budget.swap(held, size):
            self._skip([capture.id])
            return
        self._fresh.append(Fresh(capture.id, frame, None, size))
        self._fresh_size += size

    def tidy(self) -> None:
        """Have some compressed, or let some go, if there are too many that are kept as they came."""
        if self._fresh_size > self._fresh_most:
            self._make_room()

    def _make_room(self) -> None:
        now = self._clock.monotonic()
        if now - self._packed_at >= PACK_SECONDS:
            self._packed_at = now
            self._pack()
        elif len(self._fresh) > MAX_FRESH_COUNT:
            self._forget_surplus(len(self._fresh) - MAX_FRESH_COUNT)

    def _framed(self, raw: RawCapture, held: int, body: Collector | None) -> Fresh | None:
        if body is not None:
            raw.answer = body.parts
            if body.truncated:
                raw.truncated = True
        frame = frame_of(raw)
        if body is not None:
            body.parts, body.held = [], 0
        size = len(frame) + FRAME_OVERHEAD
        return Fresh(raw.id, frame, None, size) if self._budget.swap(held, size) else None

    def _whole(self, capture: Capture | RawCapture, request: int, body: Collector | None) -> Fresh | None:
        size = request + OVERHEAD
        if isinstance(capture, RawCapture):
            size += values_size(capture.request_headers) + values_size(capture.response_headers)
        if self.enabled and self._budget.take_all(size - request):
            return Fresh(capture.id, capture, body, size)
        self.let_go(capture.request_body)
        if body is not None:
            body.close()
        return None

    def has(self, number: int) -> bool:
        """Whether there is, or will be in a moment, a capture of row `number`."""
        return (
            self._fresh_of(number) is not None
            or number in self._waiting
            or self._block_of(number) is not None
        )

    async def get(self, number: int) -> Capture | None:
        """The capture of row `number`, made on the compressor's thread; None without one. Raises Busy."""
        fresh = self._fresh_of(number)
        if fresh is not None:
            return await asyncio.wrap_future(self._work.submit(lambda: whole(fresh.parts())))
        packing = self._waiting.get(number)
        if packing is not None:
            block = await asyncio.wrap_future(packing)
        else:
            found = self._block_of(number)
            if found is None:
                return None
            block = found.data
        return await asyncio.wrap_future(self._work.submit(lambda: unpacked(block, number)))

    def _fresh_of(self, number: int) -> Fresh | None:
        at = bisect.bisect_left(self._fresh, number, key=_number)
        return self._fresh[at] if at < len(self._fresh) and self._fresh[at].id == number else None

    def _block_of(self, number: int) -> _Block | None:
        at = bisect.bisect_right(self._blocks, number, key=lambda block: block.first) - 1
        return self._blocks[at] if at >= 0 and self._blocks[at].has(number) else None

    def close(self) -> None:
        """Forget everything."""
        self._work.close()
        while self._fresh or self._blocks:
            self._forget_oldest()

    def _pack(self) -> None:
        """Have the older half of the fresh ones compressed, or as many of them as make a block."""
        half = max(self._fresh_size // 2, self._fresh_size - MAX_FRESH)
        ids: list[int] = []
        chosen: list[Fresh] = []
        while self._fresh and (not chosen or self._fresh_size > half):
            fresh = self._fresh.popleft()
            self._fresh_size -= fresh.held
            ids.append(fresh.id)
            chosen.append(fresh)
        spare = sum(one.spare for one in chosen)
        future = self._compressing(chosen, spare)
        if future is None:
            self.skipped += len(chosen)
            for one in chosen:
                self._release(one)
            return
        self._waiting.update(dict.fromkeys(ids, future))
        loop = asyncio.get_running_loop()

        def finished(done: Future[bytearray]) -> None:
            for number in ids:
                del self._waiting[number]
            for one in chosen:
                self._release(one)
            chosen.clear()  # whoever still holds this function must not hold them
            self._budget.give(spare)
            if done.exception() is None:
                self._keep(ids, done.result())

        def tell(done: Future[bytearray]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finished, done)

        # Neither function knows the future: in a circle its block would live on after it was forgotten.
        future.add_done_callback(tell)

    def _compressing(self, chosen: list[Fresh], spare: int) -> Future[bytearray] | None:
        if not self._budget.take_all(spare):
            return None
        try:
            return self._work.submit(lambda: packed(one.parts() for one in chosen))
        except Busy:
            self._budget.give(spare)
            return None

    def _release(self, fresh: Fresh) -> None:
        self._budget.give(fresh.size)
        if fresh.body is not None:
            fresh.body.close()

    def _keep(self, ids: list[int], data: bytearray) -> None:
        block = _Block(ids[0], sum(1 << number - ids[0] for number in ids), data)
        if not self._budget.take_all(block.size):
            self._skip(ids)
            return
        self._blocks.append(block)
        self._packed += block.size

    def _skip(self, ids: list[int]) -> None:
        if not self.enabled:
            return
        self.skipped += len(ids)
        if self.skipped == len(ids):
            self._on_problem(
                f"there was no room in captureBuffer for the capture of request {ids[0]}; "
                "there is no warning about further ones"
            )

    def _reclaim(self, count: int) -> None:
        """Forget the oldest captures until `count` bytes are free, or none is left."""
        wanted = self._budget.held - count
        while self._budget.held > wanted and (self._fresh or self._blocks):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        if self._blocks:
            size = self._blocks.pop(0).size  # a few hundred at most
            self._packed -= size
            self._budget.give(size)
        else:
            self._forget_fresh()

    def _forget_surplus(self, count: int) -> None:
        """As `_forget_fresh` for each of them; of a flood, all but a few go this way."""
        freed = 0
        for _ in range(count):
            if self._fresh[0].body is None:
                freed += self._fresh.popleft().size
            else:
                self._forget_fresh()
        self._fresh_size -= freed
        self._budget.give(freed)

    def _forget_fresh(self) -> None:
        fresh = self._fresh.popleft()
        self._fresh_size -= fresh.held
        self._release(fresh)
