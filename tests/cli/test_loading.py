"""load: progress for a terminal, plain lines for anything else, and everything known about a failure."""

from __future__ import annotations

import io
import threading

import pytest

from fake_api import Answer, FakeApi, Stream
from hostler.cli import loading
from hostler.cli.main import main
from hostler.client import ApiError, HostlerClient

pytestmark = pytest.mark.wire

READY = Answer.of({"model": "m", "state": "ready", "seconds": 3.21})
FAILED = Answer.of(
    {
        "error": {
            "message": "m did not start: exit code 1",
            "code": "bad_gateway",
            "details": {
                "cause": {"kind": "file", "message": "the file is missing", "advice": "look at -m"},
                "log": [f"line {number}" for number in range(30)] + ["\x1b[31mred\x1b[0m"],
            },
        }
    },
    502,
)


class Terminal(io.StringIO):
    """A screen that keeps what was written to it and tells when something new is there."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._changed:
            written = super().write(text)
            self._changed.notify_all()
        return written

    def wait_for(self, text: str) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: text in self.getvalue(), timeout=20)


def test_plain(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /api/models/load/m"] = READY

    assert main(["load", "m"]) == 0

    shown = capsys.readouterr()
    assert shown.err == "loading m ...\n"
    assert shown.out == "m is ready (3.2s)\n"


def test_progress_on_a_terminal(api: FakeApi) -> None:
    """Elapsed time and the newest line of the log, gone when the model is ready."""
    screen = Terminal()
    log = Stream(b"loading ten", b"sors\n\x1b[2Jwarming up\n")

    def load() -> Answer:
        assert log.begun.wait(20), "the log is followed before the model is started"
        assert screen.wait_for("warming up")
        return READY

    api.routes["GET /logs/stream/m?no-history"] = log
    api.routes["POST /api/models/load/m"] = load

    loaded = loading._with_progress(HostlerClient(), "m", screen)

    assert loaded["seconds"] == 3.21
    assert "\x1b[2J" not in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_terminal_without_a_log(api: FakeApi) -> None:
    """The log is a courtesy; a model loads without it."""
    api.routes["POST /api/models/load/m"] = READY

    assert loading._with_progress(HostlerClient(), "m", Terminal())["model"] == "m"


def test_failure_on_a_terminal(api: FakeApi) -> None:
    api.routes["POST /api/models/load/m"] = FAILED

    with pytest.raises(ApiError, match="did not start"):
        loading._with_progress(HostlerClient(), "m", Terminal())


def test_failure_says_all_there_is(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /api/models/load/m"] = FAILED

    assert main(["load", "m"]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert lines[1:4] == [
        "hostler: m did not start: exit code 1",
        "  cause:  the file is missing",
        "  advice: look at -m",
    ]
    assert lines[5] == "    line 11"
    assert lines[-2] == "    red"
    assert lines[-1] == f"  whole log: hostler logs m, or {api.url}/logs/stream/m"


def test_failure_does_not_repeat_itself(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """The cause may stand in the message already."""
    error = {"message": "m: no memory", "details": {"cause": {"message": "no memory", "advice": "less -ngl"}}}
    api.routes["POST /api/models/load/m"] = Answer.of({"error": error}, 502)

    assert main(["load", "m"]) == 1
    assert capsys.readouterr().err.splitlines()[1:3] == ["hostler: m: no memory", "  advice: less -ngl"]


def test_failure_that_is_not_the_engines(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /api/models/load/x"] = Answer.of({"error": {"message": "model not found"}}, 404)

    assert main(["load", "x"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "hostler: model not found"
