"""metrics-ui.md, section 1: each request for a model leaves one row, whatever became of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import Any

import pytest

from hostler.config.schema import ApiKey, Config, Fifo, Peer, Routing, Telemetry

from .client import request
from .server import CHAT, Front, config, engine_port, in_process, question, raw_engine, running, stub
from .test_passing_on import Recorder

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


async def rows(front: Front, count: int) -> list[dict[str, Any]]:
    """The rows, oldest first, as soon as there are `count`."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            answer = await front.get("/api/metrics/activity?order=asc", [("authorization", "Bearer k")])
            found = answer.json()["data"]
    assert len(found) == count
    return found


def engine(body: bytes, kind: str = "application/json", status: str = "200 OK") -> Recorder:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return Recorder(head.encode() + body)


async def test_a_row() -> None:
    answer = json.dumps(
        {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    ).encode()
    other = engine(answer)
    async with raw_engine(other.serve) as port:
        settings = config(in_process("a", port), api_keys=(ApiKey("k", name="ann"),))
        async with running(settings) as front:
            asked = [("x-request-id", "mine"), ("authorization", "Bearer k")]
            await front.ask("POST", CHAT, question("a"), asked)
            (row,) = await rows(front, 1)

    size = len(other.bodies[0])
    assert row.pop("duration_ms") >= row.pop("first_byte_ms") >= row.pop("queue_ms") >= 0
    assert row.pop("load_ms") >= 0
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", row["timestamp"])
    # The speed is our own: the engine says none.
    assert row["tokens"].pop("tokens_per_second") > 0
    assert row["tokens"] == {
        "cache_tokens": -1, "draft_tokens": -1, "draft_acc_tokens": -1, "input_tokens": 3, "output_tokens": 4,
        "prompt_per_second": -1,
    }  # fmt: skip
    expected = {
        "id": 1, "model": "a", "req_path": CHAT, "resp_status_code": 200, "request_id": "mine", "key": "ann",
        "resp_content_type": "application/json", "run": 1, "bytes_in": size, "bytes_out": len(answer),
        "finish_reason": "stop", "error_kind": "", "speed_estimated": True, "first_token_ms": -1,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


async def test_a_stream() -> None:
    async with running(config(stub("a"))) as front:
        stream = await front.stream("a", tokens=4, chunk_delay=0.01)
        while await stream.piece():
            pass
        (row,) = await rows(front, 1)

    assert row["first_token_ms"] >= row["first_byte_ms"]
    assert row["tokens"]["output_tokens"] == 4
    assert row["resp_content_type"].startswith("text/event-stream")


async def test_what_leaves_no_row() -> None:
    async with running(config(stub("a"))) as front:
        await front.get("/upstream/a/health")
        await front.ask("POST", "/upstream/a/unknown", {"model": "a"})
        await front.chat("unknown")
        await front.chat("a")
        (row,) = await rows(front, 1)

    assert row["model"] == "a"


async def test_an_engines_error() -> None:
    body = b'{"error":{"message":"context too long"}}'
    async with (
        raw_engine(engine(body, status="400 Bad Request").serve) as port,
        running(config(in_process("a", port))) as front,
    ):
        await front.chat("a")
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_msg"], row["error_kind"]) == (
        400,
        "context too long",
        "client",
    )


async def test_a_start_that_fails() -> None:
    async with running(config(stub("a", argv=["false"]))) as front:
        await front.chat("a")
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_kind"], row["run"]) == (502, "engine", 1)
    assert "exit" in row["error_msg"]


async def test_the_priority_of_a_model_is_in_its_rows() -> None:
    def settings(priority: int) -> Config:
        model = stub("a", port=port)
        return config(model, stub("b"), routing=Routing(fifo=Fifo(priority={model.id: priority})))

    port = engine_port()
    async with running(settings(3)) as front:
        for _ in range(2):
            await front.chat("a")
        front.hostler.replace(settings(-2))
        await front.chat("a")
        await front.chat("b")
        found = await rows(front, 4)

    assert [row.get("metadata", {}).get("fifo_priority") for row in found] == ["3", "3", "-2", None]


async def test_an_error_behind_a_200() -> None:
    body = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"error":{"message":"slot lost"}}\n\n'
    async with (
        raw_engine(engine(body, "text/event-stream").serve) as port,
        running(config(in_process("a", port))) as front,
    ):
        await front.chat("a")
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_msg"], row["error_kind"]) == (200, "slot lost", "engine")


async def test_a_request_that_is_cancelled_by_its_number() -> None:
    async with running(config(stub("a", stub_options={"ready_after": 30}))) as front:
        client = await front.connect()
        await client.send(request("POST", CHAT, question("a")))
        await front.until_waiting("a", 1)
        await front.ask("POST", "/api/inflight/1/cancel")
        assert (await client.head()).status == 499
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_kind"]) == (499, "cancelled")


async def test_a_client_that_leaves() -> None:
    async with running(config(stub("a"))) as front:
        stream = await front.stream("a", tokens=5000, chunk_delay=0.01)
        stream.leave()
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_kind"]) == (200, "cancelled")


async def test_a_client_that_leaves_in_the_queue() -> None:
    async with running(config(stub("a", stub_options={"ready_after": 30}))) as front:
        client = await front.connect()
        await client.send(request("POST", CHAT, question("a")))
        await front.until_waiting("a", 1)
        client.leave()
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_kind"], row["queue_ms"]) == (0, "cancelled", -1)


async def test_an_engine_that_breaks_off() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf")

    async with raw_engine(half) as port, running(config(in_process("a", port))) as front:
        assert not (await front.chat("a")).complete
        (row,) = await rows(front, 1)

    assert (row["resp_status_code"], row["error_kind"], row["bytes_out"]) == (200, "engine", 4)


async def test_a_peer() -> None:
    async with raw_engine(engine(b'{"usage":{"prompt_tokens":1}}').serve) as port:
        peer = Peer(id="p", proxy=f"http://127.0.0.1:{port}", models=("far",))
        async with running(config(stub("a"), peers={"p": peer})) as front:
            await front.chat("far")
            (row,) = await rows(front, 1)

    assert (row["run"], row["resp_status_code"], row["tokens"]["input_tokens"]) == (0, 200, 1)


async def test_a_capture_of_a_real_request() -> None:
    async with (
        raw_engine(engine(b'{"usage":{}}').serve) as port,
        running(config(in_process("a", port))) as front,
    ):
        await front.ask("POST", CHAT, question("a"), [("authorization", "Bearer secret")])
        (row,) = await rows(front, 1)
        found = (await front.get(f"/api/captures/{row['id']}")).json()

    assert "secret" not in json.dumps(found)
    assert found["resp_headers"]["Content-Type"] == "application/json"


async def test_what_is_refused_is_counted_by_its_status() -> None:
    async with running(config(stub("a"), api_keys=(ApiKey("k"), ApiKey("r", scopes=("logs",))))) as front:
        for number in range(30):
            name, key = f"n{number}", [("authorization", "Bearer k")]
            await front.ask("POST", CHAT, question(name), key)
            await front.ask("POST", CHAT, question("a"), [("authorization", f"Bearer {name}")])
            await front.ask("POST", f"/upstream/{name}/v1/x", question("a"), key)
        await front.ask("POST", CHAT, question("a"), [("authorization", "Bearer r")])
        page = (await front.get("/metrics", [("authorization", "Bearer k")])).body.decode()

    assert sorted(
        line for line in page.splitlines() if line.startswith("hostler_refused_requests_total{")
    ) == [
        'hostler_refused_requests_total{status="401"} 30',
        'hostler_refused_requests_total{status="403"} 1',
        'hostler_refused_requests_total{status="404"} 60',
    ]
    assert "hostler_requests_total{" not in page
    assert not re.search(r'"n\d', page)


async def test_counters_add_up() -> None:
    async with running(config(stub("a"))) as front:
        for _ in range(20):
            await front.chat("a")
        page = (await front.get("/metrics")).body.decode()

    (line,) = [line for line in page.splitlines() if line.startswith("hostler_requests_total{")]
    assert line.endswith(" 20")


async def test_a_burst_adds_up_exactly() -> None:
    """Sixteen clients at once; `HOSTLER_BURST` makes it more."""
    each = int(os.environ.get("HOSTLER_BURST", "800")) // 16
    answer = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    async with raw_engine(engine(answer).serve) as port, running(config(in_process("a", port))) as front:

        async def ask() -> int:
            async with await front.connect() as client:
                answers = [await client.ask("POST", CHAT, question("a")) for _ in range(each)]
            return sum(one.status == 200 for one in answers)

        served = sum(await asyncio.gather(*(ask() for _ in range(16))))
        page = (await front.get("/metrics")).body.decode().splitlines()
        stats = (await front.get("/api/metrics/stats")).json()

    assert served == 16 * each
    assert f'hostler_requests_total{{model="a",status="2xx",error="none"}} {served}' in page
    assert f'hostler_tokens_total{{model="a",kind="output"}} {4 * served}' in page
    assert "hostler_activity_lost_total 0" in page
    assert stats["total_requests"] == min(served, 1000)  # what metricsMaxInMemory keeps
    assert stats["total_input_tokens"] == 3 * stats["total_requests"]


async def test_the_trace_of_a_client_goes_on_to_the_engine() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    other = engine(b"{}")
    collector = engine(b"")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with raw_engine(other.serve) as port, raw_engine(collector.serve) as traces:
        telemetry = Telemetry(endpoint=f"http://127.0.0.1:{traces}/v1/traces")
        async with running(config(in_process("a", port), telemetry=telemetry)) as front:
            await front.ask("POST", CHAT, question("a"), [("traceparent", parent)])
            await rows(front, 1)

    (sent,) = other.header("traceparent")
    assert sent.split("-")[1] == parent.split("-")[1]
    assert sent != parent
    # The span reached the collector when Hostler ended.
    assert collector.line.startswith(b"POST /v1/traces ")


async def test_a_failure_of_our_own_is_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a broken connection that nobody expected nor a bug may look like a request without an end."""
    broken: list[Exception] = [OSError("no route to host"), RuntimeError("a bug")]

    async def fail(*_: object) -> None:
        raise broken.pop(0)

    monkeypatch.setattr("hostler.gateway.request.forward", fail)
    async with running(config(stub("a"))) as front:
        assert [(await front.chat("a")).status for _ in range(2)] == [502, 500]
        found = await rows(front, 2)

    assert [(row["resp_status_code"], row["error_kind"]) for row in found] == [(502, "engine"), (500, "us")]
    assert all(row["error_msg"] for row in found)
