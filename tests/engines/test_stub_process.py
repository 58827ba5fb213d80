"""The life of the stub: starting, not starting, ending, not ending, printing, leaving somebody behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.conftest import fetch_json
from hostler.testing import StubEngine, free_port, stub_argv, wait_until

pytestmark = pytest.mark.wire
Start = Callable[..., StubEngine]


def run(**options: Any) -> subprocess.CompletedProcess[str]:
    """A stub that ends by itself, with all it printed."""
    return subprocess.run(stub_argv(free_port(), **options), capture_output=True, text=True, timeout=20)


def test_says_what_it_does(hostler_stub: Start) -> None:
    engine = hostler_stub(startup_log=["first", "second"])
    engine.wait_ready()

    expected = ["first", "second", f"listening on 127.0.0.1:{engine.port}", "ready", "request GET /health"]
    wait_until(lambda: len(engine.stderr.splitlines()) >= len(expected), "five lines")
    assert sorted(engine.stderr.splitlines()[: len(expected)]) == sorted(expected)
    assert engine.stderr.startswith("first\nsecond\nlistening on")


def test_is_loading_before_it_is_ready(hostler_stub: Start) -> None:
    engine = hostler_stub(ready_after=60)

    assert fetch_json(engine.url + "/health") == (503, {"status": "loading"})
    assert fetch_json(engine.url + "/v1/models")[0] == 503
    assert "ready" not in engine.stderr.splitlines()


def test_becomes_ready(hostler_stub: Start) -> None:
    engine = hostler_stub(ready_after=0.05)
    engine.wait_ready()

    assert fetch_json(engine.url + "/health") == (200, {"status": "ok"})


def test_exit_before_ready() -> None:
    result = run(exit_before_ready=7, startup_log=["cudaMalloc failed: out of memory"])

    assert result.returncode == 7
    assert result.stderr.startswith("cudaMalloc failed: out of memory\n")
    assert "ready" not in result.stderr.splitlines()


def test_exit_after_ready() -> None:
    result = run(exit_after_ready=3, exit_delay=0.01)

    assert result.returncode == 3
    assert "ready" in result.stderr.splitlines()


def test_health_that_hangs(hostler_stub: Start) -> None:
    engine = hostler_stub(hang_health=True)
    with socket.create_connection(("127.0.0.1", engine.port), timeout=0.2) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: stub\r\n\r\n")
        engine.wait_for_output("request GET /health")
        with pytest.raises(TimeoutError):
            client.recv(1)

    assert fetch_json(engine.url + "/v1/models")[0] == 200


def test_never_listens(hostler_stub: Start) -> None:
    engine = hostler_stub(no_listen=True)
    engine.wait_for_output("ready")

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", engine.port))
    assert engine.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_at_a_signal(hostler_stub: Start, number: signal.Signals) -> None:
    engine = hostler_stub()
    engine.process.send_signal(number)

    assert engine.wait_exit() == 0
    assert "Traceback" not in engine.stderr


def test_ignores_sigterm(hostler_stub: Start) -> None:
    engine = hostler_stub(ignore_term=True)
    engine.process.terminate()
    engine.wait_for_output("SIGTERM ignored")

    assert engine.alive()
    engine.process.kill()
    assert engine.wait_exit() == -signal.SIGKILL


def test_takes_its_time_to_exit(hostler_stub: Start) -> None:
    engine = hostler_stub(slow_exit=0.2)
    engine.process.terminate()
    engine.wait_for_output("stopping")

    assert engine.alive()
    assert engine.wait_exit() == 0


def test_exit_on_request(hostler_stub: Start) -> None:
    engine = hostler_stub()

    assert fetch_json(engine.url + "/stub/exit", {"code": 5}) == (200, {"exiting": 5})
    assert engine.wait_exit() == 5


@pytest.mark.parametrize("own_session", [False, True])
def test_leaves_a_grandchild_with_the_pipes(own_session: bool) -> None:
    """The pipes stay open after the child is gone; whoever waits for their end must survive that."""
    options: dict[str, Any] = {"grandchild_setsid": True} if own_session else {"grandchild": True}
    argv = stub_argv(free_port(), exit_after_ready=0, grandchild_life=30, **options)
    with subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True) as child:
        assert child.stderr is not None
        found = re.match(rb"grandchild (\d+)", child.stderr.readline())
        assert found is not None
        grandchild = int(found[1])
        try:
            assert child.wait(10) == 0
            os.kill(grandchild, 0)
            # It moves to a session of its own a moment after it was born.
            wait_until(lambda: (os.getpgid(grandchild) == child.pid) is not own_session, "its session")
        finally:
            os.kill(grandchild, signal.SIGKILL)
        assert child.stderr.read().endswith(b"exiting with code 0\n")


def test_port_that_is_taken(hostler_stub: Start) -> None:
    engine = hostler_stub()
    result = subprocess.run(stub_argv(engine.port), capture_output=True, text=True, timeout=20)

    assert result.returncode == 1
    assert "couldn't bind" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonsense": 1}, "unknown option: --nonsense"),
        ({"ready_after": "soon"}, "ready_after must be float, not 'soon'"),
        ({"line_stream": "side"}, "line_stream must be one of stdout, stderr, both"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    result = run(**options)

    assert (result.returncode, result.stderr) == (2, f"error: {message}\n")


@pytest.mark.parametrize(
    ("stream", "stdout", "stderr"),
    [
        ("stdout", range(5, 2005), []),
        ("stderr", [], range(5, 2005)),
        ("both", range(5, 2005, 2), range(6, 2005, 2)),
    ],
)
def test_prints_numbered_lines(hostler_stub: Start, stream: str, stdout: Any, stderr: Any) -> None:
    engine = hostler_stub(lines=2000, line_start=5, line_stream=stream, line_bytes=40)

    def numbered(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("line ")]

    wait_until(lambda: len(numbered(engine.stdout) + numbered(engine.stderr)) == 2000, "2000 lines")
    assert numbered(engine.stdout) == [f"line {number:09d} {'x' * 24}" for number in stdout]
    assert numbered(engine.stderr) == [f"line {number:09d} {'x' * 24}" for number in stderr]


def test_prints_at_a_rate(hostler_stub: Start) -> None:
    engine = hostler_stub(lines=-1, line_rate=200, line_stream="stdout")

    engine.wait_for_output("line 000000004\n")
    assert engine.stdout.count("\n") < 1000


def test_prints_on_request(hostler_stub: Start) -> None:
    engine = hostler_stub()
    wanted = {"lines": 3000, "start": 10, "stream": "stdout", "bytes": 100}

    assert fetch_json(engine.url + "/stub/print", wanted) == (200, {"printed": 3000, "next": 3010})
    lines = engine.stdout.splitlines(keepends=True)
    assert [int(line.split()[1]) for line in lines] == list(range(10, 3010))
    assert {len(line) for line in lines} == {100}


@pytest.mark.parametrize("wanted", [{"lines": -1}, {"lines": "many"}, {"stream": "side"}])
def test_print_request_that_makes_no_sense(hostler_stub: Start, wanted: dict[str, Any]) -> None:
    assert fetch_json(hostler_stub().url + "/stub/print", wanted)[0] == 400


def test_reader_that_stops_reading_does_not_stop_the_http(tmp_path: Path) -> None:
    """Printing happens beside the event loop: a full pipe holds up the printer only."""
    port = free_port()
    reader, writer = os.pipe()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(stub_argv(port, lines=-1, line_stream="stdout"), stdout=writer, stderr=log)
    os.close(writer)
    try:
        wait_until(lambda: "ready" in (tmp_path / "log").read_text(), "the stub to be ready")
        assert fetch_json(f"http://127.0.0.1:{port}/health") == (200, {"status": "ok"})
    finally:
        process.terminate()
        os.close(reader)
    assert process.wait(10) == 0
