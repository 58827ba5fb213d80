"""The llama.cpp engine as a process: real HTTP, real signals, a real if tiny model."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.conftest import LlamaProcess, events, fetch, fetch_json
from hostler.engines import llamacpp
from hostler.testing import wait_until

pytestmark = pytest.mark.wire
Start = Callable[..., LlamaProcess]

LIMIT = {"max_tokens": 12, "ignore_eos": True}
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Where is the boat?"}]} | LIMIT


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hostler.engines.llamacpp", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, hostler_tiny_gguf: Path) -> Iterator[LlamaProcess]:
    """One engine for every test that only talks to it."""
    pytest.importorskip("xllamacpp")
    engine = LlamaProcess(
        tmp_path_factory.mktemp("llama"), hostler_tiny_gguf, "--embeddings", "--pooling", "mean", "-c", "2048"
    )
    try:
        engine.wait_ready()
        yield engine
    finally:
        engine.stop()


def test_answers_a_chat(serving: LlamaProcess) -> None:
    status, answer = fetch_json(serving.url + "/v1/chat/completions", QUESTION)

    assert status == 200
    assert answer["usage"]["completion_tokens"] == 12
    assert len(answer["choices"][0]["message"]["content"].split()) == 12
    assert answer["timings"]["predicted_n"] == 12


def test_streams_a_chat(serving: LlamaProcess) -> None:
    status, stream = fetch(serving.url + "/v1/chat/completions", QUESTION | {"stream": True})

    *pieces, end = events(stream)
    assert status == 200
    assert end == "[DONE]"
    deltas = [json.loads(piece)["choices"][0]["delta"].get("content") for piece in pieces]
    assert "".join(delta or "" for delta in deltas).isprintable()


def test_completes_a_text(serving: LlamaProcess) -> None:
    status, answer = fetch_json(serving.url + "/v1/completions", {"prompt": "the door"} | LIMIT)

    assert status == 200
    assert answer["choices"][0]["text"].strip()


def test_makes_embeddings(serving: LlamaProcess) -> None:
    status, answer = fetch_json(serving.url + "/v1/embeddings", {"input": ["the door", "the river"]})

    assert status == 200
    first, second = (item["embedding"] for item in answer["data"])
    assert len(first) == 64
    assert first != second


def test_goes_by_the_name_of_its_file(serving: LlamaProcess) -> None:
    _, models = fetch_json(serving.url + "/v1/models")

    assert models["data"][0]["id"] == "hostler-tiny.gguf"


def test_flags_reach_the_server(llama: Start, tmp_path: Path) -> None:
    engine = llama("-c", "256", "-np", "2", "-a", "pet", "--metrics", "--api-key", "secret", "--log-disable")
    engine.wait_ready()

    props = fetch(engine.url + "/props", authorization="Bearer secret")
    assert json.loads(props[1])["total_slots"] == 2
    assert fetch(engine.url + "/metrics", authorization="Bearer secret")[0] == 200
    assert fetch(engine.url + "/v1/chat/completions", QUESTION)[0] == 401
    models = fetch(engine.url + "/v1/models", authorization="Bearer secret")
    assert json.loads(models[1])["data"][0]["id"] == "pet"
    assert "model loaded" not in engine.output


def test_schema_holds_for_every_answer(llama: Start) -> None:
    engine = llama("-c", "512", "--json-schema", '{"type": "array", "items": {"enum": [7]}, "minItems": 1}')
    engine.wait_ready()

    _, chat = fetch_json(engine.url + "/v1/chat/completions", QUESTION)
    _, plain = fetch_json(engine.url + "/completion", {"prompt": "the door", "n_predict": 12})

    assert chat["choices"][0]["message"]["content"].lstrip().startswith("[")
    assert plain["content"].lstrip().startswith("[")


def test_logs_arrive_as_they_are_written(llama: Start) -> None:
    engine = llama("-c", "256")
    engine.wait_ready()
    fetch(engine.url + "/v1/chat/completions", QUESTION)

    wait_until(lambda: "slot      release" in engine.output, "the log of the request")
    lines = engine.output.splitlines()
    order = [
        next(index for index, line in enumerate(lines) if text in line)
        for text in ("loading model", "model loaded", "launch_slot_", "slot      release")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_at_once(llama: Start, number: signal.Signals) -> None:
    engine = llama("-c", "256")
    engine.wait_ready()
    wait_until(lambda: "listening on" in engine.output, "the end of the start")

    assert_ends_at_once(engine, number)


def test_signal_ends_it_while_it_generates(llama: Start) -> None:
    engine = llama("-c", "256", "-np", "1", "--context-shift")
    engine.wait_ready()
    endless = QUESTION | {"max_tokens": -1, "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps(endless))
        with connection.getresponse() as answer:
            while b"content" not in answer.readline():
                pass
            assert_ends_at_once(engine, signal.SIGTERM)


def assert_ends_at_once(engine: LlamaProcess, number: signal.Signals) -> None:
    begun = time.monotonic()
    engine.process.send_signal(number)
    code = engine.process.wait(10)

    assert code == 0, engine.output
    assert time.monotonic() - begun < 1.0
    assert "stopping\n" in engine.output
    assert "Traceback" not in engine.output


def test_port_that_is_taken(hostler_tiny_gguf: Path) -> None:
    pytest.importorskip("xllamacpp")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as owner:
        port = owner.getsockname()[1]
        result = run("-m", str(hostler_tiny_gguf), "--port", str(port))

    assert result.returncode == 1
    assert "couldn't bind" in result.stderr
    assert "error: the llama.cpp server did not start" in result.stderr


def test_port_can_be_used_again_at_once(llama: Start) -> None:
    """A restart on the same port must not fail because of the connections of the last run."""
    first = llama("-c", "256")
    first.wait_ready()
    fetch(first.url + "/v1/chat/completions", QUESTION)
    first.stop()

    llama("-c", "256", port=first.port).wait_ready()


def test_model_that_is_damaged(tmp_path: Path, hostler_tiny_gguf: Path, hostler_free_port: int) -> None:
    pytest.importorskip("xllamacpp")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(hostler_tiny_gguf.read_bytes()[:300_000])

    result = run("-m", str(damaged), "--port", str(hostler_free_port))

    assert result.returncode == 1
    assert "corrupted or incomplete" in result.stderr


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--ctx-siz", "4"], 1, "error: invalid argument: --ctx-siz\ndid you mean --ctx-size?\n"),
        ([], 1, "error: no model: -m FILE is needed\n"),
        (
            ["-m", "no.gguf"],
            1,
            "error: cannot read model file 'no.gguf': No such file or directory\n",
        ),
        (["-m", "."], 1, "error: cannot read model file '.': Is a directory\n"),
    ],
)
def test_wrong_command_line(argv: list[str], code: int, message: str) -> None:
    result = run(*argv)

    assert (result.returncode, result.stderr) == (code, message)


def in_process(*argv: str) -> int:
    """`main` without letting it change how this process takes signals."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return llamacpp.main(argv)
    finally:
        signal.signal(signal.SIGINT, before)


def test_model_is_looked_at_before_the_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    text = tmp_path / "text.gguf"
    text.write_text("hello", encoding="utf-8")

    assert in_process("-m", str(text)) == 1
    assert capsys.readouterr().err == f"error: not a GGUF model file: '{text}'\n"


def test_missing_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hostler_tiny_gguf: Path
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    assert in_process("-m", str(hostler_tiny_gguf)) == 3
    error = "error: the llama.cpp engine is not installed: pip install 'hostler[llamacpp]'\n"
    assert capsys.readouterr().err == error


def test_help_and_version_need_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process("--help") == 0
    assert "--ctx-size N" in capsys.readouterr().out
    assert in_process("--version") == 0
    assert "xllamacpp" in capsys.readouterr().out


def test_notices_that_the_server_is_gone(hostler_free_port: int) -> None:
    """llama.cpp's own signal handler may have stopped its server just before ours was in place."""
    reader, writer = socket.socketpair()
    with contextlib.closing(reader), contextlib.closing(writer):
        assert not llamacpp._still_serving(reader, f"http://127.0.0.1:{hostler_free_port}", "127.0.0.1")
        writer.send(b"\x0f")
        with contextlib.closing(socket.create_server(("127.0.0.1", hostler_free_port))):
            assert not llamacpp._still_serving(reader, f"http://127.0.0.1:{hostler_free_port}", "127.0.0.1")
            assert llamacpp._accepts(f"http://0.0.0.0:{hostler_free_port}", "0.0.0.0")
        assert llamacpp._accepts("unix:///engine.sock", "engine.sock")
