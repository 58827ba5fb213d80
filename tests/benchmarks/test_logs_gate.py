"""The way of a log byte stays short: what a write costs may not grow by half.

Against a plain slice assignment of as many bytes, measured in turn with it in the same run; processor time
of the one thread, the best of many short rounds, and of three tries.
"""

from __future__ import annotations

import gc

import pytest
from bench import logs_micro

# Multiples of `bytearray[:n] = data`, measured on the machine of docs/benchmarks.md.
RECORDED = {
    "ring_14": 0.70, "ring_241": 0.76, "ring_4096": 1.12,
    "monitor_14": 0.88, "monitor_241": 0.96, "monitor_4096": 1.19,
    "log_14": 4.8, "log_241": 4.9, "log_4096": 5.5,
    "log_on_disk_14": 6.2, "log_on_disk_241": 6.3, "log_on_disk_4096": 7.2,
    "history_copies": 1.05,
}  # fmt: skip
ROOM = 1.5


@pytest.mark.timeout(60)
def test_a_write_costs_no_more_than_it_did() -> None:
    best: dict[str, float] = {}
    gc.disable()  # what it costs is a matter of the whole process, not of a write
    try:
        for _ in range(3):
            for figure, ratio in logs_micro.measure("slice").items():
                best[figure] = min(ratio, best.get(figure, ratio))
            worse = {name: best[name] for name in RECORDED if best[name] > RECORDED[name] * ROOM}
            if not worse:
                return
    finally:
        gc.enable()
    pytest.fail(f"in slice assignments: {worse}; recorded were {[RECORDED[name] for name in worse]}")


def test_a_ring_allocates_nothing_and_a_log_keeps_no_more_than_its_index() -> None:
    with logs_micro.subjects() as writes:
        assert logs_micro.allocations(writes["ring"]) < 0.01
        assert logs_micro.allocations(writes["monitor"]) < 0.01
        # An entry of the index is a tuple, three numbers and a time, for as many entries as are kept.
        assert logs_micro.allocations(writes["log"]) < 8
