"""logs: bytes exactly as they are, or records, whichever the command line asks for."""

from __future__ import annotations

import collections
import sys
from typing import TYPE_CHECKING

from hostler.cli import connect, log_files, log_records
from hostler.cli.handover import Handover
from hostler.cli.outcome import OK, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable
    from typing import BinaryIO

    from hostler.client import LogStream


def logs(arguments: Namespace) -> int:
    """Print a log; with -f go on until either side ends it."""
    if arguments.no_history and not arguments.follow:
        raise UsageError("logs: --no-history leaves nothing to show without -f")
    if arguments.no_history and arguments.tail is not None:
        raise UsageError("logs: --tail and --no-history exclude each other")
    if log_records.wanted(arguments):
        return log_records.logs(arguments)
    if arguments.dir is not None:
        return log_files.show(arguments)
    client = connect.client(arguments)
    source = arguments.sources[0] if arguments.sources else ""
    if log_files.may_read(arguments) and not connect.answers(client) and log_files.hold(arguments):
        return log_files.show(arguments)
    out = sys.stdout.buffer
    with (
        connect.explained(),
        client.logs(source, follow=arguments.follow, history=not arguments.no_history) as stream,
    ):
        if arguments.follow:
            _follow(stream, out, arguments.tail)
            print("hostler: the server ended the log stream", file=sys.stderr)
        else:
            _copy(stream, out, arguments.tail)
    return OK


def last_lines(chunks: Iterable[bytes], count: int) -> bytes:
    """The last `count` lines of the joined chunks; a last line without its newline is a line."""
    if count == 0:
        for _ in chunks:
            pass
        return b""
    held: collections.deque[bytes] = collections.deque(maxlen=count)
    partial = b""
    for chunk in chunks:
        *whole, partial = (partial + chunk).split(b"\n")
        held.extend(line + b"\n" for line in whole)
    if partial:
        held.append(partial)
    return b"".join(held)


def _copy(stream: LogStream, out: BinaryIO, tail: int | None) -> None:
    if tail is not None:
        out.write(last_lines(stream, tail))
    else:
        for chunk in stream:
            out.write(chunk)
    out.flush()


def _follow(stream: LogStream, out: BinaryIO, tail: int | None) -> None:
    source = Handover(stream)
    if tail is not None:
        out.write(last_lines(source.until_pause(), tail))
        out.flush()
    for item in source.read_by(out):
        out.write(item)
        out.flush()
