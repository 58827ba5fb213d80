"""The way of a request and of a chunk stays short: see `bench.gate`.

It needs nothing but this repository, so it is never skipped. `tests/wire/test_chunk_path.py` is its finer
brother. scripts/test runs it by itself, when nothing else of the tests disturbs it.
"""

from __future__ import annotations

import pytest
from bench import gate
from bench.lab import small_lab


@pytest.mark.gate
@pytest.mark.timeout(180)
def test_nothing_costs_more_than_it_did() -> None:
    with small_lab() as at:
        ratios = gate.run(at)

    assert gate.failed(ratios) == []


def test_what_is_said_of_a_figure_that_fails() -> None:
    fine = {figure: held.most for figure, held in gate.HELD.items()}

    assert gate.failed(fine) == []
    [said] = gate.failed(fine | {"cpu_us_per_fast_chunk": 99.0})
    assert said.startswith("cpu_us_per_fast_chunk is 99.00 times that of the relay;")
