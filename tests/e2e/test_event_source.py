"""What must hold: a page in a real browser follows a log over a restart of Hostler, and misses nothing.

The page uses nothing but the browser's own EventSource: who reconnects, and from where, is the browser.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hostler.client import CallError, HostlerClient
from hostler.testing.ports import free_port, wait_until

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 40.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(150),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]

PAGE = """
window.seen = []; window.others = []; window.opened = 0;
const source = new EventSource(%s);
source.onopen = () => { window.opened += 1 };
source.onmessage = event => { window.seen.push(JSON.parse(event.data).text) };
for (const kind of ["gap", "start", "exit"])
  source.addEventListener(kind, event => { window.others.push(kind + " " + JSON.parse(event.data).run) });
true
"""


class Page:
    """A page of a browser, spoken to over its debugging pipe."""

    def __init__(self, process: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        self._process = process
        self._reading, self._writing = reading, writing
        self._buffer = b""
        self._number = 0
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    _session = ""

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                data = os.read(self._reading, 65536)
                assert data, "the browser has ended"
                self._buffer += data
            frame, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(frame)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is worth."""
        answer = self.ask("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        return answer["result"].get("value")


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    def as_three_and_four() -> None:
        # Above both first: one may lie where the other is to go.
        spare_in, spare_out = os.dup2(theirs_in, 60), os.dup2(theirs_out, 61)
        os.dup2(spare_in, 3)
        os.dup2(spare_out, 4)

    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=as_three_and_four,
        pass_fds=(3, 4, theirs_in, theirs_out),
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(process, ours_in, ours_out)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        os.close(ours_in)
        os.close(ours_out)


@contextmanager
def hostler(directory: Path, port: int) -> Iterator[HostlerClient]:
    command = [sys.executable, "-m", "hostler.cli.main", "serve", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    client = HostlerClient(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: answers(client), "Hostler to listen", PATIENCE)
        yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def answers(client: HostlerClient) -> bool:
    try:
        return client.health()
    except CallError:
        return False


def lines_of(runs: list[int]) -> list[str]:
    return [f"line {number:09}" for count in runs for number in range(1, count + 1)]


def test_a_page_goes_on_where_it_was(tmp_path: Path) -> None:
    port, engine = free_port(), free_port()
    (tmp_path / "config.yaml").write_text(
        f"logs: {{dir: {tmp_path / 'logs'}}}\n"
        f"models:\n  a:\n    cmd: {sys.executable} -m hostler.engines.stub --port {engine} --lines 400 "
        f"--line-rate 200 --line-stream stdout\n    proxy: http://127.0.0.1:{engine}\n"
    )
    stream = json.dumps(f"http://127.0.0.1:{port}/logs/stream/a?grep=^line")
    with browser(tmp_path / "profile") as page:
        with hostler(tmp_path, port) as client:
            page.ask("Page.navigate", {"url": f"http://127.0.0.1:{port}/ui/"})
            wait_until(lambda: page.value("location.port") == str(port), "the page", PATIENCE)
            page.value(PAGE % stream)
            client.load("a")
            wait_until(lambda: page.value("seen.length") > 50, "some lines", PATIENCE)
        with hostler(tmp_path, port) as client:
            client.load("a")
            wait_until(
                lambda: page.value("seen[seen.length - 1]") == "line 000000400", "the last line", PATIENCE
            )
            seen, others, opened = page.value("seen"), page.value("others"), page.value("opened")

    cut = seen.index("line 000000001", 1)
    assert cut > 50
    assert seen == lines_of([cut, 400])
    assert [other for other in others if other.startswith("gap")] == []
    assert others == ["start 1", "exit 1", "start 2"]
    assert opened >= 2
