"""An engine that prints: numbered lines of one width, as fast as it is asked to, by one write each many.

    python -m bench.flood_engine --port PORT --name NAME --width 100
    python -m bench.flood_engine --print BYTES      # no server: one block again and again; seconds on stderr

`POST /print?lines=N[&rate=BYTES]` prints that many lines more, at most so many bytes a second, and answers
with how many bytes it has printed since it began. `POST /flood?bytes=N` prints the same block again and
again, which costs nothing but the writing, and answers with the seconds it took. `POST /crash` ends it by
SIGKILL, wherever it is. A line says which engine printed it, and its number there; `line_of` is the same for
whoever checks.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

BLOCK_BYTES: Final = 262_144
# What makes some lines special for whoever filters: one of a thousand is an error, one of a hundred warns.
MARKS: Final = ((1000, b"ERROR:"), (100, b"WARNING:"))


def line_of(name: bytes, number: int, width: int) -> bytes:
    """Line `number` (from 0) of an engine, `width` bytes with its end."""
    level = next((mark for every, mark in MARKS if number % every == 0), b"INFO:")
    text = b"%b %b %09d " % (level, name, number)
    return text.ljust(width - 1, b".") + b"\n"


def lines_of(name: bytes, first: int, count: int, width: int) -> bytes:
    """So many lines in a row."""
    return b"".join([line_of(name, number, width) for number in range(first, first + count)])


def flood(size: int, width: int) -> float:
    """Print `size` bytes of one block, over and over; returns the seconds it took."""
    block = memoryview(lines_of(b"flood", 0, BLOCK_BYTES // width, width))
    begun = time.monotonic()
    printed = 0
    while printed < size:
        at = printed % len(block)
        printed += os.write(1, block[at : at + size - printed])
    return time.monotonic() - begun


class Printer:
    """What one process has printed; one thread prints at a time."""

    def __init__(self, name: bytes, width: int) -> None:
        self._name = name
        self.width = width
        self._lock = threading.Lock()
        self.lines = 0

    def print(self, count: int, rate: float) -> int:
        """Print `count` lines; returns the bytes printed since the start."""
        with self._lock:
            end = self.lines + count
            begun, printed = time.monotonic(), 0
            while self.lines < end:
                some = min(end - self.lines, max(1, BLOCK_BYTES // self.width))
                rest = memoryview(lines_of(self._name, self.lines, some, self.width))
                while rest:
                    rest = rest[os.write(1, rest) :]
                self.lines += some
                printed += some * self.width
                if rate:
                    time.sleep(max(0.0, begun + printed / rate - time.monotonic()))
            return self.lines * self.width


class Handler(BaseHTTPRequestHandler):
    """The engine's few routes."""

    protocol_version = "HTTP/1.1"
    printer: Printer

    def do_GET(self) -> None:
        """Anything that is asked for is fine."""
        self._answer({"status": "ok"})

    def do_POST(self) -> None:
        """Print, or crash."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        if parts.path == "/crash":
            os.kill(os.getpid(), signal.SIGKILL)
        query = parse_qs(parts.query)
        if parts.path == "/flood":
            self._answer({"seconds": flood(int(query["bytes"][0]), self.printer.width)})
            return
        lines, rate = int(query["lines"][0]), float(query.get("rate", ["0"])[0])
        self._answer({"bytes": self.printer.print(lines, rate)})

    def _answer(self, what: dict[str, object]) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing but lines may be printed."""


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--print", type=int, default=0)
    parser.add_argument("--name", default="engine")
    parser.add_argument("--width", type=int, default=100)
    options = parser.parse_args()
    if options.print:
        sys.stderr.write(f"{flood(options.print, options.width)}\n")
        return
    Handler.printer = Printer(options.name.encode(), options.width)
    with ThreadingHTTPServer(("127.0.0.1", options.port), Handler) as server:
        server.daemon_threads = True
        server.serve_forever()


if __name__ == "__main__":
    main()
