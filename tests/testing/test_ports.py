"""Ports, and waiting."""

from __future__ import annotations

import socket
import time

import pytest

from hostler.testing import free_port, wait_until, wait_until_listening
from hostler.testing.ports import is_listening


def test_free_port_is_free() -> None:
    port = free_port()

    assert not is_listening(port)
    with socket.create_server(("127.0.0.1", port)):
        assert is_listening(port)


def test_wait_returns_as_soon_as_it_holds() -> None:
    tries = iter([False, False, True])
    begun = time.monotonic()

    wait_until(lambda: next(tries), "the third try")

    assert time.monotonic() - begun < 1.0
    assert list(tries) == []


def test_wait_says_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"waited 0\.01 s for better weather"):
        wait_until(lambda: False, "better weather", 0.01)


def test_wait_for_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wait_until_listening(server.getsockname()[1])


def test_wait_for_a_listener_that_never_comes() -> None:
    with pytest.raises(TimeoutError, match="to listen"):
        wait_until_listening(free_port(), timeout=0.01)


def test_wait_for_a_listener_that_died() -> None:
    with pytest.raises(RuntimeError, match="ended before it listened"):
        wait_until_listening(free_port(), alive=lambda: False)
