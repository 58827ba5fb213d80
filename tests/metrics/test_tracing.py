"""What must hold: a request is one trace, below the client's span and above the engine's."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.config.schema import Telemetry
from hostler.metrics import tracing
from hostler.metrics.record import ErrorKind, RequestRecord, Tokens, row_of
from hostler.metrics.tracecontext import trace_of
from hostler.metrics.tracing import Tracer, attributes_of, operation_of, traces_url

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_goes_on() -> None:
    trace = trace_of(CLIENT)

    assert trace.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert trace.parent_id == 0xB7AD6B7169203331
    assert trace.sampled
    assert trace.header() == f"00-0af7651916cd43dd8448eb211c80319c-{trace.span_id:016x}-01"
    assert trace_of(trace.header()).parent_id == trace.span_id
    assert not trace_of(CLIENT[:-2] + "00").sampled
    assert trace_of("cc" + CLIENT[2:] + "-what-comes-later").parent_id == 0xB7AD6B7169203331


@pytest.mark.parametrize(
    "header",
    ["", "x", "ff" + CLIENT[2:], CLIENT + "-x", CLIENT.upper(), CLIENT.replace("b7ad6b7169203331", "0" * 16),
     CLIENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)],
)  # fmt: skip
def test_a_wrong_header_is_none(header: str) -> None:
    trace = trace_of(header)

    assert trace.parent_id is None
    assert trace.trace_id != 0x0AF7651916CD43DD8448EB211C80319C
    assert trace.sampled


@given(st.text(max_size=80))
def test_any_header_gives_a_trace(header: str) -> None:
    assert trace_of(trace_of(header).header()).trace_id


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/chat/completions", "chat"), ("/v1/completions", "text_completion"), ("/v1/messages", "chat"),
     ("/v1/embeddings", "embeddings"), ("/rerank", "rerank"), ("/", "request")],
)  # fmt: skip
def test_operations(path: str, name: str) -> None:
    assert operation_of(path) == name


def test_where_traces_go() -> None:
    assert traces_url("http://collector:4318") == "http://collector:4318/v1/traces"
    assert traces_url("http://collector:4318/") == "http://collector:4318/v1/traces"
    assert traces_url("https://x/otlp") == "https://x/otlp"


Posts = "queue.Queue[tuple[str, dict[str, str], bytes]]"


@pytest.fixture
def collector() -> Iterator[tuple[str, Any]]:
    """An HTTP server that keeps what is posted."""
    posts: Any = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posts.put((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", posts
        server.shutdown()
        thread.join()


def ended(header: str, **fields: Any) -> RequestRecord:
    record = RequestRecord(model="a", path="/v1/chat/completions", request_id="r", key="", began=100.0)
    record.trace = trace_of(header)
    record.granted, record.load_seconds, record.first_token, record.status = 103.0, 2.0, 104.0, 200
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def test_spans_reach_a_collector(collector: tuple[str, Any]) -> None:
    pytest.importorskip("opentelemetry.sdk")
    trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    url, posts = collector
    tracer = Tracer(Telemetry(endpoint=url, headers={"x-team": "t"}, service_name="front"), version="1")
    ours, failed = (
        ended(CLIENT),
        ended("", error_kind=ErrorKind.ENGINE, error="broken", granted=None, status=502),
    )
    unsampled = ended(CLIENT[:-2] + "00")
    for number, record in enumerate((ours, failed, unsampled)):
        tracer.record(row_of(record, number=number, now=105.0, wall_ms=1_767_225_605_000), record, 105.0)
    tracer.close()

    path, headers, body = posts.get(timeout=10)
    assert (path, headers["x-team"]) == ("/v1/traces", "t")
    if headers.get("content-encoding") == "gzip":
        import gzip

        body = gzip.decompress(body)
    message = trace_service.ExportTraceServiceRequest.FromString(body)
    (resource,) = message.resource_spans
    assert ("service.name", "front") in [(a.key, a.value.string_value) for a in resource.resource.attributes]
    spans = list(resource.scope_spans[0].spans)
    names = [span.name for span in spans]
    assert sorted(names) == ["chat a", "chat a", "first token", "load", "queue", "queue", "upstream"]
    root = next(span for span in spans if span.name == "chat a" and span.parent_span_id)
    assert ours.trace is not None
    assert root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert root.span_id.hex() == f"{ours.trace.span_id:016x}"
    below = {span.name: span for span in spans if span.parent_span_id == root.span_id}
    began = 1_767_225_600_000_000_000
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (began, began + 5 * 10**9)
    assert (below["load"].start_time_unix_nano, below["load"].end_time_unix_nano) == (
        began + 10**9,
        began + 3 * 10**9,
    )
    first = below["first token"]
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (began + 3 * 10**9, began + 4 * 10**9)
    assert {attribute.key for attribute in root.attributes} == {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.stream",
        "gen_ai.response.time_to_first_chunk", "hostler.request_id", "hostler.run",
        "http.response.status_code", "url.path",
    }  # fmt: skip
    broken = next(span for span in spans if span.name == "chat a" and not span.parent_span_id)
    assert failed.trace is not None
    assert broken.trace_id.hex() == f"{failed.trace.trace_id:032x}"
    assert broken.status.message == "broken"


def test_the_names_are_those_of_the_conventions() -> None:
    names = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {value for name, value in vars(names).items() if name.startswith("GEN_AI_")}
    record = ended("", tokens=Tokens(input=3, output=4, cached=2), finish_reason="stop")
    used = attributes_of(row_of(record, number=1, now=105.0, wall_ms=5000))

    generative = {name for name in used if name.startswith("gen_ai.")}
    assert generative <= known
    assert {"gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens"} <= generative


@pytest.mark.parametrize("hangs", [False, True])
def test_a_collector_that_is_away_is_told_once_and_delays_no_stop(
    hangs: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.3)
    monkeypatch.setattr(tracing, "EXPORT_SECONDS", 0.5)
    said: list[str] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if hangs:
            listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        tracer = Tracer(Telemetry(endpoint=url), version="1", on_problem=said.append)
        record = ended("")
        for number in range(3):
            tracer.record(row_of(record, number=number, now=105.0, wall_ms=5000), record, 105.0)
        began = time.monotonic()
        tracer.close()
        tracer.tell()

        assert time.monotonic() - began < 2.0
    assert [text.startswith("telemetry: ") for text in said] == [True]
    assert capfd.readouterr().err == ""
