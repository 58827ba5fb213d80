"""Which llama.cpp server is used."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from hostler.engines import locate
from hostler.errors import ConfigError

TAIL = ("-m", "model.gguf", "-c", "512", "--host", "127.0.0.1", "--port", "9000")


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def with_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_llama_server_of_the_machine_comes_first(path_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_library(monkeypatch)
    server = path_folder / "llama-server"
    server.touch(mode=0o755)

    assert locate.llama_server_argv("model.gguf", 9000, ["-c", "512"]) == (str(server), *TAIL)


def test_built_in_engine_otherwise(path_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_library(monkeypatch)

    argv = locate.llama_server_argv(Path("model.gguf"), 9000, ("-c", "512"))

    assert argv == (sys.executable, "-m", "hostler.engines.llamacpp", *TAIL)


def test_address_comes_last(path_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one counts, so a --port among the arguments cannot hide the server."""
    with_library(monkeypatch)

    argv = locate.llama_server_argv("m", 9000, ["--port", "1"], host="::1")

    assert argv[-4:] == ("--host", "::1", "--port", "9000")


def test_neither(path_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_library(monkeypatch)

    with pytest.raises(ConfigError, match=r"pip install 'hostler\[llamacpp\]'"):
        locate.llama_server_argv("m", 9000, [])
