"""How much longer a swap takes than the engines do: from gone to spawned, from ready to the first byte."""

from __future__ import annotations

import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import Final

from bench import load, requests
from bench.lab import HOSTLER, Lab
from bench.measurements import Figures
from bench.processes import ROOT
from hostler.testing.ports import free_port

SWAPS: Final = 12
LOAD_SECONDS: Final = 0.4


def swaps(at: Lab) -> Figures:
    """Medians over some swaps to an engine that listens when it is ready, and to one that says 503 before."""
    silent, answering = _swaps(at, "silent", ""), _swaps(at, "answering", "--answering")
    return {
        "swap_gone_to_spawned_ms": 1e3 * statistics.median(silent[0] + answering[0]),
        "swap_ready_to_first_byte_ms": 1e3 * statistics.median(silent[1]),
        "swap_ready_to_first_byte_ms_answering": 1e3 * statistics.median(answering[1]),
    }


def _swaps(at: Lab, name: str, how: str) -> tuple[list[float], list[float]]:
    port = free_port()
    process = _start(at, name, how, port)
    gone: list[float] = []
    ready: list[float] = []
    try:
        for number in range(SWAPS + 1):
            model, before = ("a", "b") if number % 2 else ("b", "a")
            answered = _ask(port, model)
            noted = _notes(at.directory / f"{model}.notes")
            if number:
                ready.append(answered - noted["ready"])
                gone.append(noted["spawned"] - _notes(at.directory / f"{before}.notes")["gone"])
    finally:
        at.processes.stop(process)
    return gone, ready


def _start(at: Lab, name: str, how: str, port: int) -> subprocess.Popen[bytes]:
    at.written("swap.sh", python=HOSTLER[0], engine=ROOT / "bench" / "engine.py")
    config = at.written("swap.yaml", a=free_port(), b=free_port(), load=LOAD_SECONDS, how=how)
    argv = [*HOSTLER, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    return at.processes.start(f"swap-{name}", argv, port=port)


def _ask(port: int, model: str) -> float:
    """Ask for a model; when the first byte of its answer was there."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(requests.post(requests.small_body(model)))
        data = sock.recv(load.READ)
        answered = time.time()
    load.answer_size(data)
    return answered


def _notes(path: Path) -> dict[str, float]:
    """What an engine noted, the newest of each kind."""
    return {
        what: float(when) for what, when in (line.split() for line in path.read_text("ascii").splitlines())
    }
