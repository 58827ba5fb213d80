"""The fixtures, as a project that installed Hostler sees them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hostler.testing import StubEngine
from hostler.testing.ports import is_listening

HEAVY = {"numpy", "gguf", "xllamacpp", "asyncio", "uvicorn", "starlette"}


@pytest.mark.wire
def test_stub_factory(hostler_stub: Callable[..., StubEngine]) -> None:
    first, second = hostler_stub(model="a"), hostler_stub(ready_after=60)

    assert first.port != second.port
    assert first.alive()
    assert second.alive()


def test_free_port(hostler_free_port: int) -> None:
    assert not is_listening(hostler_free_port)


def test_tiny_gguf(hostler_tiny_gguf: Path) -> None:
    assert hostler_tiny_gguf.read_bytes()[:4] == b"GGUF"


def test_costs_nothing_to_load() -> None:
    """pytest loads the plugin in every project of the environment."""
    load = "import hostler.testing.plugin"
    program = f"import sys, pytest; old = set(sys.modules); {load}; print(*set(sys.modules) - old)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert loaded & HEAVY == set()


@pytest.mark.wire
def test_engines_are_stopped_after_the_test(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "def test_it(hostler_stub):\n    print('port', hostler_stub().port)\n    assert 0\n",
        encoding="utf-8",
    )
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            str(test),
            "--rootdir",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )

    assert "1 failed" in result.stdout
    port = int(result.stdout.partition("port ")[2].split()[0])
    assert not is_listening(port)
