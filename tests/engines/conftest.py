"""Engines as processes, and requests to them with nothing but the standard library."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.testing import free_port, wait_until

Post = Callable[..., tuple[int, dict[str, Any]]]


def fetch(url: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of one request; a JSON body makes it a POST."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def fetch_json(url: str, body: Any = None) -> tuple[int, Any]:
    status, answer = fetch(url, body)
    return status, json.loads(answer)


def events(stream: bytes) -> list[str]:
    """The data of each server-sent event."""
    blocks = stream.decode().strip().split("\n\n")
    return [line[6:] for block in blocks for line in block.splitlines() if line.startswith("data: ")]


class LlamaProcess:
    """The llama.cpp engine on a port of its own.

    One thread: several wait for each other by spinning, which takes seconds on a machine that is busy.
    """

    def __init__(self, folder: Path, model: Path, *flags: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"llama-{self.port}.log"
        argv = [sys.executable, "-m", "hostler.engines.llamacpp", "-m", str(model), "--port", str(self.port)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([*argv, "-t", "1", *flags], stdout=log, stderr=log)

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def health(self) -> int:
        """The status of /health; 0 when nobody answers."""
        assert self.process.poll() is None, self.output
        try:
            return fetch(self.url + "/health")[0]
        except OSError:
            return 0

    def wait_ready(self) -> None:
        wait_until(lambda: self.health() == 200, "the engine to be ready", 30)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def llama(tmp_path: Path, hostler_tiny_gguf: Path) -> Iterator[Callable[..., LlamaProcess]]:
    """Start llama.cpp engines with the tiny model; all are ended after the test."""
    pytest.importorskip("xllamacpp")
    started: list[LlamaProcess] = []

    def start(*flags: str, port: int | None = None, model: Path = hostler_tiny_gguf) -> LlamaProcess:
        engine = LlamaProcess(tmp_path, model, *flags, port=port)
        started.append(engine)
        return engine

    yield start
    for engine in started:
        engine.stop()
