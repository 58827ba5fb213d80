"""Where `hostler` begins: parse, find the command's function, and turn every way to end into an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, cast

from hostler.cli import goflags, parser
from hostler.cli.outcome import FAILURE, INTERRUPTED, OK, USAGE, CommandError, UsageError
from hostler.errors import HostlerError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    Command = Callable[[Namespace], int]


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, so that a reader who has gone away is noticed below
        return code
    except CommandError as error:
        print(f"hostler: {error}", file=sys.stderr)
        return error.code
    except HostlerError as error:
        print(f"hostler: {error.message}", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:
        _forget_stdout()
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def _dispatch(argv: list[str]) -> int:
    try:
        arguments = parser.parse(goflags.translate(argv))
    except SystemExit as stop:  # argparse has printed help or what is wrong
        return stop.code if isinstance(stop.code, int) else USAGE
    if arguments.version:
        return _load("hostler.cli.status:version")(arguments)
    if arguments.command is None:
        parser.build().print_help(sys.stderr)
        return USAGE
    if not arguments.client and (arguments.url or arguments.api_key):
        raise UsageError(f"{arguments.command} asks no running Hostler: --url and --api-key are not for it")
    return _load(arguments.function)(arguments)


def _load(function: str) -> Command:
    module, _, name = function.partition(":")
    return cast("Command", getattr(importlib.import_module(module), name))


def _forget_stdout() -> None:
    """The reader of our output left (`| head`): nothing that is still buffered may raise at exit."""
    with contextlib.suppress(OSError, ValueError):  # not a file to begin with
        descriptor = sys.stdout.fileno()
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, descriptor)
        os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
