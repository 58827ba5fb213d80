"""The stub engine from a test's point of view."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from hostler.testing import StubEngine, free_port, stub_argv, wait_until

pytestmark = pytest.mark.wire


def test_argv() -> None:
    argv = stub_argv(
        9000, ready_after=0.5, ignore_term=True, hang_health=False, startup_log=["a", "b"], text=None
    )

    assert argv[:5] == [sys.executable, "-m", "hostler.engines.stub", "--port", "9000"]
    assert argv[5:] == ["--ready-after", "0.5", "--ignore-term", "--startup-log", "a", "--startup-log", "b"]


def test_runs_for_the_length_of_a_block() -> None:
    with StubEngine(model="pet") as engine:
        engine.wait_ready()
        with urllib.request.urlopen(engine.url + "/v1/models", timeout=5) as answer:
            assert b'"pet"' in answer.read()
        assert engine.alive()
        assert "listening on" in engine.stderr
        assert engine.stdout == ""
        pid = engine.pid

    assert not engine.alive()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stop_may_be_called_twice() -> None:
    engine = StubEngine()
    assert engine.stop() is None
    engine.start()

    assert (engine.stop(), engine.stop()) == (0, 0)


def test_stop_ends_what_ignores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostler.testing.stub.STOP_TIMEOUT", 0.05)
    engine = StubEngine(ignore_term=True).start()

    assert engine.stop() == -9


def test_stop_ends_grandchildren() -> None:
    engine = StubEngine(grandchild=True, ignore_term=True).start()
    found = re.search(r"grandchild (\d+)", engine.stderr)
    assert found is not None
    engine.process.kill()
    engine.stop()

    wait_until(lambda: not _runs(int(found[1])), "the grandchild to end")


def _runs(pid: int) -> bool:
    """Whether the process is neither gone nor waiting to be buried by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_start_that_fails_tells_why() -> None:
    engine = StubEngine(nonsense=1)
    with pytest.raises(RuntimeError, match="it ended before it listened") as failed:
        engine.start()

    assert failed.value.__notes__ == ["error: unknown option: --nonsense\n"]


def test_output_is_awaited() -> None:
    with StubEngine() as engine, pytest.raises(TimeoutError, match="'never' in the output"):
        engine.wait_for_output("never", 0.01)


def test_exit_is_awaited() -> None:
    with StubEngine(exit_after_ready=4) as engine:
        assert engine.wait_exit() == 4


def test_repr_is_a_status_line() -> None:
    port = free_port()
    engine = StubEngine(port)
    before = repr(engine)
    with engine:
        during = repr(engine)

    assert before == f"<StubEngine http://127.0.0.1:{port} | not started>"
    assert during == f"<StubEngine http://127.0.0.1:{port} | pid {engine.pid}>"
    assert repr(engine) == f"<StubEngine http://127.0.0.1:{port} | ended with 0>"


def test_process_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="was not started"):
        _ = StubEngine().pid
