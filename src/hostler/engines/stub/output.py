"""Everything the stub prints. Written straight to the descriptors, whole lines at a time, never buffered."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
BATCH: Final = 64 * 1024  # bytes handed over at once when in a hurry: what a Linux pipe holds

_locks: Final = {STDOUT: threading.Lock(), STDERR: threading.Lock()}


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data` without another thread's line in the middle; raises OSError."""
    with _locks[descriptor]:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def log(text: str) -> None:
    """One line on stderr; nobody listening is no reason to fail."""
    with contextlib.suppress(OSError):
        write(STDERR, text.encode() + b"\n")


def line(number: int, length: int = 0) -> bytes:
    """The line of that number, newline included, padded to `length` bytes."""
    text = b"line %09d" % number
    if length > len(text) + 2:
        text += b" " + b"x" * (length - len(text) - 2)
    return text + b"\n"


def print_lines(
    count: int, *, start: int = 1, stream: str = "both", length: int = 0, rate: float = 0.0
) -> int:
    """Print `count` numbered lines (-1: without end) and return the number after the last.

    With "both", odd numbers go to stdout and even ones to stderr. Stops early when nobody reads any more.
    """
    number, begun = start, time.monotonic()
    end = start + count if count >= 0 else None
    try:
        while end is None or number < end:
            if rate > 0:
                _wait_until(begun + (number - start) / rate)
            number = _print_some(number, end, stream, length, hurry=rate <= 0)
    except OSError:
        pass
    return number


def _print_some(number: int, end: int | None, stream: str, length: int, *, hurry: bool) -> int:
    """Print one line, or as many of one stream as fill a batch; return the next number."""
    if stream == "both" or not hurry:
        odd = number % 2 == 1
        to_stdout = stream == "stdout" or (stream == "both" and odd)
        write(STDOUT if to_stdout else STDERR, line(number, length))
        return number + 1
    step = max(1, BATCH // len(line(number, length)))
    after = number + step if end is None else min(end, number + step)
    write(STDOUT if stream == "stdout" else STDERR, b"".join(line(n, length) for n in range(number, after)))
    return after


def _wait_until(moment: float) -> None:
    delay = moment - time.monotonic()
    if delay > 0:
        time.sleep(delay)
