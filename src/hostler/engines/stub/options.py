"""The stub's command line. A field of `Options` is a flag: `ready_after` is `--ready-after`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

NO_CODE: Final = -1
STREAMS: Final = ("stdout", "stderr", "both")
PER_REQUEST: Final = ("tokens", "text", "status", "first_delay", "chunk_delay", "die_in_stream")


class OptionError(Exception):
    """The command line, or a request's `stub` object, is wrong."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that can be asked of the stub; a time is in seconds."""

    port: int = 0
    host: str = "127.0.0.1"
    model: str = "stub"
    # Starting
    startup_log: tuple[str, ...] = ()  # printed to stderr before anything else; may be repeated
    ready_after: float = 0.0
    exit_before_ready: int = NO_CODE
    exit_after_ready: int = NO_CODE
    exit_delay: float = 0.0  # with exit_after_ready: how long after
    hang_health: bool = False  # accept /health and never answer it
    no_listen: bool = False
    # Ending
    ignore_term: bool = False
    slow_exit: float = 0.0
    grandchild: bool = False  # leave a process behind that keeps stdout and stderr open
    grandchild_setsid: bool = False  # the same, in a session of its own
    grandchild_life: float = 60.0  # it ends by itself, so that a failed test leaves nothing for long
    # Printing
    lines: int = 0  # -1 is without end
    line_rate: float = 0.0  # a second; 0 is as fast as it can
    line_stream: str = "both"
    line_bytes: int = 0  # length with the newline; 0 is no padding
    line_start: int = 1
    # Answering
    tokens: int = 8
    text: str = ""  # said instead of counting tokens
    status: int = 200  # anything else is answered as an error
    first_delay: float = 0.0  # before the first byte of an answer
    chunk_delay: float = 0.0  # before each piece of a stream
    die_in_stream: int = NO_CODE  # exit after so many pieces


def parse(argv: list[str]) -> Options:
    """The options of a command line; raises OptionError."""
    defaults = Options()
    flags = {"--" + field.name.replace("_", "-"): field.name for field in fields(Options)}
    given: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in flags:
            raise OptionError(f"unknown option: {flag}")
        name = flags[flag]
        default = getattr(defaults, name)
        if isinstance(default, bool):
            given[name] = True
            continue
        if not equals:
            value = next(words, "")
        if isinstance(default, tuple):
            given[name] = (*given.get(name, ()), value)
        else:
            given[name] = _value(name, value)
    return _checked(replace(defaults, **given))


def for_request(options: Options, body: Any) -> Options:
    """`options` with what the `stub` object of a request's JSON body changes; raises OptionError."""
    wanted = body.get("stub") if isinstance(body, dict) else None
    if wanted is None:
        return options
    if not isinstance(wanted, dict):
        raise OptionError("stub must be an object")
    given = {}
    for name, value in wanted.items():
        if name not in PER_REQUEST:
            raise OptionError(f"stub.{name} cannot be set per request; these can: {', '.join(PER_REQUEST)}")
        given[name] = _value(name, value)
    return _checked(replace(options, **given))


def _value(name: str, value: Any) -> Any:
    kind = type(getattr(Options(), name))
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise OptionError(f"{name} must be {kind.__name__}, not {value!r}") from None


def _checked(options: Options) -> Options:
    if options.line_stream not in STREAMS:
        raise OptionError(f"line_stream must be one of {', '.join(STREAMS)}")
    return options
