"""A thread that does one thing after another, away from the event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from hostler.errors import Busy

T = TypeVar("T")


class Worker:
    """Runs jobs in order on a daemon thread that starts with the first one.

    At most `bound` jobs wait; one more raises Busy, unless it is `urgent` (its maker has a bound of its own).
    """

    def __init__(self, name: str, *, bound: int) -> None:
        self._name = name
        self._bound = bound
        self._jobs: deque[tuple[Callable[[], Any], Future[Any], bool]] = deque()
        self._asked = 0  # of them, those that are not urgent
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def submit(self, job: Callable[[], T], *, urgent: bool = False) -> Future[T]:
        """Queue `job`; its result or exception comes through the future. Raises Busy."""
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                raise Busy(f"{self._name} is closed")
            if not urgent:
                if self._asked >= self._bound:
                    raise Busy(f"{self._name}: {self._bound} questions wait already", retry_after=1)
                self._asked += 1
            self._jobs.append((job, future, urgent))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Take no more jobs; those that wait are still done. Any number of times."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait until the last job is done; False when that took longer than `seconds`."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job, future, urgent = self._jobs.popleft()
                self._asked -= not urgent
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
                future.set_exception(error)
            del job, future  # what they hold must not wait for the next one
