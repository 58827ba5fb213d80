"""Load from wrk, and what it says about it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import program

UNITS: Final = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}  # in microseconds


class WrkFailed(Exception):
    """wrk did not run, or not every answer was a 200."""


@dataclass(frozen=True)
class Result:
    """One run of wrk: requests answered, in how many seconds, and how long they took in microseconds."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float


def run(port: int, path: str, script: Path, *, connections: int, seconds: float) -> Result:
    """Put load on a port of loopback for whole seconds; raises WrkFailed."""
    wrk = program("wrk")
    if wrk is None:
        raise WrkFailed("wrk is not installed")
    duration = f"-d{max(1, round(seconds))}s"
    argv = [wrk, "-t1", f"-c{connections}", duration, "--latency", "-s", str(script)]
    done = subprocess.run(
        [*argv, f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise WrkFailed(done.stderr or done.stdout)
    return parse(done.stdout)


def parse(text: str) -> Result:
    """The figures in what wrk prints with `--latency`; raises WrkFailed when there were errors or nothing."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h)\b", text)
    bad = re.search(r"(Non-2xx.*|Socket errors: connect [1-9].*)", text)
    if bad or total is None or int(total[1]) == 0:
        raise WrkFailed(bad[1] if bad else f"no requests were answered:\n{text}")
    return Result(
        requests=int(total[1]),
        seconds=float(total[2]) * UNITS[total[3]] / 1e6,
        p50_us=_percentile(text, "50%"),
        p99_us=_percentile(text, "99%"),
    )


def _percentile(text: str, which: str) -> float:
    found = re.search(rf"^\s*{which}\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE)
    if found is None:
        raise WrkFailed(f"no {which} in what wrk printed")
    return float(found[1]) * UNITS[found[2]]
