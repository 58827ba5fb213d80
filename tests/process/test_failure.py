"""Failed starts in words and in fields."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from hostler.core import Exit, ModelId
from hostler.process.failure import LOG_LINES, Failures
from hostler.process.guardian import SpawnError
from hostler.process.port import Holder

if TYPE_CHECKING:
    from pathlib import Path

FAILURES = Failures(ModelId("m"), 7)


def kind(details: dict[str, Any]) -> object:
    return details["cause"]["kind"]


def test_exit_with_a_cause() -> None:
    lines = [f"line {number}" for number in range(50)] + ["CUDA error: out of memory"]
    error = FAILURES.exited(Exit(code=1), 0.31, lines, FAILURES.of_end(lines, Exit(code=1)))

    assert error.status == 502
    assert error.message.startswith(
        'model "m" did not start: exit code 1 after 0.3 s: out of GPU memory – use a smaller model'
    )
    assert error.details["exit"] == "exit code 1"
    assert (error.details["code"], error.details["signal"]) == (1, None)
    assert error.details["log"] == lines[-LOG_LINES:]
    assert (error.details["model"], error.details["run"]) == ("m", 7)
    assert kind(error.details) == "out_of_memory"


def test_exit_without_a_cause() -> None:
    assert FAILURES.of_end(["bye"], Exit(code=3)) is None
    error = FAILURES.exited(Exit(code=3), 12.0, ["bye"], None)

    assert error.message == 'model "m" did not start: exit code 3 after 12.0 s'
    assert error.details["cause"] is None


def test_exit_nobody_saw() -> None:
    cause = FAILURES.of_end([], Exit())

    assert cause is not None
    assert cause.kind == "guardian"


def test_a_deadline_names_the_last_probe() -> None:
    cause = FAILURES.of_deadline(["loading"], "connection refused")
    error = FAILURES.not_ready(120.0, "connection refused", ["loading"], Exit(signal=15), cause)

    assert "not ready after 120 s, the last probe said connection refused" in error.message
    assert "healthCheckTimeout" in error.message
    assert kind(error.details) == "timeout"
    assert error.details["signal"] == 15


def test_a_deadline_with_404_points_at_the_path() -> None:
    assert "checkEndpoint" in FAILURES.of_deadline([], "status 404").advice


def test_our_own_kill_is_no_sign_of_missing_memory() -> None:
    assert FAILURES.of_deadline([], "status 503").kind == "timeout"


def test_cancelled() -> None:
    error = FAILURES.cancelled(None, [])

    assert error.message == 'model "m" did not start: start was cancelled'
    assert error.details["exit"] is None
    assert kind(error.details) == "cancelled"


@pytest.mark.parametrize(
    ("holder", "who"), [(None, "another process"), (Holder(9, "nc -l"), "process 9 (nc -l)")]
)
def test_port_held(holder: Holder | None, who: str) -> None:
    error = FAILURES.port_held(8080, holder)

    assert f"port 8080 is already held by {who}: the port is already in use – " in error.message
    assert kind(error.details) == "port_in_use"


def test_bad_proxy() -> None:
    assert "proxy" in FAILURES.bad_proxy(ValueError("'x' is not an http or https URL")).message


@pytest.mark.parametrize(
    ("number", "stage", "cause", "words"),
    [
        (errno.ENOENT, "exec", "command_not_found", 'the program "engine" was not found'),
        (errno.EACCES, "exec", "permission_denied", 'the program "engine" may not be run'),
        (errno.ENOEXEC, "exec", "spawn", 'the program "engine" cannot be run'),
        (errno.EAGAIN, "fork", "spawn", 'the program "engine" cannot be run'),
        (errno.ENOENT, "cwd", "file_not_found", 'the working directory "engine" cannot be entered'),
        (errno.EACCES, "cwd", "permission_denied", 'the working directory "engine" cannot be entered'),
    ],
)
def test_not_spawned(number: int, stage: str, cause: str, words: str) -> None:
    error = FAILURES.not_spawned(SpawnError(number, "Some Reason", "engine", stage))

    assert words in error.message
    assert kind(error.details) == cause


def test_a_script_without_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "engine"
    script.write_text("#!/nowhere/python\n")

    error = FAILURES.not_spawned(SpawnError(errno.ENOENT, "No such file", str(script), "exec"))

    assert "interpreter" in error.message
