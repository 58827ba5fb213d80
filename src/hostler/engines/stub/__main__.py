"""The life of the stub process, from its first line to its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Final, NoReturn

from hostler.engines.stub.options import NO_CODE, OptionError, Options, parse
from hostler.engines.stub.output import log, print_lines
from hostler.engines.stub.routes import Routes
from hostler.engines.stub.wire import Connection, Stats

USAGE_ERROR: Final = 2
CANNOT_LISTEN: Final = 1
BACKLOG: Final = 1024  # a test may open hundreds of connections at once


def main() -> int:
    """Run the stub; returns only when it could not start."""
    try:
        options = parse(sys.argv[1:])
    except OptionError as wrong:
        log(f"error: {wrong}")
        return USAGE_ERROR
    for text in options.startup_log:
        log(text)
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the grandchild inherits it
    if options.grandchild or options.grandchild_setsid:
        _leave_behind(options)
    try:
        asyncio.run(_live(options))
    except OSError as failed:
        log(f"error: couldn't bind {options.host}:{options.port}: {failed.strerror}")
        return CANNOT_LISTEN
    return 0


def _leave_behind(options: Options) -> None:
    """Fork a process that does nothing but hold stdout and stderr open."""
    pid = os.fork()
    if pid:
        log(f"grandchild {pid}")
        return
    if options.grandchild_setsid:
        os.setsid()
    time.sleep(options.grandchild_life)
    os._exit(0)


async def _live(options: Options) -> None:
    loop = asyncio.get_running_loop()
    stats = Stats()
    routes = Routes(options, stats)
    loop.add_signal_handler(signal.SIGINT, _stop, loop, options)
    if options.ignore_term:
        loop.add_signal_handler(signal.SIGTERM, log, "SIGTERM ignored")
    else:
        loop.add_signal_handler(signal.SIGTERM, _stop, loop, options)
    if not options.no_listen:
        server = await loop.create_server(
            lambda: Connection(routes.handle, stats), options.host, options.port, backlog=BACKLOG
        )
        host, port = server.sockets[0].getsockname()[:2]
        log(f"listening on {host}:{port}")
    if options.lines:
        _print_in_background(options)
    await asyncio.sleep(options.ready_after)
    if options.exit_before_ready != NO_CODE:
        _leave(options.exit_before_ready)
    routes.ready = True
    log("ready")
    if options.exit_after_ready != NO_CODE:
        await asyncio.sleep(options.exit_delay)
        _leave(options.exit_after_ready)
    await asyncio.Event().wait()


def _print_in_background(options: Options) -> None:
    """Print from a thread, so that a reader who stops reading holds up the printing and not the HTTP."""
    details = {
        "start": options.line_start,
        "stream": options.line_stream,
        "length": options.line_bytes,
        "rate": options.line_rate,
    }
    threading.Thread(target=print_lines, args=(options.lines,), kwargs=details, daemon=True).start()


def _stop(loop: asyncio.AbstractEventLoop, options: Options) -> None:
    log("stopping")
    loop.call_later(options.slow_exit, _leave, 0)


def _leave(code: int) -> NoReturn:
    """Leave at once: answers in progress break off, as with a real engine."""
    log(f"exiting with code {code}")
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
