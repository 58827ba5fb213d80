"""logs with selections: what is asked of the server, what is shown, and going on after it was away."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from fake_api import Answer, FakeApi
from hostler.cli.main import main
from hostler.logs.archive import log_directory
from hostler.logs.store import LogStore

pytestmark = pytest.mark.wire


def line(text: str, cursor: str, model: str = "m", **more: Any) -> dict[str, Any]:
    return {"kind": "line", "model": model, "text": text, "cursor": cursor, "level": "info", **more}


def ndjson(*records: dict[str, Any]) -> Answer:
    body = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    return Answer(b"\n" + body, type="application/x-ndjson")


def serve(api: FakeApi, *answers: tuple[str, Answer]) -> None:
    """Answers by path and query."""
    for target, answer in answers:
        api.routes[f"GET {target}"] = answer


def route(path: str, **params: str) -> str:
    return f"{path}?{urlencode({'format': 'ndjson', **params})}"


@pytest.mark.parametrize(
    ("argv", "params"),
    [
        (["--grep", "a b"], {"grep": "a b"}),
        (["--level", "warn", "--tail", "5"], {"tail": "5", "level": "warn"}),
        (["--since", "10m", "--until", "1m"], {"since": "10m", "until": "1m"}),
        (["--grep", "x", "-v", "--stderr"], {"grep": "x", "invert": "true", "stream": "stderr"}),
        (["--previous"], {"run": "-1"}),
        (["--run", "-1"], {"run": "-1"}),
        (["--head", "3", "--stdout"], {"head": "3", "stream": "stdout"}),
    ],
)
def test_what_is_asked(
    argv: list[str], params: dict[str, str], api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(api, (route("/logs/org/m", **params), ndjson(line("one", "e:1.1.1"), line("two", "e:2.1.2"))))

    assert main(["logs", "org/m", *argv]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_several_sources_are_named(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    records = [line("one", "e:1.1", "a"), line("two", "e:2.1", "b"), {"kind": "start", "model": "a"}]
    gap = {"kind": "gap", "model": "b", "missed": 7, "cursor": "e:3.0"}
    serve(api, ("/logs?format=ndjson&model=a&model=b", ndjson(*records, gap)))

    assert main(["logs", "a", "b"]) == 0
    assert capsys.readouterr().out == "[a] one\n[b] two\n[b] [hostler] gap: 7 bytes missed\n"


def test_times_in_front(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    serve(api, ("/logs/m?format=ndjson", ndjson(line("one", "e:1.1", time="2026-01-01T00:00:00.001Z"))))

    assert main(["logs", "m", "-t"]) == 0
    assert capsys.readouterr().out == "2026-01-01T00:00:00.001Z one\n"


def test_json_is_passed_on(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    records = [line("é", "e:1.1"), {"kind": "exit", "model": "m", "cursor": "e:2.0"}]
    serve(api, ("/logs?format=ndjson", ndjson(*records)))

    assert main(["logs", "--json"]) == 0
    assert [json.loads(text) for text in capsys.readouterr().out.splitlines()] == records


@pytest.mark.parametrize(
    "argv",
    [
        ["--stdout", "--stderr"],
        ["--previous", "--run", "3"],
        ["-v"],
        ["--runs"],
        ["a", "b", "--why"],
    ],
)
def test_what_makes_no_sense(argv: list[str]) -> None:
    assert main(["logs", *argv]) == 2


def test_the_runs_of_a_model(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        {"run": 2, "started": "2026-01-01T00:00:00Z", "reason": "request"},
        {"run": 1, "started": "2025-12-31T00:00:00Z", "reason": "idle", "exit": "exit code 0", "seconds": 65,
         "peak_memory_bytes": 1_400_000_000, "bytes": 512},
    ]  # fmt: skip
    serve(api, ("/logs/runs/m", Answer.of({"runs": runs})))

    assert main(["logs", "m", "--runs"]) == 0
    header, newest, first = capsys.readouterr().out.splitlines()
    assert header.split() == ["RUN", "STARTED", "LASTED", "REASON", "EXIT", "MEMORY", "LOG", "CAUSE"]
    assert newest.split()[:2] == ["2", "2026-01-01T00:00:00Z"]
    assert first.split()[2:] == ["1m05s", "idle", "exit", "code", "0", "1.4", "GB", "512", "B"]
    assert main(["logs", "m", "--runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == runs


def test_why_it_failed(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        {"run": 3, "reason": "request"},
        {"run": 2, "reason": "exited", "exit": "exit code 1", "code": 1, "seconds": 2.0},
        {"run": 1, "reason": "idle", "exit": "exit code 0", "code": 0},
    ]
    lines = [line("loading", "e:1.1.1"), line("CUDA error: out of memory", "e:2.1.9")]
    serve(
        api,
        ("/logs/runs/m", Answer.of({"runs": runs})),
        (route("/logs/m", run="2", tail="200"), ndjson(*lines)),
    )

    assert main(["logs", "m", "--why"]) == 1
    told = capsys.readouterr().out
    assert "run 2 failed: exit code 1 after 2.0s" in told
    assert "memory" in told
    assert "CUDA error: out of memory" in told
    assert "cursor: e:2.1.9" in told


def test_why_it_failed_as_it_is_on_record(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server found out counts, by rules of the user's as well, and not what the lines look like."""
    cause = {"kind": "own", "message": "the licence has expired", "advice": "renew it"}
    run = {"run": 1, "reason": "start failed", "exit": "not started", "seconds": 0.0, "cause": cause,
           "ended": "2026-01-01T00:00:00Z", "peak_memory_bytes": 31_000_000}  # fmt: skip
    serve(
        api,
        ("/logs/runs/m", Answer.of({"runs": [run]})),
        (route("/logs/m", run="1", tail="200"), ndjson(line("CUDA error: out of memory", "e:2.1.9"))),
    )

    assert main(["logs", "m", "--why"]) == 1
    told = capsys.readouterr().out
    assert "run 1 failed: not started after 0.0s at 2026-01-01T00:00:00Z" in told
    assert "cause:  the licence has expired" in told
    assert "advice: renew it" in told
    assert "memory: 31.0 MB at most" in told
    assert main(["logs", "m", "--why", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["cause"], found["log"]) == (cause, ["CUDA error: out of memory"])


def test_nothing_has_failed(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    serve(api, ("/logs/runs/m", Answer.of({"runs": []})))

    assert main(["logs", "m", "--why"]) == 0
    assert capsys.readouterr().out == "no failure of m is known\n"


def test_it_goes_on_where_it_was_when_the_server_is_back(
    api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stream breaks off; the second one is asked for from behind the last record that was seen."""
    first = route("/logs/stream/m", tail="9", level="info")
    second = route("/logs/stream/m", level="info", cursor="e:2.1.2")
    third = route("/logs/stream/m", level="info", cursor="f:3.1.3")
    api.routes[f"GET {first}"] = ndjson(line("one", "e:1.1.1"), line("two", "e:2.1.2"))
    api.routes[f"GET {second}"] = ndjson(line("three", "f:3.1.3"))
    api.routes[f"GET {third}"] = Answer(b'{"error": {"message": "enough"}}', status=400)
    api.routes["GET /api/version"] = Answer.of({"version": "1"})
    waited = threading.Event()
    monkeypatch.setattr("hostler.cli.log_records.time.sleep", lambda _: waited.set())

    assert main(["logs", "-f", "m", "--tail", "9", "--level", "info"]) == 1

    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert err.count("the server is away; waiting for it") == 2
    assert "enough" in err


def test_the_files_are_read_when_no_server_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("HOSTLER_URL", raising=False)
    monkeypatch.setattr("hostler.client.DEFAULT_URL", "http://127.0.0.1:9")
    store = LogStore(directory=log_directory(""))
    log = store.log("org/m")
    log.begin_run(1)
    log.event("start", {"reason": "request"})
    log.take(b"INFO: one\nERROR: two\n", "stdout")
    cause = {"kind": "own", "message": "the licence has expired", "advice": ""}
    log.event("exit", {"reason": "exited", "exit": "exit code 1", "seconds": 1.0, "cause": cause})
    store.close()

    assert main(["logs", "org/m"]) == 0
    out, err = capsys.readouterr()
    assert out == "INFO: one\nERROR: two\n"
    assert "no server runs" in err
    assert main(["logs", "org/m", "--level", "error"]) == 0
    assert capsys.readouterr().out == "ERROR: two\n"
    assert main(["logs", "--tail", "1"]) == 0
    assert capsys.readouterr().out == "[org/m] ERROR: two\n"
    assert main(["logs", "org/m", "--json", "--head", "1", "--grep", "two"]) == 0
    assert [json.loads(text).get("text") for text in capsys.readouterr().out.splitlines()][-1] == "ERROR: two"
    assert main(["logs", "org/m", "-t", "--tail", "1"]) == 0
    assert capsys.readouterr().out.endswith("Z ERROR: two\n")
    assert main(["logs", "org/m", "--runs"]) == 0
    assert "the licence has expired" in capsys.readouterr().out
    assert main(["logs", "org/m", "--why"]) == 1
    assert "cause:  the licence has expired" in capsys.readouterr().out
    assert main(["logs", "nobody"]) == 1
    assert main(["logs", "-f", "org/m"]) == 1


def test_files_that_are_named_are_read_whatever_runs(
    api: FakeApi, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = LogStore(directory=tmp_path)
    store.log("org/model").take(b"one\n", "stdout")
    store.close()

    assert main(["logs", "--dir", str(tmp_path), "org/model"]) == 0
    assert capsys.readouterr() == ("one\n", "")
    assert main(["logs", "--dir", str(tmp_path), "model", "org/model"]) == 1
    assert "did you mean 'org/model'?" in capsys.readouterr().err
    assert main(["logs", "--dir", str(tmp_path / "empty")]) == 1
    assert "there are no logs in" in capsys.readouterr().err
    assert main(["logs", "--dir", str(tmp_path), "-f"]) == 2
    assert api.seen == []
