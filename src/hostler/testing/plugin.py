"""The pytest plugin: fixtures for tests that need an engine, a model or a port.

pytest loads this module wherever Hostler is installed, so it imports nothing that is not needed for its
fixtures to exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hostler.testing.stub import StubEngine


@pytest.fixture
def hostler_stub() -> Iterator[Callable[..., StubEngine]]:
    """Start stub engines: `engine = hostler_stub(ready_after=0.5)`; all are stopped after the test."""
    from hostler.testing.stub import StubEngine

    engines: list[StubEngine] = []

    def start(port: int | None = None, **options: Any) -> StubEngine:
        engine = StubEngine(port, **options)
        engines.append(engine)
        return engine.start()

    yield start
    for engine in engines:
        engine.stop()


@pytest.fixture(scope="session")
def hostler_tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a tiny model; written once a session, and once for all workers of pytest-xdist."""
    import os

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' directories are side by side
    path = base / "hostler-tiny.gguf"
    if not path.exists():
        from hostler.testing.tiny_gguf import write_tiny_gguf

        write_tiny_gguf(path)  # appears complete, so two workers at once do no harm
    return path


@pytest.fixture
def hostler_free_port() -> int:
    """A port on loopback that nobody listens on."""
    from hostler.testing.ports import free_port

    return free_port()
