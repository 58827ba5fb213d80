"""How `hostler` begins and ends: help, exit codes, interruption, a reader who leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fake_api import FakeApi, Stream
from hostler import __version__
from hostler.cli.main import main

HOSTLER = [sys.executable, "-m", "hostler.cli.main"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    shown = capsys.readouterr().out
    for command in ("serve", "run", "demo", "check", "ps", "logs", "load", "unload", "version"):
        assert f"\n    {command} " in shown


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: hostler" in capsys.readouterr().err


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frobnicate"]) == 2
    assert main(["unload"]) == 2
    assert main(["unload", "m", "--all"]) == 2
    assert main(["--url", "http://x", "check"]) == 2
    assert main(["ps", "--url", "ftp://x"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["version"], ["--version"], ["-version"]])
def test_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith(f"hostler {__version__} (Python ")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("hostler.cli.status.version", interrupt)

    assert main(["version"]) == 130
    assert capsys.readouterr().err == ""


def test_help_is_quick_because_it_imports_little() -> None:
    """Time is a poor test; what is imported decides it."""
    program = (
        "import json, sys; from hostler.cli.main import main; main(['--help']); "
        "json.dump(sorted(sys.modules), sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    imported = set(json.loads(result.stderr))

    assert imported.isdisjoint({"asyncio", "http.client", "ssl", "starlette", "uvicorn", "uvloop", "yaml"})
    assert imported.isdisjoint({"hostler.client", "hostler.app", "hostler.config.schema"})


Followed = tuple["subprocess.Popen[bytes]", Stream]


def record(text: str) -> bytes:
    return json.dumps({"kind": "line", "model": "m", "text": text, "cursor": "e:1.1"}).encode() + b"\n"


@pytest.fixture(params=["raw", "records"])
def followed(request: pytest.FixtureRequest, api: FakeApi) -> Iterator[Followed]:
    """`hostler logs -f` that has printed a line, and the log it follows."""
    raw = request.param == "raw"
    log = Stream(b"1\n" if raw else record("1"))
    api.routes["GET /logs/stream/m" + ("" if raw else "?format=ndjson")] = log
    argv = [*HOSTLER, "logs", "-f", "m", *(["--raw"] if raw else [])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        yield child, log
        child.kill()


def ends_quietly(child: subprocess.Popen[bytes], code: int) -> None:
    assert child.wait(20) == code
    assert child.stderr is not None
    assert child.stderr.read() == b""


@pytest.mark.wire
def test_following_is_interrupted(followed: Followed) -> None:
    """Ctrl-C ends `logs -f` with 130 and without a word."""
    child, _ = followed
    child.send_signal(signal.SIGINT)
    ends_quietly(child, 130)


@pytest.mark.wire
def test_reader_leaves_while_lines_come(followed: Followed) -> None:
    """`hostler logs -f | head -n 1` ends cleanly at the next write."""
    child, log = followed
    assert child.stdout is not None
    child.stdout.close()
    log.write(b"2\n" if "--raw" in child.args else record("2"))  # type: ignore[operator]
    ends_quietly(child, 0)


@pytest.mark.wire
def test_reader_leaves_while_the_log_is_silent(followed: Followed) -> None:
    """It does not take another line to notice."""
    child, _ = followed
    assert child.stdout is not None
    child.stdout.close()
    ends_quietly(child, 0)


@pytest.mark.wire
def test_reader_is_gone_before_anything_is_written() -> None:
    """Output that is still buffered at the end finds nobody either."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [*HOSTLER, "version"], stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False
        )
    finally:
        os.close(writing)

    assert (result.returncode, result.stderr) == (0, b"")
