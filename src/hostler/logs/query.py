"""What somebody wants to see of a log: checked once, asked of every record. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from hostler.errors import ClientError
from hostler.logs.journal import PROXY, STDERR, STDOUT
from hostler.logs.levels import Level
from hostler.logs.records import LINE, Record
from hostler.logs.severity import plain

Format = Literal["text", "ndjson", "sse"]

# More lines than a person reads at once, and than a page shows.
MAX_LINES = 1_000_000
# RE2 takes time in proportion to the text; this bounds the memory of one expression.
PATTERN_BYTES = 1_048_576
MAX_PATTERN = 1000
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Query:
    """A selection. Times are wall time in seconds since 1970; None or 0 means no such limit.

    `run` counts from 1; -1 is the run before the newest one. `cursor` is as a record gave it. Lines below
    `level` are left out, and so are the lines that `pattern` finds (with `invert`: does not find).
    """

    format: Format = "text"
    models: tuple[str, ...] = ()
    tail: int | None = None
    head: int | None = None
    since: float | None = None
    until: float | None = None
    pattern: Any = field(default=None, repr=False)
    invert: bool = False
    level: Level | None = None
    stream: str | None = None
    run: int | None = None
    cursor: str | None = None
    on_gap: Literal["go on", "fail"] = "go on"
    history: bool = True

    @property
    def selects(self) -> bool:
        """Whether records have to be looked at; without that, and as text, the bytes go out as they are."""
        return (
            self.format != "text"
            or bool(self.models)
            or self.tail is not None
            or self.head is not None
            or self.since is not None
            or self.until is not None
            or self.cursor is not None
            or self.run is not None
            or self.filters
        )

    @property
    def filters(self) -> bool:
        """Whether some lines are left out."""
        return self.pattern is not None or self.level is not None or self.stream is not None

    @property
    def limits(self) -> bool:
        """Whether there are records that it does not select."""
        return (
            self.filters
            or self.head is not None
            or self.since is not None
            or self.until is not None
            or self.run is not None
        )

    def wants(self, record: Record) -> bool:
        """Whether `record` is selected."""
        if self.since is not None and record.time < self.since:
            return False
        if self.run is not None and record.run != self.run:
            return False
        if record.kind != LINE:
            return True
        if self.stream is not None and record.stream != self.stream:
            return False
        if self.level is not None and record.level < self.level:
            return False
        if self.pattern is None:
            return True
        return (self.pattern.search(plain(record.text)) is not None) is not self.invert

    def over(self, record: Record) -> bool:
        """Whether nothing after `record` can be selected."""
        if self.run is not None and record.run > self.run:
            return True
        return self.until is not None and record.time > self.until

    def is_before(self, record: Record) -> bool:
        """Whether nothing before `record` can be selected."""
        if self.run is not None and record.run < self.run:
            return True
        return self.since is not None and record.time < self.since


def parse(params: Mapping[str, str], models: Sequence[str], now: float) -> Query:
    """A query from the parameters of a request; ClientError says which one is wrong, and why."""
    format_ = params.get("format", "text")
    if format_ not in ("text", "ndjson", "sse"):
        raise ClientError("format is one of text, ndjson, sse", param="format")
    stream = params.get("stream") or None
    if stream is not None and stream not in (STDOUT, STDERR, PROXY):
        raise ClientError(f"stream is one of {STDOUT}, {STDERR}, {PROXY}", param="stream")
    on_gap = params.get("on_gap", "")
    if on_gap not in ("", "fail"):
        raise ClientError("on_gap is fail, or left out", param="on_gap")
    query = Query(
        format=format_,  # type: ignore[arg-type]  # checked above
        models=tuple(dict.fromkeys(models)),
        tail=_count(params, "tail"),
        head=_count(params, "head"),
        since=_time(params, "since", now),
        until=_time(params, "until", now),
        pattern=compile_pattern(params["grep"]) if params.get("grep") else None,
        invert=_flag(params, "invert"),
        level=_level(params),
        stream=stream,
        run=_run(params),
        cursor=params.get("cursor") or None,
        on_gap="fail" if on_gap else "go on",
        history="no-history" not in params,
    )
    if query.invert and query.pattern is None:
        raise ClientError("invert needs grep", param="invert")
    if query.tail is not None and query.head is not None:
        raise ClientError("tail and head exclude each other", param="head")
    if query.since is not None and query.until is not None and query.since > query.until:
        raise ClientError("since is after until", param="since")
    return query


def compile_pattern(text: str) -> Any:
    """A regular expression in RE2's syntax, which takes time in proportion to what it is given."""
    import re2

    if len(text) > MAX_PATTERN:
        raise ClientError(f"grep is longer than {MAX_PATTERN} characters", param="grep")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_BYTES
    try:
        return re2.compile(text, options=options)
    except UnicodeEncodeError:
        raise ClientError("grep is not a regular expression (RE2): it is not UTF-8", param="grep") from None
    except re2.error as error:
        why = error.args[0] if error.args else error
        told = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise ClientError(f"grep is not a regular expression (RE2): {told}", param="grep") from None


def _count(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ClientError(f"{name} is a number of lines, not {text[:40]!r}", param=name)
    return min(int(text), MAX_LINES)


def _flag(params: Mapping[str, str], name: str) -> bool:
    if name not in params:
        return False
    text = params[name].lower()
    if text not in ("", "1", "true", "yes", "0", "false", "no"):
        raise ClientError(f"{name} is true or false", param=name)
    return text not in ("0", "false", "no")


def _level(params: Mapping[str, str]) -> Level | None:
    text = params.get("level", "").strip().upper()
    if not text:
        return None
    text = {"WARNING": "WARN"}.get(text, text)
    if text not in Level.__members__:
        raise ClientError(
            f"level is one of {', '.join(name.lower() for name in Level.__members__)}", param="level"
        )
    return Level[text]


def _run(params: Mapping[str, str]) -> int | None:
    text = params.get("run", "")
    if not text:
        return None
    if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) or int(text) == 0:
        raise ClientError("run is a number from 1, or -1 for the run before the newest one", param="run")
    return int(text)


def _time(params: Mapping[str, str], name: str, now: float) -> float | None:
    """`2026-01-02T03:04:05Z`, or how long ago: `10m`, `1h30m`."""
    text = params.get(name, "").strip()
    if not text:
        return None
    if _DURATION.fullmatch(text):
        return now - sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    try:
        # Without a zone it is the time of the machine, as in its clock.
        return datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text).timestamp()
    except (ValueError, OverflowError):  # no time at all, or one that no clock of this machine shows
        raise ClientError(
            f"{name} is a time like 2026-01-02T03:04:05Z, or a length of time like 10m, not {text[:40]!r}",
            param=name,
        ) from None
