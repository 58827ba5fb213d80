"""What must hold: jobs run in order, questions are bounded, and what must be done is never refused."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from hostler.errors import Busy
from hostler.metrics.worker import Worker


def test_urgent_jobs_do_not_crowd_out_questions() -> None:
    worker, gate = Worker("w", bound=2), threading.Event()
    done: list[int] = []
    held = worker.submit(gate.wait, urgent=True)
    for number in range(50):
        worker.submit(partial(done.append, number), urgent=True)
    asked = [worker.submit(lambda: len(done)) for _ in range(2)]
    with pytest.raises(Busy, match="2 questions wait"):
        worker.submit(lambda: None)
    last = worker.submit(lambda: len(done), urgent=True)
    gate.set()

    assert held.result(10)
    assert [one.result(10) for one in asked] == [50, 50]
    assert last.result(10) == 50
    assert done == list(range(50))
    assert worker.submit(lambda: "again").result(10) == "again"
    worker.close()
    assert worker.join(10)
    with pytest.raises(Busy, match="closed"):
        worker.submit(lambda: None)


def test_an_exception_is_the_futures() -> None:
    worker = Worker("w", bound=2)
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 / 0).result(10)
    worker.close()
