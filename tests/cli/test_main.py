"""How `hostler` begins and ends: help, exit codes, interruption, a reader who leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

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


@pytest.mark.wire
def test_following_is_interrupted(api: FakeApi) -> None:
    """Ctrl-C ends `logs -f` with 130 and without a word."""
    api.routes["GET /logs/stream"] = Stream(b"line\n")
    with subprocess.Popen([*HOSTLER, "logs", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"line\n"
        child.send_signal(signal.SIGINT)

        assert child.wait(20) == 130
        assert child.stderr.read() == b""


@pytest.mark.wire
def test_reader_leaves_while_lines_come(api: FakeApi) -> None:
    """`hostler logs -f | head -n 1` ends cleanly at the next write."""
    log = Stream(b"1\n")
    api.routes["GET /logs/stream"] = log
    with subprocess.Popen([*HOSTLER, "logs", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"1\n"
        child.stdout.close()
        log.write(b"2\n")

        assert child.wait(20) == 0
        assert child.stderr.read() == b""


@pytest.mark.wire
def test_reader_leaves_while_the_log_is_silent(api: FakeApi) -> None:
    """It does not take another line to notice."""
    api.routes["GET /logs/stream"] = Stream(b"1\n")
    with subprocess.Popen([*HOSTLER, "logs", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"1\n"
        child.stdout.close()

        assert child.wait(20) == 0
        assert child.stderr.read() == b""


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
