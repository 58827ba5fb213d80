"""Configurations that nobody wrote."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
import yaml

from hostler.cli import adhoc, curls, sources
from hostler.cli.outcome import CommandError
from hostler.config.problems import ConfigProblems
from hostler.core import ModelId
from hostler.errors import ConfigError

if TYPE_CHECKING:
    from hostler.config.schema import Config


def paths(*names: str) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in names]


def read(files: list[str], directory: str | None, models: str | None) -> Config:
    return sources.find(files, directory, models).load().config


def test_text_means_what_was_given() -> None:
    """Whatever a file is called, it survives the way through the configuration."""
    hostile = '/m/a: "b" #c \\ \u00e9\U0001f600 *&!.gguf'
    text = adhoc.text({"id: x": adhoc.Entry(hostile, ("-c", "10"), "N", "D")})

    assert yaml.safe_load(text) == {
        "models": {"id: x": {"model": hostile, "args": ["-c", "10"], "name": "N", "description": "D"}}
    }


def test_macros_are_not_made_by_accident() -> None:
    with pytest.raises(CommandError, match="means a macro"):
        adhoc.text({"m": adhoc.Entry("/m/${PORT}.gguf")})


@pytest.mark.parametrize(
    ("file", "model_id"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B-Q4_K_M"),
        ("dir/Big-00001-of-00003.GGUF", "Big"),
        ("no-suffix", "no-suffix"),
    ],
)
def test_names(file: str, model_id: str) -> None:
    assert adhoc.name_of(PurePosixPath(file)) == model_id


def test_what_is_offered() -> None:
    """Of a split model the first part, no projectors, nothing else."""
    found = adhoc.offered(
        paths(
            "b.gguf",
            "a/c-00001-of-00002.gguf",
            "a/c-00002-of-00002.gguf",
            "mmproj-f16.gguf",
            "b-mmproj.gguf",
            "readme.md",
            "x.GGUF",
        )
    )

    assert found == paths("a/c-00001-of-00002.gguf", "b.gguf", "x.GGUF")


def test_ids_are_unique() -> None:
    files = paths("a/m.gguf", "b/m.gguf", "b/m-00001-of-00002.gguf", "n.gguf")

    assert adhoc.by_id(files) == {
        "a/m": files[0],
        "b/m": files[1],
        "b/m-00001-of-00002.gguf": files[2],
        "n": files[3],
    }


def test_directories_are_walked_once(tmp_path: Path) -> None:
    """A link to a directory is followed; one that leads back does not go on for ever."""
    (tmp_path / "real").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "real" / "m.gguf").touch()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "models")

    found = [path.relative_to(tmp_path).as_posix() for path in sources.walk(tmp_path / "models")]

    assert found == ["models/link/m.gguf"]


def test_nothing_to_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CommandError, match=r"no config\.yaml in this directory"):
        read([], None, None)
    with pytest.raises(ConfigError, match="no such directory"):
        read([], None, "missing")
    with pytest.raises(ConfigError, match="no GGUF file"):
        read([], None, str(tmp_path))


def test_config_of_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("models: {}\n")

    assert sources.find([], None, None) == sources.Found((Path("config.yaml"),))
    assert sources.find([], "d", None) == sources.Found(directory=Path("d"))


def test_lines_to_try_are_valid_shell() -> None:
    shown = curls.two_models("http://127.0.0.1:9000", "a", "it's", program=".venv/bin/hostler")

    assert ".venv/bin/hostler logs --url http://127.0.0.1:9000 -f" in shown
    assert "it's" not in curls.chat("http://h", "it's", "q").replace("it'\"'\"'s", "")
    assert "curl -N http://h/v1/chat/completions" in curls.one_model("http://h", "m")


def test_models_beside_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--models adds to what the files offer, and shares their rules; two models of one name do not pass."""
    (tmp_path / "tiny.gguf").touch()
    config = tmp_path / "c.yaml"
    config.write_text("models: {other: {cmd: 'engine --port ${PORT}'}}\n")

    read_config = read([str(config)], None, str(tmp_path))

    models = {str(model.id): model for model in read_config.models.values()}
    assert models["tiny"].model == str(tmp_path / "tiny.gguf")
    assert models["other"].port != models["tiny"].port
    assert {*read_config.routing.groups["(default)"].members} == {"other", "tiny"}
    config.write_text("models: {tiny: {cmd: 'engine --port ${PORT}'}}\n")
    with pytest.raises(ConfigProblems, match="tiny"):
        read([str(config)], None, str(tmp_path))


def test_a_directory_of_models_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    found = sources.find([], None, str(tmp_path), "debug")
    first = found.load().config

    (tmp_path / "a.gguf").touch()
    second = found.load(first).config

    assert [*first.models] == ["m"]
    assert {*second.models} == {"a", "m"}
    assert second.models[ModelId("m")].port == first.models[ModelId("m")].port
    assert second.log_level == "debug", "the command line outlives a reload"


def test_demo_is_a_configuration() -> None:
    """Two models that exclude each other, on the same weights."""
    config = sources.made_up(adhoc.demo("/w/gemma.gguf", 3))

    assert {model.model for model in config.models.values()} == {"/w/gemma.gguf"}
    assert len(config.models) == 2
    assert len({model.args for model in config.models.values()}) == 2
    assert all(model.args[model.args.index("-t") + 1] == "3" for model in config.models.values())
    (group,) = config.routing.groups.values()
    assert group.swap
    assert set(group.members) == set(config.models)


MATRIX = """
models:
  a: {cmd: 'x --port ${PORT}'}
  b: {cmd: 'x --port ${PORT}'}
  c: {cmd: 'x --port ${PORT}'}
matrix:
  sets: {one: "SET"}
selectors:
  s: {strategy: spillover, targets: [a, TARGET]}
"""


@pytest.mark.parametrize(
    ("rule", "target", "problem"),
    [
        ("a & b | c", "b", None),
        ("a & (b", "b", "one"),
        ("a & nope", "b", "nope"),
        ("a & b | c", "c", "cannot run at the same time"),
    ],
)
def test_matrix_is_understood(tmp_path: Path, rule: str, target: str, problem: str | None) -> None:
    """What only the scheduler knows about a matrix is found when the configuration is read."""
    config = tmp_path / "c.yaml"
    config.write_text(MATRIX.replace("SET", rule).replace("TARGET", target))

    if problem is None:
        assert read([str(config)], None, None).routing.matrix is not None
    else:
        with pytest.raises(ConfigProblems, match=problem):
            read([str(config)], None, None)
