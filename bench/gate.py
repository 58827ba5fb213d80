"""The regression gate: what a request and a chunk cost Hostler, as multiples of what they cost `bench.relay`.

    python -m bench.gate

Both are measured in the same run, so that the machine and what else it does count little; processor time is
compared, and the best of a few rounds counts. Some ten seconds when all is well.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

import uvloop

from bench import load, machine, measurements, requests
from bench.lab import Lab, small_lab
from bench.measurements import PACE_MS, Figures
from bench.processes import end_on_signals

ROUNDS: Final = 4
SMALL: Final = requests.post(requests.small_body(requests.STREAMS))
PACED: Final = requests.post(requests.stream_body(100, PACE_MS))
FAST: Final = requests.post(requests.stream_body(40_000, 0))


@dataclass(frozen=True)
class Held:
    """A figure that is held: how its ratio is measured, and the highest that passes."""

    ratio: Callable[[Lab], float]
    most: float


Load = Callable[[int], Coroutine[None, None, int]]


def _beside(load_on: Load) -> Callable[[Lab], float]:
    """The ratio of processor time for each unit of a load that runs on both ports at the same time.

    How much comes at once decides what one chunk costs, and that depends on what else the machine does.
    """

    async def both(at: Lab) -> list[int]:
        return await asyncio.gather(*(load_on(subject.streams) for subject in at.subjects))

    def ratio(at: Lab) -> float:
        before = [machine.cpu_seconds(subject.pids) for subject in at.subjects]
        counts = uvloop.run(both(at))
        relay, hostler = (
            (machine.cpu_seconds(subject.pids) - begun) / count
            for subject, begun, count in zip(at.subjects, before, counts, strict=True)
        )
        return hostler / relay

    return ratio


async def _requests(port: int) -> int:
    return await load.run_requests(port, SMALL, 8, 1.5)


async def _paced(port: int) -> int:
    totals = await load.run_streams(port, PACED, 32, spread=0.2, dated=False)
    return totals.chunks


async def _fast(port: int) -> int:
    totals = await load.run_streams(port, FAST, 16, spread=0, dated=False)
    return totals.chunks


def _large(at: Lab) -> float:
    relay, hostler = (measurements.large(subject, at, 0)["cpu_ms_per_5_mb"] for subject in at.subjects)
    return hostler / relay


# Those of the day they were written down, and room for noise. Lower them when something got faster.
HELD: Final[dict[str, Held]] = {
    "cpu_us_per_request": Held(_beside(_requests), 6),
    "cpu_us_per_paced_chunk": Held(_beside(_paced), 2.05),
    "cpu_us_per_fast_chunk": Held(_beside(_fast), 3.6),
    "cpu_ms_per_5_mb": Held(_large, 8),
}


def run(at: Lab) -> Figures:
    """The best ratio of each figure that is held; stops as soon as all of them pass."""
    for subject in at.subjects:
        uvloop.run(load.run_requests(subject.streams, SMALL, 8, 0.3))  # starts the model, warms both up
    best: Figures = {}
    for _ in range(ROUNDS):
        for figure, held in HELD.items():
            if best.get(figure, held.most + 1) > held.most:
                ratio = held.ratio(at)
                best[figure] = min(ratio, best.get(figure, ratio))
        if not failed(best):
            break
    return best


def failed(ratios: Figures) -> list[str]:
    """What is wrong, in words, a line for each figure above what is held."""
    return [
        f"{figure} is {ratios[figure]:.2f} times that of the relay; {held.most:g} is the most"
        for figure, held in HELD.items()
        if ratios[figure] > held.most
    ]


def main() -> int:
    """Print the ratios; the exit code says whether they pass."""
    end_on_signals()
    try:
        with small_lab() as at:
            ratios = run(at)
    except KeyboardInterrupt:
        return 130
    for figure, held in HELD.items():
        print(f"{figure:24} {ratios[figure]:6.2f}   at most {held.most:g}")
    return 1 if failed(ratios) else 0


if __name__ == "__main__":
    sys.exit(main())
