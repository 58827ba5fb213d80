"""Ports for tests, and waiting for somebody to listen on them."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Final

LOOPBACK: Final = "127.0.0.1"
PORTS: Final = (15_000, 32_000)
ATTEMPTS: Final = 200
FIRST_PAUSE: Final = 0.001
LONGEST_PAUSE: Final = 0.02  # short beside any start, long enough to leave the processor to what is awaited


def free_port() -> int:
    """A port on loopback that nobody used a moment ago.

    Not one of those that the system gives to clients (from 32,768 on under Linux): a connection of another
    test could have it before it is listened on. Raises OSError when there is none.
    """
    for _ in range(ATTEMPTS):
        port = random.randrange(*PORTS)
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port found in {ATTEMPTS} attempts")


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Return as soon as `condition()` holds; raise TimeoutError, naming `what`, when it does not in time."""
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    """Whether a connection to the port is accepted."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def wait_until_listening(
    port: int, host: str = LOOPBACK, *, timeout: float = 10.0, alive: Callable[[], bool] = lambda: True
) -> None:
    """Return once somebody listens on `port`; raise TimeoutError, or RuntimeError when `alive()` is False."""

    def listening() -> bool:
        if is_listening(port, host):
            return True
        if not alive():
            raise RuntimeError(f"the process ended before it listened on {host}:{port}")
        return False

    wait_until(listening, f"{host}:{port} to listen", timeout)
