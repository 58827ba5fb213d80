"""What an engine that prints as fast as it can costs, and what its followers get of it.

    python -m bench.logs_flood [--megabytes 1000] [--rounds 3]

A real `hostler serve`, a real engine process (`bench/flood_engine.py`), and as the reference the same
program in front of `cat > /dev/null`. Rounds alternate; a figure is the best of its rounds, as what disturbs
a flood only slows it. Takes some ten seconds a round, and on disk what `--megabytes` says.
"""

from __future__ import annotations

import argparse
import http.client
import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import machine
from bench.flood_engine import BLOCK_BYTES, lines_of
from bench.processes import Processes, environment, program
from hostler.testing.ports import free_port

WIDTH: Final = 100
FOLLOWERS: Final = 8
FOLLOWED_PART: Final = 5  # the followers' flood is this part of the other: eight times as much goes out
TIMEOUT: Final = 120.0
QUIET_SECONDS: Final = 0.02  # of processor time in a fifth of a second: what Hostler uses at rest, and some
CONFIG: Final = """
logs: {{files: {files}, dir: {directory}/logs, maxBytes: {bound}}}
models:
  flood: {{cmd: "{python} -m bench.flood_engine --port {engine}", proxy: "http://127.0.0.1:{engine}"}}
"""

Figures = dict[str, float]


class Short(Exception):
    """A follower got other bytes than the engine printed."""


def measure(megabytes: int = 1000, rounds: int = 3) -> Figures:
    """Figures by name; rates as a part of what `cat > /dev/null` takes, costs in CPU seconds per GB."""
    size = megabytes * 1_000_000
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(rounds):
        cat = size / min(_cat_seconds(size) for _ in range(2))
        note("cat_gb_per_s", cat / 1e9)
        for files in (False, True):
            name = "files" if files else "memory"
            with _hostler(files=files, bound=3 * size) as at:
                warm = min(size, 200_000_000)
                at.flood(warm)  # code and buffers are warm, as they are after a while
                rate, cost = at.flood(size)
                note(f"log_drain_gb_per_s_{name}", rate / 1e9)
                note(f"log_cpu_s_per_gb_{name}", cost)
                if not files:
                    with at.stalled():
                        note("log_drain_gb_per_s_stalled", at.flood(size)[0] / 1e9)
                else:
                    note("log_on_disk_percent", 100 * min(1.0, at.on_disk() / (size + warm)))
        with _hostler(files=True, bound=3 * size) as at:
            parts, cost = at.followed_flood(size // FOLLOWED_PART)
            note("log_followers_received_percent", 100 * min(parts))
            note("log_cpu_s_per_gb_followed", cost)
    best = {name: _best(name, values) for name, values in found.items()}
    for name in ("memory", "stalled", "files"):
        best[f"log_drain_of_cat_{name}"] = best[f"log_drain_gb_per_s_{name}"] / best["cat_gb_per_s"]
    return best


def _best(name: str, values: list[float]) -> float:
    if name.endswith("percent"):
        return min(values)  # what was not received is no noise
    return min(values) if "cpu" in name else max(values)


def _cat_seconds(size: int) -> float:
    """How long the same printing takes into `cat`, by the program that prints."""
    cat = program("cat")
    assert cat is not None
    argv = [sys.executable, "-m", "bench.flood_engine", "--print", str(size)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, env=environment()) as printer:
        assert printer.stderr is not None
        subprocess.run([cat], stdin=printer.stdout, stdout=subprocess.DEVNULL, check=True)
        return float(printer.stderr.read())


@dataclass
class _Subject:
    port: int
    pid: int
    directory: Path

    def flood(self, size: int) -> tuple[float, float]:
        """Bytes a second that the engine could print, and CPU seconds of Hostler for each GB."""
        before = self._quiet()
        seconds = self._print(size)
        cost = self._quiet() - before
        return size / seconds, cost / size * 1e9

    def followed_flood(self, size: int) -> tuple[list[float], float]:
        """Which part of a flood each of the followers got, and CPU seconds for each GB of the engine."""
        self._print(1)
        before = self._quiet()
        followers = [_Follower(self.port) for _ in range(FOLLOWERS)]
        printing = _Question(self.port, f"/upstream/flood/flood?bytes={size}")
        _read_all(followers, size, printing)
        cost = (self._quiet() - before) / size * 1e9
        return [follower.count / size for follower in followers], cost

    def on_disk(self) -> int:
        """Bytes in the files of the engine's log; the frames add some hundredths of a percent."""
        return sum(path.stat().st_size for path in (self.directory / "logs" / "flood").glob("*.log"))

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """With a follower that has asked and reads nothing."""
        follower = _Follower(self.port)
        try:
            yield
        finally:
            follower.sock.close()

    def _print(self, size: int) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request("POST", f"/upstream/flood/flood?bytes={size}")
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            return float(json.loads(body)["seconds"])
        finally:
            connection.close()

    def _quiet(self) -> float:
        """CPU seconds so far, once nothing is left to do."""
        deadline = time.monotonic() + TIMEOUT
        before = machine.cpu_seconds([self.pid])
        while time.monotonic() < deadline:
            time.sleep(0.2)
            now = machine.cpu_seconds([self.pid])
            if now - before <= QUIET_SECONDS:
                return now
            before = now
        raise TimeoutError("Hostler does not come to rest")


@contextmanager
def _hostler(*, files: bool, bound: int) -> Iterator[_Subject]:
    with Processes() as processes:
        engine, port = free_port(), free_port()
        config = processes.directory / "hostler.yaml"
        text = CONFIG.format(
            files=str(files).lower(), directory=processes.directory, bound=bound, python=sys.executable,
            engine=engine,
        )  # fmt: skip
        config.write_text(text, encoding="utf-8")
        argv = [sys.executable, "-m", "hostler.cli.main", "serve", "--config", str(config)]
        ours = processes.start("hostler", [*argv, "--listen", f"127.0.0.1:{port}"], port=port)
        yield _Subject(port, ours.pid, processes.directory)


@dataclass
class _Question:
    """A POST whose answer is awaited beside others."""

    port: int
    path: str
    sock: socket.socket = field(init=False)
    answer: bytes = b""

    def __post_init__(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        self.sock.sendall(
            f"POST {self.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def readable(self) -> bool:
        """Take what has come; whether more will."""
        data = self.sock.recv(65_536)
        self.answer += data
        return bool(data)


class _Follower:
    """Reads a raw log stream, takes the chunks apart and compares every byte with what the engine prints."""

    def __init__(self, port: int) -> None:
        block = lines_of(b"flood", 0, BLOCK_BYTES // WIDTH, WIDTH)
        self._period = len(block)
        self._truth = memoryview(block * 5)
        self._buffer = bytearray()
        self._left = 0  # of the chunk that is being read; -2 and up: its end
        self.count = 0
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.sock.sendall(b"GET /logs/stream/flood?no-history HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.sock.recv(1)
        assert head.startswith(b"HTTP/1.1 200"), head

    def readable(self) -> bool:
        """Take what has come; whether more will."""
        data = self.sock.recv(1_048_576)
        self._buffer += data
        while self._chunk():
            pass
        return bool(data)

    def _chunk(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        size = int(self._buffer[:end], 16)
        if len(self._buffer) < end + 4 + size:
            return False
        with memoryview(self._buffer) as view:
            self._compare(view[end + 2 : end + 2 + size])
        del self._buffer[: end + 4 + size]
        return True

    def _compare(self, data: memoryview) -> None:
        while data:
            begin = self.count % self._period
            some = data[: len(self._truth) - begin]
            if some != self._truth[begin : begin + len(some)]:
                raise Short(f"after {self.count} bytes: {bytes(some[:200])!r}")
            self.count += len(some)
            data = data[len(some) :]


def _read_all(followers: list[_Follower], size: int, printing: _Question) -> None:
    """Until each follower has `size` bytes, or nothing comes any more."""
    readers: list[_Follower | _Question] = [*followers, printing]
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader.sock, selectors.EVENT_READ, reader)
        while any(follower.count < size for follower in followers):
            ready = selector.select(timeout=10.0)
            if not ready:
                break
            for key, _ in ready:
                if not key.data.readable():
                    selector.unregister(key.fileobj)
    for reader in readers:
        reader.sock.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, value in measure(options.megabytes, options.rounds).items():
        print(f"{name:<36}{value:>8.2f}")


if __name__ == "__main__":
    main()
