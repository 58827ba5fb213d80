"""What is known about one request for a model: while it runs, and as the row that stays.

`RequestRecord` is filled in by whoever carries the request; `ActivityRow` is what the store keeps and the
API shows. Speeds are tokens per second, times of day are milliseconds since 1970 (UTC), spans milliseconds.
-1 stands for what nobody said, as llama-swap's clients know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from hostler.errors import HostlerError
from hostler.metrics.tracecontext import TraceContext

if TYPE_CHECKING:
    from hostler.metrics.capture_parts import Collector

UNKNOWN = -1
NOTHING: dict[str, str] = {}  # never written
NO_METADATA: Mapping[str, str] = MappingProxyType(NOTHING)
Pairs = Iterable[tuple[bytes, bytes]]
# Of an error's text; the longest of ours, with a cause and an advice, is shorter.
MAX_ERROR = 500


class ErrorKind(StrEnum):
    """Whose fault it was that a request failed; the empty one is a request that did not."""

    NONE = ""
    CLIENT = "client"
    CONFIG = "config"
    ENGINE = "engine"
    US = "us"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # that of enumerations is a call of Python's


_FAULTS = {
    "client": ErrorKind.CLIENT,
    "config": ErrorKind.CONFIG,
    "model": ErrorKind.ENGINE,
    "hostler": ErrorKind.US,
}


def kind_of(error: HostlerError) -> ErrorKind:
    """Whose fault `error` is, in the words of the activity."""
    return _FAULTS[error.fault]


def kind_of_status(status: int) -> ErrorKind:
    """Whose fault an engine's own answer tells of."""
    if status < 400:
        return ErrorKind.NONE
    return ErrorKind.CLIENT if status < 500 else ErrorKind.ENGINE


class ActivityRow(msgspec.Struct, frozen=True, gc=False):
    """One finished request.

    `timestamp_ms` is the end of the request. `duration_ms` is all of it: `queue_ms` in line, `load_ms` for
    the engine to become ready, the rest at work. `first_byte_ms` and `first_token_ms` count from the arrival
    of the request. `status` is 0 when the client left before there was one. `speed_estimated` marks
    `tokens_per_second` as computed by us.
    """

    id: int
    timestamp_ms: int
    model: str
    path: str
    content_type: str = ""
    status: int = 0
    cache_tokens: int = 0
    draft_tokens: int = 0
    draft_accepted_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_per_second: float = 0.0
    tokens_per_second: float = 0.0
    duration_ms: int = 0
    error: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    request_id: str = ""
    key: str = ""
    run: int = 0
    queue_ms: int = UNKNOWN
    load_ms: int = UNKNOWN
    first_byte_ms: int = UNKNOWN
    first_token_ms: int = UNKNOWN
    bytes_in: int = 0
    bytes_out: int = 0
    finish_reason: str = ""
    error_kind: ErrorKind = ErrorKind.NONE
    speed_estimated: bool = False


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What an answer said about tokens; the fields of `usage.Usage` that a row keeps.

    All zeros is an answer that said nothing; in one that said something, -1 is what it left out.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    draft: int = 0
    draft_accepted: int = 0
    prompt_per_second: float = 0.0
    tokens_per_second: float = 0.0
    estimated: bool = False


NO_TOKENS = Tokens()  # of answers that said nothing


class RequestRecord(msgspec.Struct, gc=False):
    """A request that runs; `Recorder.begin` makes it, the gateway writes its fields as it learns them.

    Times are monotonic seconds; None is what has not happened. Whoever carries the request may set any
    field at any time before `Recorder.finish`, which reads them once. (A structure of msgspec is made by one
    call in C, its many defaults included.)
    """

    model: str
    path: str
    request_id: str
    key: str
    began: float
    run: int = 0
    granted: float | None = None  # the lease was given
    load_seconds: float | None = None  # of the wait for the lease, what the engine's start took
    first_byte: float | None = None
    first_token: float | None = None
    status: int = 0
    content_type: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    tokens: Tokens = NO_TOKENS
    engine_ms: float = 0.0  # the engine's own time for prompt and answer, where it says
    finish_reason: str = ""
    error: str = ""
    error_kind: ErrorKind = ErrorKind.NONE
    metadata: Mapping[str, str] = NO_METADATA
    # Only for captures; None when nobody wants them.
    request_headers: Pairs | bytes | None = None
    request_body: bytes | None = None
    request_cut: bool = False  # there was no room for it
    response_headers: Pairs | bytes | None = None
    response: Collector | None = None
    trace: TraceContext | None = None  # when traces are made; `header()` goes to the engine
    ended: float | None = None  # where its row is made later
    finished: bool = False

    def fail(self, error: HostlerError) -> None:
        """The request ends with an error of ours."""
        self.status = error.status
        self.error = error.message
        self.error_kind = kind_of(error)

    def cancel(self) -> None:
        """The client left, or somebody cancelled the request; what had happened before stays."""
        self.error_kind = ErrorKind.CANCELLED
        if not self.error:
            self.error = "cancelled"


def row_of(record: RequestRecord, *, number: int, now: float, wall_ms: int) -> ActivityRow:
    """The row that stays of `record`, which ended at `now`."""
    tokens = record.tokens
    began, granted, first_byte = record.began, record.granted, record.first_byte
    queue, load = (0, 0) if granted == began else _waits(record)
    duration = max(round((now - began) * 1000), round(record.engine_ms), 0)
    reason = record.finish_reason
    # By position, in the order of the fields: by name, it takes fifteen times as long.
    return ActivityRow(
        number,
        wall_ms,
        record.model,
        record.path,
        record.content_type,
        record.status,
        tokens.cached,
        tokens.draft,
        tokens.draft_accepted,
        tokens.input,
        tokens.output,
        tokens.prompt_per_second,
        tokens.tokens_per_second,
        duration,
        shortened(record.error) if record.error else "",
        dict(record.metadata) if record.metadata else NOTHING,
        record.request_id,
        record.key,
        record.run,
        queue,
        load,
        UNKNOWN if first_byte is None else _span(began, first_byte),
        UNKNOWN if record.first_token is None else _span(began, record.first_token),
        record.bytes_in,
        record.bytes_out,
        reason if reason.isascii() else storable(reason),
        record.error_kind or kind_of_status(record.status),
        tokens.estimated,
    )


def _waits(record: RequestRecord) -> tuple[int, int]:
    """Milliseconds in line, and those for the engine to become ready."""
    if record.granted is None:
        return UNKNOWN, UNKNOWN
    waited = record.granted - record.began
    loading = min(record.load_seconds or 0.0, waited)
    return round(max(0.0, waited - loading) * 1000), round(loading * 1000)


def shortened(text: str) -> str:
    """`text`, cut to what a row keeps of an error."""
    return storable(text if len(text) <= MAX_ERROR else text[:MAX_ERROR] + "...")


def storable(text: str) -> str:
    """`text` without halves of characters: JSON can hold them, a database refuses the whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _span(began: float, moment: float) -> int:
    return round((moment - began) * 1000) if moment > began else 0
