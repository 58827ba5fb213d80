"""The only place that starts background tasks, and work that is put off for a moment.

The event loop keeps only weak references to tasks, and the exception of a task nobody awaits surfaces when
the garbage collector feels like it. `spawn` keeps the task alive until it ends, names it, and reports an
unexpected exception at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

ErrorHandler = Callable[[str, BaseException], None]

_alive: set[asyncio.Task[Any]] = set()


class Batch(Generic[T]):
    """Gathers what is cheaper to do for many at once: `work` gets it `seconds` after the first, or at `most`.

    With `share`, it gets no more than that many in one turn of the event loop, so that nothing else waits for
    all of them; `weigh` tells for how many one of them counts. Only the event loop's thread may call it.
    """

    __slots__ = ("_handle", "_items", "_most", "_seconds", "_share", "_weigh", "_work")

    def __init__(
        self,
        work: Callable[[list[T]], None],
        *,
        seconds: float,
        most: int,
        share: int | None = None,
        weigh: Callable[[T], int] | None = None,
    ) -> None:
        self._work = work
        self._weigh = weigh
        self._seconds = seconds
        self._most = most
        self._share = share
        self._items: list[T] = []
        self._handle: asyncio.Handle | None = None

    def add(self, item: T) -> None:
        """Have `item` done in a moment; needs the running loop."""
        self._items.append(item)
        if len(self._items) >= self._most:
            self._do()
        elif self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._due)

    def flush(self) -> None:
        """Do now what waits, if anything does."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        items, self._items = self._items, []
        if items:
            self._work(items)

    def _due(self) -> None:
        self._handle = None
        self._do()
        if self._items and self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._due)

    def _do(self) -> None:
        """Let the oldest be worked on; all of them, where there are no shares."""
        count = self._count()
        if count >= len(self._items):
            self.flush()
            return
        now, self._items = self._items[:count], self._items[count:]
        self._work(now)

    def _count(self) -> int:
        """How many of them are a share; one is, whatever it weighs."""
        share, weigh = self._share, self._weigh
        if share is None:
            return len(self._items)
        if weigh is None:
            return share
        weight = 0
        for count, item in enumerate(self._items):
            weight += weigh(item)
            if weight > share:
                return max(count, 1)
        return len(self._items)


def spawn(
    coroutine: Coroutine[Any, Any, T], *, name: str, on_error: ErrorHandler | None = None
) -> asyncio.Task[T]:
    """Run `coroutine` as a task called `name`.

    `on_error(name, exception)` gets an exception that ends the task (never a cancellation); without it the
    event loop's exception handler does.
    """
    task = asyncio.create_task(coroutine, name=name)
    _alive.add(task)

    def done(finished: asyncio.Task[Any]) -> None:
        _alive.discard(finished)
        if finished.cancelled():
            return
        error = finished.exception()
        if error is None:
            return
        if on_error is not None:
            on_error(name, error)
        else:
            finished.get_loop().call_exception_handler(
                {"message": f"task {name!r} failed", "exception": error, "task": finished}
            )

    task.add_done_callback(done)
    return task


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel every task and wait until all have ended; their exceptions were reported by `spawn`."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    for task in pending:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def alive() -> int:
    """How many spawned tasks have not ended; tests use it to find leaks."""
    return len(_alive)
