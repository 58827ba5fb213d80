"""Ports for tests, and waiting for somebody to listen on them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Final

LOOPBACK: Final = "127.0.0.1"
FIRST_PAUSE: Final = 0.001
LONGEST_PAUSE: Final = 0.02  # short beside any start, long enough to leave the processor to what is awaited


def free_port() -> int:
    """A port on loopback that nobody listened on a moment ago."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


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
