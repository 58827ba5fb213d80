"""OpenTelemetry: one trace per request, sent to a collector; needs the extra `hostler[otel]`.

Spans are made when a request has ended, of the times that were noted on its way, so a request pays for
nothing but its ids. What is sent goes through the SDK's own queue and thread, which are bounded.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from hostler.config.schema import Telemetry
from hostler.metrics.record import ActivityRow, ErrorKind, RequestRecord
from hostler.metrics.tracecontext import TraceContext

# Seconds that a collector has for a batch, further tries included: one that is away is asked with each batch.
EXPORT_SECONDS = 5.0
# Seconds that a stop waits for the collector to take what is left, before the last try is broken off.
FLUSH_SECONDS = 2.0
# Where the SDK says what goes wrong, again with each try.
SDK_LOG = "opentelemetry"
NANO = 1_000_000_000
# Names of operations in the conventions for generative AI, by the end of the path.
OPERATIONS = (
    ("chat/completions", "chat"),
    ("messages", "chat"),
    ("responses", "chat"),
    ("completions", "text_completion"),
    ("completion", "text_completion"),
    ("infill", "text_completion"),
    ("embeddings", "embeddings"),
)


def operation_of(path: str) -> str:
    """What a request wants, in the words of the conventions; its path where they have none."""
    return next((name for end, name in OPERATIONS if path.endswith(f"/{end}")), path.strip("/") or "request")


def traces_url(endpoint: str) -> str:
    """Where traces go: a collector's address alone is completed as the protocol says."""
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + "/v1/traces"


class Tracer:
    """Makes and sends spans. The constructor raises ModuleNotFoundError without the extra.

    `on_problem` is told once, by `record` or `tell`, when the collector does not take them.
    """

    def __init__(
        self, telemetry: Telemetry, *, version: str, on_problem: Callable[[str], None] = lambda text: None
    ) -> None:
        load = importlib.import_module
        self._api: Any = load("opentelemetry.trace")
        self._context: Any = load("opentelemetry.context")
        sdk: Any = load("opentelemetry.sdk.trace")
        resources: Any = load("opentelemetry.sdk.resources")
        export: Any = load("opentelemetry.sdk.trace.export")
        otlp: Any = load("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        self._ids = _Ids(load("opentelemetry.sdk.trace.id_generator").RandomIdGenerator())
        resource = resources.Resource.create(
            {"service.name": telemetry.service_name, "service.version": version}
        )
        self._provider: Any = sdk.TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._exporter: Any = otlp.OTLPSpanExporter(
            traces_url(telemetry.endpoint), headers=dict(telemetry.headers), timeout=EXPORT_SECONDS
        )
        self._trouble = _Trouble(on_problem)
        self._provider.add_span_processor(export.BatchSpanProcessor(self._exporter))
        self._tracer: Any = self._provider.get_tracer("hostler", version)

    def record(self, row: ActivityRow, record: RequestRecord, now: float) -> None:
        """Send the spans of a request that ended at `now` (monotonic), unless its trace is not sampled."""
        self._trouble.tell()
        trace = record.trace
        if trace is None or not trace.sampled:
            return
        end = row.timestamp_ms * (NANO // 1000)

        def at(moment: float) -> int:
            return end - round((now - moment) * NANO)

        self._ids.use(trace)
        span = self._tracer.start_span(
            f"{operation_of(row.path)} {row.model}",
            context=self._parent(trace),
            kind=self._api.SpanKind.SERVER,
            start_time=at(record.began),
            attributes=attributes_of(row),
        )
        within = self._api.set_span_in_context(span, self._context.Context())
        for name, begin, finish in phases(record, now):
            self._tracer.start_span(name, context=within, start_time=at(begin)).end(at(finish))
        if row.error_kind is not ErrorKind.NONE:
            status = self._api.Status(self._api.StatusCode.ERROR, row.error)
            span.set_status(status)
        span.end(end)

    def tell(self) -> None:
        """Tell what went wrong in other threads, if that is new."""
        self._trouble.tell()

    def _parent(self, trace: TraceContext) -> Any:
        if trace.parent_id is None:
            return self._context.Context()
        flags = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        parent = self._api.SpanContext(trace.trace_id, trace.parent_id, is_remote=True, trace_flags=flags)
        return self._api.set_span_in_context(self._api.NonRecordingSpan(parent), self._context.Context())

    def close(self) -> None:
        """Send what is left; blocks, for EXPORT_SECONDS at most."""
        # The SDK's own limits of time do not hold while a try goes on.
        breaking_off = threading.Timer(FLUSH_SECONDS, self._exporter.shutdown)
        breaking_off.start()
        self._provider.shutdown()
        breaking_off.cancel()
        breaking_off.join()
        self._trouble.close()


class _Trouble(logging.Handler):
    """Takes what the SDK complains of, from any thread, and has it told once by the thread of the spans."""

    def __init__(self, on_problem: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_problem = on_problem
        self._text = ""
        self._told = False
        self._log = logging.getLogger(SDK_LOG)
        self._log.addHandler(self)
        self._log.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self._text = self._text or record.getMessage()

    def tell(self) -> None:
        """Pass the first complaint on."""
        if self._text and not self._told:
            self._told = True
            self._on_problem(f"telemetry: {self._text[:500]}; there is no warning about further ones")

    def close(self) -> None:
        self._log.removeHandler(self)
        super().close()


class _Ids:
    """Gives a request's own span the ids that its engine was told."""

    def __init__(self, random: Any) -> None:
        self._random = random
        self._trace: TraceContext | None = None

    def use(self, trace: TraceContext) -> None:
        """The next span is that of `trace`."""
        self._trace = trace

    def generate_trace_id(self) -> int:
        """For a span without a parent; asked before the span's own id."""
        if self._trace is not None:
            return self._trace.trace_id
        found: int = self._random.generate_trace_id()
        return found

    def generate_span_id(self) -> int:
        """For each span."""
        trace, self._trace = self._trace, None
        found: int = trace.span_id if trace is not None else self._random.generate_span_id()
        return found

    def is_trace_id_random(self) -> bool:
        """Whether the trace ids of ours are random in all their bits; they are."""
        return True


def phases(record: RequestRecord, now: float) -> list[tuple[str, float, float]]:
    """The spans below a request's: name, begin and end in monotonic seconds."""
    if record.granted is None:
        return [("queue", record.began, now)]
    load = min(record.load_seconds or 0.0, record.granted - record.began)
    found = [("queue", record.began, record.granted - load)]
    if load:
        found.append(("load", record.granted - load, record.granted))
    found.append(("upstream", record.granted, now))
    if record.first_token is not None:
        found.append(("first token", record.granted, record.first_token))
    return found


def attributes_of(row: ActivityRow) -> dict[str, Any]:
    """What the conventions for generative AI and HTTP have names for, and ours under `hostler.`."""
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation_of(row.path),
        "gen_ai.provider.name": "hostler",
        "gen_ai.request.model": row.model,
        "gen_ai.request.stream": "text/event-stream" in row.content_type.lower(),
        "url.path": row.path,
        "hostler.request_id": row.request_id,
        "hostler.run": row.run,
    }
    if row.status:
        found["http.response.status_code"] = row.status
    if row.input_tokens > 0:
        found["gen_ai.usage.input_tokens"] = row.input_tokens
    if row.output_tokens > 0:
        found["gen_ai.usage.output_tokens"] = row.output_tokens
    if row.cache_tokens > 0:
        found["gen_ai.usage.cache_read.input_tokens"] = row.cache_tokens
    if row.first_token_ms >= 0:
        found["gen_ai.response.time_to_first_chunk"] = row.first_token_ms / 1000
    if row.finish_reason:
        found["gen_ai.response.finish_reasons"] = [row.finish_reason]
    if row.error_kind is not ErrorKind.NONE:
        found["error.type"] = row.error_kind.value
    return found
