"""The built-in llama.cpp engine: `python -m hostler.engines.llamacpp -m FILE [--port N] [flag …]`.

llama.cpp's own HTTP server, from the prebuilt package xllamacpp, run as an ordinary process that takes
llama-server's flags. Exit codes: 0 after SIGTERM or SIGINT, 1 when the command line, the model or the port
is at fault, 3 when xllamacpp is missing.

Signals. xllamacpp holds the interpreter while it loads, so no Python code can react then: until it is ready
the process simply dies of the signal, as llama-server does. At the end of the load llama.cpp puts handlers
of its own in place; they stop its server but not this process, so they are replaced. A signal that falls
between the two would leave a process without a server: that is what the checks after the start are for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hostler.engines.flags import FlagError, help_text
from hostler.engines.llamacpp_flags import HELP, TABLE, USAGE, VERSION
from hostler.engines.llamacpp_params import fill, model_path, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_WRONG: Final = 1
EXIT_MISSING: Final = 3
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
CHECKS: Final = (0.1, 0.5, 2.0)  # seconds; llama.cpp's handler closes its port within milliseconds
MAGIC: Final = b"GGUF"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the engine; returns only when it was asked a question or could not start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no KeyboardInterrupt out of the middle of a load
    try:
        settings = parse(sys.argv[1:] if argv is None else argv)
        given = {setting.flag.names for setting in settings}
        if HELP.names in given:
            print(help_text(USAGE, TABLE), end="")
            return 0
        if VERSION.names in given:
            print(_version())
            return 0
        _check_model(model_path(settings))
        native = _native()
        params = native.CommonParams()
        fill(params, native, settings)
        return _serve(native, params)
    except FlagError as wrong:
        return _complain(str(wrong), EXIT_WRONG)
    except ImportError as missing:
        return _complain(f"error: {missing}", EXIT_MISSING)


def _check_model(path: str | None) -> None:
    """Find what is wrong with the model file before the library is loaded."""
    if path is None:
        raise FlagError("error: no model: -m FILE is needed")
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as failed:
        raise FlagError(f"error: cannot read model file '{path}': {failed.strerror}") from None
    if start != MAGIC:
        raise FlagError(f"error: not a GGUF model file: '{path}'")


def _native() -> Any:
    try:
        return importlib.import_module("xllamacpp")
    except ModuleNotFoundError as missing:
        if missing.name != "xllamacpp":
            raise
        raise ImportError("the llama.cpp engine is not installed: pip install 'hostler[llamacpp]'") from None


def _version() -> str:
    try:
        return f"llama.cpp from xllamacpp {importlib.metadata.version('xllamacpp')}"
    except importlib.metadata.PackageNotFoundError:
        return "xllamacpp is not installed: pip install 'hostler[llamacpp]'"


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return code


def _serve(native: Any, params: Any) -> int:
    """Load, serve until a stop signal, and leave at once; returns only when it did not start.

    Letting go of `server` would join llama.cpp's threads, which a long answer can keep busy. Nothing of this
    process outlives it that would need tidying, so it leaves without.
    """
    try:
        server = native.Server(params)
    except RuntimeError as failed:
        return _complain(f"error: the llama.cpp server did not start: {failed}", EXIT_WRONG)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Any of llama.cpp's threads may be the one that gets the signal; the byte wakes this one in any case.
    signal.set_wakeup_fd(writer.fileno())
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    if _still_serving(reader, server.listening_address, params.hostnames[0]):
        reader.recv(1)
    print("stopping", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(0)


def _still_serving(reader: socket.socket, address: str, host: str) -> bool:
    """False when a signal came, or when one came too early for us and stopped the server only."""
    for pause in CHECKS:
        if select.select([reader], [], [], pause)[0] or not _accepts(address, host):
            return False
    return True


def _accepts(address: str, host: str) -> bool:
    """Whether somebody listens at `address` (http://HOST:PORT); anything but a refusal counts as yes."""
    port = address.rpartition(":")[2]
    if not port.isdigit():
        return True  # a socket file
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((target, int(port)), timeout=1.0).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main())
