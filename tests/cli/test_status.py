"""ps, unload, version: what they ask and what they print."""

from __future__ import annotations

import json

import pytest

from fake_api import Answer, FakeApi
from hostler.cli.main import main

pytestmark = pytest.mark.wire

MODELS = [
    {
        "id": "busy",
        "state": "ready",
        "pid": 4321,
        "run": 3,
        "active": 2,
        "waiting": 0,
        "since": 75.2,
        "uptime": 75.2,
    },
    {
        "id": "asleep",
        "state": "stopped",
        "pid": None,
        "run": 1,
        "active": 0,
        "waiting": 0,
        "last_exit": "exit code 0",
    },
    {
        "id": "sick",
        "state": "stopped",
        "run": 2,
        "waiting": 1,
        "last_error": "exit code 1: out of memory\nmore",
    },
]


def test_ps(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Models with a process or with somebody waiting for one."""
    api.routes["GET /api/models"] = Answer.of({"models": MODELS})

    assert main(["ps"]) == 0
    assert capsys.readouterr().out == (
        "MODEL  STATE      FOR   PID  RUN  UPTIME  ACTIVE  WAITING  NOTE\n"
        "busy   ready    1m15s  4321    3   1m15s       2        0\n"
        "sick   stopped      -     -    2       -       -        1  exit code 1: out of memory\n"
    )


def test_ps_all(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["GET /api/models"] = Answer.of({"models": MODELS})

    assert main(["ps", "--all"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["busy", "asleep", "sick"]
    assert lines[2].endswith(" 0"), "an orderly end is no news"


def test_ps_json(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["GET /api/models"] = Answer.of({"models": MODELS})

    assert main(["ps", "--json", "--all"]) == 0
    assert json.loads(capsys.readouterr().out) == MODELS


def test_ps_of_nothing(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that there are models; the table stays a table."""
    api.routes["GET /api/models"] = Answer.of({"models": [{"id": "a", "state": "stopped"}]})

    assert main(["ps"]) == 0

    shown = capsys.readouterr()
    assert shown.out.startswith("MODEL")
    assert shown.err == "no model is running; 1 is configured (hostler ps --all)\n"


def test_names_cannot_steer_the_terminal(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["GET /api/models"] = Answer.of({"models": [{"id": "a\x1b[2J\nb", "state": "ready"}]})

    assert main(["ps"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("ab ")


def test_unload(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /api/models/unload/org/m"] = Answer(b"OK")
    api.routes["POST /api/models/unload"] = Answer.of({"msg": "ok"})

    assert main(["unload", "org/m"]) == 0
    assert main(["unload", "--all"]) == 0
    assert capsys.readouterr().out == "org/m is unloaded\nevery model is unloaded\n"


def test_unknown_model(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /api/models/unload/x"] = Answer.of({"error": {"message": "model not found"}}, 404)

    assert main(["unload", "x"]) == 1
    assert capsys.readouterr().err == "hostler: model not found\n"


def test_key_is_wanted(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["GET /api/models"] = Answer.of({"error": {"message": "unauthorized"}}, 401)

    assert main(["ps", "--api-key", "wrong"]) == 1
    assert "--api-key or HOSTLER_API_KEY" in capsys.readouterr().err
    assert api.seen[0].headers["authorization"] == "Bearer wrong"


def test_server_version(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["GET /api/version"] = Answer.of({"version": "9.9", "commit": "abc"})

    assert main(["version", "--server"]) == 0
    assert f"server  9.9 (abc) at {api.url}" in capsys.readouterr().out


def test_long_notes_are_cut(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of it is in --json and in the log."""
    sick = {"id": "sick", "state": "stopped", "last_error": "x" * 500}
    api.routes["GET /api/models"] = Answer.of({"models": [sick]})

    assert main(["ps", "--all"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(" " + "x" * 59 + "…")
