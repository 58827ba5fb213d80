"""check: what it prints and how it ends."""

from __future__ import annotations

import io
import json
import os
import sys
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


def test_a_directory_may_stand_for_a_configuration_in_a_comparison(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "parts").mkdir()
    (files / "parts" / "1.yaml").write_text((files / "next.yaml").read_text())

    assert main(["check", "--diff", "good.yaml", "parts"]) == 0
    assert "+ c (new)" in capsys.readouterr().out


def test_nothing_that_is_printed_tells_a_secret(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")
    monkeypatch.setenv("PIN", "4711")
    text = (
        GOOD.replace("  b:", "  'm-${env.TOKEN}':")
        + "  c: {cmd: 'e ${PORT} ${env.TOKEN}', ttl: ${env.PIN}}\n"
    )
    (files / "one.yaml").write_text(text)
    (files / "two.yaml").write_text(text.replace("m-", "n-").replace("ttl: 5", "ttl: 7"))
    (files / "wrong.yaml").write_text(
        text + "startPort: ${env.TOKEN}\ngroups: {g: {members: ['${env.TOKEN}']}}\n"
    )

    shown = ""
    for flags in (["one.yaml"], ["--show", "one.yaml"], ["wrong.yaml"], ["--diff", "one.yaml", "two.yaml"]):
        main(["check", *flags])
        main(["check", "--json", *flags])
        shown += "".join(capsys.readouterr())

    assert "***" in shown
    assert not [secret for secret in ("swordfish", "4711", "verysecretkey") if secret in shown]


@pytest.mark.usefixtures("files")
def test_what_would_run_is_shown_port_by_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--show", "--json", "good.yaml"]) == 0

    models = json.loads(capsys.readouterr().out)["models"]
    assert {name: (m["cmd"], m["port"], m["proxy"]) for name, m in models.items()} == {
        "a": ("engine --port 5800", 5800, "http://localhost:5800"),
        "b": ("engine --port 5801", 5801, "http://localhost:5801"),
    }


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.skipif(sys.platform == "win32", reason="names of files are text there")
def test_output_that_knows_few_characters(
    files: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    """A file's name need not be text, and a terminal need not be UTF-8."""
    name = os.fsdecode(b"\xff\xe4.yaml")
    (files / name).write_text("'\N{SNOWMAN}': 1\nstartPort: x", encoding="utf-8")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))

    assert main(["check", *flags, name]) == 1

    sys.stdout.flush()
    assert b"startPort" in raw.getvalue()
    if flags:
        assert len(json.loads(raw.getvalue())["problems"]) == 2


@pytest.mark.usefixtures("files")
def test_a_dump_is_utf8(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "name.yaml").write_text("models: {'\N{SNOWMAN}': {cmd: 'x ${PORT}'}}", encoding="utf-8")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))

    assert main(["check", "--show", "name.yaml"]) == 0

    sys.stdout.flush()
    assert list(yaml.safe_load(raw.getvalue().decode("utf-8"))["models"]) == ["\N{SNOWMAN}"]
