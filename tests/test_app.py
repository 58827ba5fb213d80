"""What `hostler serve` asks of the process it runs in."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hostler.app import SWITCH_SECONDS

PYTHONS_OWN = 0.005


@pytest.fixture
def computing() -> Iterator[None]:
    """A thread that computes, and never lets go of the interpreter by itself."""
    enough = threading.Event()

    def compute() -> None:
        while not enough.is_set():
            sum(range(100))

    thread = threading.Thread(target=compute)
    before = sys.getswitchinterval()
    thread.start()
    yield
    enough.set()
    thread.join()
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("computing")
def test_a_thread_that_computes_does_not_hold_up_the_loop() -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    waits = []
    for _ in range(30):
        begin = time.perf_counter()
        time.sleep(0)  # lets go of the interpreter, as each step of the loop does
        waits.append(time.perf_counter() - begin)
    assert statistics.median(waits) < PYTHONS_OWN / 2
