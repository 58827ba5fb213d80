"""check: what it prints and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from hostler.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
apiKeys: [verysecretkey]
models:
  a: {cmd: 'engine --port ${PORT}', ttl: 5}
  b: {cmd: 'engine --port ${PORT}'}
"""
BAD = """
models:
  a: {cmd: 'engine --port ${PORT}', ttl: soon, ttll: 3, unloadTimeout: x}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "next.yaml").write_text(GOOD.replace("ttl: 5", "ttl: 6").replace("  b:", "  c:"))
    return tmp_path


@pytest.mark.usefixtures("files")
def test_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.yaml"]) == 0
    assert capsys.readouterr().out == "ok: 2 models\n"


@pytest.mark.usefixtures("files")
def test_every_problem_has_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "bad.yaml"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(("error: bad.yaml:3:", "warning: bad.yaml:3:")) for line in lines[:3])
    assert lines[3] == "not usable: 2 errors"


@pytest.mark.usefixtures("files")
def test_problems_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "bad.yaml"]) == 1
    bad = json.loads(capsys.readouterr().out)
    assert main(["check", "--json", "good.yaml"]) == 0
    good = json.loads(capsys.readouterr().out)

    assert not bad["ok"]
    assert {problem["line"] for problem in bad["problems"]} == {3}
    assert good == {"ok": True, "problems": []}


@pytest.mark.usefixtures("files")
def test_show_masks_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--show", "good.yaml"]) == 0
    shown = capsys.readouterr().out
    assert main(["check", "--show", "--json", "good.yaml"]) == 0
    as_json = json.loads(capsys.readouterr().out)

    assert yaml.safe_load(shown) == as_json
    assert as_json["models"]["a"]["ttl"] == 5
    assert "verysecretkey" not in shown


@pytest.mark.usefixtures("files")
def test_show_of_what_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--show", "bad.yaml"]) == 1
    assert "error: bad.yaml:3:" in capsys.readouterr().out


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0
    assert "models" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.usefixtures("files")
def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--diff", "good.yaml", "next.yaml"]) == 0
    assert "+ c (new)" in capsys.readouterr().out
    assert main(["check", "--json", "--diff", "good.yaml", "next.yaml"]) == 0
    change = json.loads(capsys.readouterr().out)

    assert (change["added"], change["removed"], change["updated"]) == (["c"], ["b"], {"a": ["ttl"]})
    assert main(["check", "--diff", "good.yaml", "bad.yaml"]) == 1


@pytest.mark.usefixtures("files")
def test_files_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "missing.yaml"]) == 1
    assert main(["check"]) == 1
    shown = capsys.readouterr()

    assert "missing.yaml" in shown.out
    assert "no config.yaml" in shown.err


@pytest.mark.usefixtures("files")
def test_files_and_flags_that_take_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema", "good.yaml"]) == 2
    assert "take no further files" in capsys.readouterr().err


def test_directory(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = files / "parts"
    parts.mkdir()
    (parts / "1.yaml").write_text("models: {x: {cmd: 'e ${PORT}'}}")
    (parts / "2.yml").write_text("models: {y: {cmd: 'e ${PORT}'}}")

    assert main(["check", "--config-dir", "parts"]) == 0
    assert capsys.readouterr().out == "ok: 2 models\n"
