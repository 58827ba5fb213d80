"""An engine that notes when it did what: for the time that a swap takes beyond the engine's own.

    python -S -E bench/engine.py --port N --notes FILE --load SECONDS [--answering]

It is ready `--load` seconds after its start: until then it does not listen, or with `--answering` says 503 as
llama-server does, and prints a line when that is over. It serves one connection after the other, each for one
request. `ready` and `gone` go to the notes, in seconds since 1970; `gone` is the last thing it does.

Nothing but a few modules of the standard library is imported, so that it starts in no time.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

READY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
)
LOADING = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main() -> None:
    """Serve until SIGTERM."""
    port, path, load = (int(_option("--port")), _option("--notes"), float(_option("--load")))
    notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(what: str) -> None:
        os.write(notes, f"{what} {time.time():.6f}\n".encode())

    def end(*_: object) -> None:
        note("gone")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    until = time.monotonic() + load
    if "--answering" in sys.argv:
        listener.listen()
        _say_loading(listener, until)
    else:
        time.sleep(load)
        listener.listen()
    note("ready")
    os.write(1, b"server is listening\n")
    listener.settimeout(None)
    while True:
        _answer(listener.accept()[0], READY)


def _option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def _say_loading(listener: socket.socket, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        connection.settimeout(1.0)
        _answer(connection, LOADING)


def _answer(connection: socket.socket, answer: bytes) -> None:
    """Read one request, which has a small body or none, and answer it."""
    with connection:
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65_536)
                if not more:
                    return
                data += more
            connection.sendall(answer)
        except OSError:
            return  # it was only looked whether somebody listens


if __name__ == "__main__":
    main()
