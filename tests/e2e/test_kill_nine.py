"""What must hold: however Hostler dies, and whatever its engines were doing, no process is left after 2 s."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from hostler.testing.ports import free_port, wait_until, wait_until_listening
from hostler.testing.stub import stub_argv

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KILLS = 100
TOGETHER = 10
MARK = "HOSTLER_TEST_MARK"
LIMIT = 2.0

# What the engine is doing when Hostler dies; each is a stub with these options.
ENGINES: dict[str, dict[str, object]] = {
    "ready": {},
    "starting": {"ready_after": 60},
    "hangs-in-health": {"hang_health": True},
    "ignores-term": {"ignore_term": True},
    "with-grandchild": {"grandchild": True},
    "with-escaped-grandchild": {"grandchild_setsid": True, "grandchild": True},
    "floods": {"lines": -1},
    "dies-slowly": {"slow_exit": 30},
}


@dataclass
class Case:
    """One Hostler with its engines, found again by a mark in their environment."""

    mark: str
    process: subprocess.Popen[bytes]
    port: int
    unanswered: list[http.client.HTTPConnection] = field(default_factory=list)

    def end(self) -> None:
        """Whatever became of it, leave nothing."""
        self.process.kill()
        self.process.wait()
        for connection in self.unanswered:
            connection.close()
        for process in self.left():
            process.kill()

    def left(self) -> list[psutil.Process]:
        """Every live process that carries the mark."""
        return survivors({self.mark})


def survivors(marks: set[str]) -> list[psutil.Process]:
    """Every live process that carries one of `marks`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) in marks and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def write_config(path: Path) -> None:
    models = {}
    for name, options in ENGINES.items():
        port = free_port()
        command = " ".join(stub_argv(port, **options))
        models[name] = {"cmd": command, "proxy": f"http://127.0.0.1:{port}", "unloadTimeout": 30}
    groups = {"all": {"swap": False, "members": list(models)}}
    path.write_text(json.dumps({"models": models, "groups": groups, "logToStdout": "none"}))


def start(folder: Path) -> Case:
    folder.mkdir()
    config = folder / "config.yaml"
    write_config(config)
    port = free_port()
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "hostler.cli.main",
            "serve",
            "--config",
            str(config),
            "--listen",
            f"127.0.0.1:{port}",
        ],
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return Case(mark, process, port)


def ask(case: Case, path: str, *, wait: bool) -> None:
    """POST; the answer is not waited for unless `wait`."""
    connection = http.client.HTTPConnection("127.0.0.1", case.port, timeout=20)
    case.unanswered.append(connection)
    try:
        connection.request("POST", path)
        if wait:
            connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass  # Hostler was killed under it


def bring_into_state(case: Case, choose: random.Random) -> None:
    """Some models loading, ready or stopping; then a moment chosen at random."""
    wait_until_listening(case.port, alive=lambda: case.process.poll() is None, timeout=30)
    chosen = choose.sample(sorted(ENGINES), choose.randrange(1, 4))
    threads = []
    for name in chosen:
        slow = name in ("starting", "hangs-in-health")
        load = threading.Thread(
            target=ask, args=(case, f"/api/models/load/{name}"), kwargs={"wait": not slow}
        )
        load.start()
        threads.append(load)
    if choose.random() < 0.7:
        for thread in threads:
            thread.join(10)
        if choose.random() < 0.5:
            # One is being stopped at that moment.
            ask(case, f"/api/models/unload/{chosen[0]}", wait=False)
    time.sleep(choose.random() * 0.03)  # not waiting for anything: the moment of death is what varies


def test_a_hundred_deaths_leave_no_process(tmp_path: Path) -> None:
    choose = random.Random(20)
    worst = 0.0
    engines_seen = 0
    for batch in range(KILLS // TOGETHER):
        cases = [start(tmp_path / f"{batch}-{number}") for number in range(TOGETHER)]
        try:
            for case in cases:
                bring_into_state(case, choose)
            for case in cases:
                engines_seen += len(case.left()) - 1
            killed = time.monotonic()
            for case in cases:
                case.process.send_signal(signal.SIGKILL)
            marks = {case.mark for case in cases}
            wait_until(lambda marks=marks: not survivors(marks), "every process to end", LIMIT)  # type: ignore[misc]
            worst = max(worst, time.monotonic() - killed)
        finally:
            for case in cases:
                case.end()

    print(f"{KILLS} deaths with {engines_seen} processes alive; the last one was gone after {worst:.2f} s")
    assert engines_seen > KILLS


def test_a_second_ctrl_c_ends_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    case = start(tmp_path / "one")
    try:
        wait_until_listening(case.port, alive=lambda: case.process.poll() is None, timeout=30)
        ask(case, "/api/models/load/ignores-term", wait=True)
        assert len(case.left()) >= 3

        case.process.send_signal(signal.SIGINT)
        wait_until(lambda: not _answers(case.port), "Hostler to stop listening", 5)
        case.process.send_signal(signal.SIGINT)

        assert case.process.wait(2) == 130
        wait_until(lambda: not case.left(), "every process to end", LIMIT)
    finally:
        case.end()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
