"""What must hold over real sockets: activity, captures, events, numbers in the shapes that are known."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostler.config.schema import Performance
from hostler.core import ModelId, State
from hostler.metrics.record import ActivityRow, Tokens

from .client import Client, request
from .server import Front, config, running, stub, until

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


def record(
    front: Front, count: int = 1, model: str = "a", status: int = 200, **tokens: Any
) -> list[ActivityRow]:
    """Requests as the gateway would record them."""
    recorder = front.hostler.observatory.recorder
    rows = []
    for _ in range(count):
        one = recorder.begin(model=model, path="/v1/chat/completions", request_id="rid", key="ann")
        headers = [(b"Authorization", b"s"), (b"Content-Type", b"application/json")]
        recorder.capture_request(one, headers, b'{"model":"a"}')
        one.status = status
        one.error = "" if status == 200 else "=1+1|x"
        one.tokens = Tokens(**{"input": 3, "output": 5, "tokens_per_second": 10.0, **tokens})
        collector = recorder.capture_response(one, [(b"Content-Type", b"text/event-stream")])
        if collector is not None:
            collector.feed(b"data: [DONE]\n\n")
        row = recorder.finish(one)
        assert row is not None
        rows.append(row)
    return rows


async def test_the_activity_page() -> None:
    async with running(config(stub("a"))) as front:
        record(front, 30)
        record(front, 1, model="gone", status=502, cached=-1)
        page = (await front.get("/api/metrics/activity?limit=10&page=2&sort=id&order=asc")).json()

        assert {key: page[key] for key in ("page", "limit", "total", "total_pages")} == {
            "page": 2, "limit": 10, "total": 31, "total_pages": 4,
        }  # fmt: skip
        assert [row["id"] for row in page["data"]] == list(range(11, 21))
        row = page["data"][0]
        assert row["tokens"] == {
            "cache_tokens": 0, "draft_tokens": 0, "draft_acc_tokens": 0, "input_tokens": 3,
            "output_tokens": 5, "prompt_per_second": 0.0, "tokens_per_second": 10.0,
        }  # fmt: skip
        assert (row["has_capture"], row["model"], row["resp_status_code"]) == (True, "a", 200)
        assert "error_msg" not in row
        found = (await front.get("/api/metrics/activity?model=gone&status=5xx&key=ann&q=RID")).json()["data"]
        assert [(row["id"], row["error_msg"], row["error_kind"]) for row in found] == [
            (31, "=1+1|x", "engine")
        ]
        assert found[0]["tokens"]["cache_tokens"] == -1
        wrong = await front.get("/api/metrics/activity?sort=size")
        assert (wrong.status, wrong.json()["error"]["message"]) == (400, "invalid sort column")


async def test_sums() -> None:
    async with running(config(stub("a"))) as front:
        empty = (await front.get("/api/metrics/stats")).json()
        record(front, 4)
        record(front, 1, model="b", tokens_per_second=0.0)
        found = (await front.get("/api/metrics/stats")).json()
        one = (await front.get("/api/metrics/stats?model=b")).json()

    assert empty == {
        "total_requests": 0, "total_input_tokens": 0, "total_output_tokens": 0, "total_cache_tokens": 0,
        "prompt_histogram": None, "gen_histogram": None,
    }  # fmt: skip
    assert (found["total_requests"], found["total_output_tokens"], one["total_requests"]) == (5, 25, 1)
    assert found["gen_histogram"] == {
        "bins": [4], "min": 10, "max": 10, "binSize": 0, "p50": 10, "p95": 10, "p99": 10,
    }  # fmt: skip
    assert one["gen_histogram"] is None


async def test_exports() -> None:
    async with running(config(stub("a"), metrics_max_in_memory=5000)) as front:
        record(front, 2500)
        record(front, 1, status=502)
        sheet = await front.get("/api/metrics/activity?format=csv")
        lines = await front.get("/api/metrics/activity?format=ndjson&order=asc&status=2xx")
        table = await front.get("/api/metrics/activity?format=md&limit=2")
        wrong = await front.get("/api/metrics/activity?format=xml")

    rows = list(csv.DictReader(io.StringIO(sheet.body.decode())))
    assert [int(row["id"]) for row in rows] == list(range(2501, 0, -1))
    assert rows[0]["error_msg"] == "'=1+1|x"
    assert rows[1]["tokens_per_second"] == "10.0"
    assert [json.loads(line)["id"] for line in lines.body.splitlines()] == list(range(1, 2501))
    assert len(table.body.splitlines()) == 4
    assert b"=1+1\\|x" in table.body
    assert wrong.status == 400


async def test_a_capture() -> None:
    async with running(config(stub("a"))) as front:
        (row,) = record(front)
        found = (await front.get(f"/api/captures/{row.id}")).json()
        missing, wrong = await front.get("/api/captures/99"), await front.get("/api/captures/x")

    assert found == {
        "id": row.id,
        "req_path": "/v1/chat/completions",
        "req_headers": {"Authorization": "[REDACTED]", "Content-Type": "application/json"},
        "req_body": base64.b64encode(b'{"model":"a"}').decode(),
        "resp_headers": {"Content-Type": "text/event-stream"},
        "resp_body": base64.b64encode(b"data: [DONE]\n\n").decode(),
        "model": "a",
        "truncated": False,
    }
    assert (missing.status, missing.json()["error"]["message"]) == (404, "capture not found")
    assert (wrong.status, wrong.json()["error"]["message"]) == (400, "invalid capture ID")


async def test_what_is_kept_over_a_reload(tmp_path: Path) -> None:
    async with running(config(stub("a"), store_path=str(tmp_path / "a.db"))) as front:
        (row,) = record(front)
        front.hostler.replace(config(stub("a"), store_path=str(tmp_path / "a.db"), capture_buffer=1))

        assert (await front.get(f"/api/captures/{row.id}")).status == 200
        assert (await front.get("/api/metrics/activity")).json()["total"] == 1
        front.hostler.replace(config(stub("a"), capture_buffer=0))
        assert (await front.get(f"/api/captures/{row.id}")).status == 404
        assert b"store.path has changed" in front.hostler.hub.proxy.history()
    async with running(config(stub("a"), store_path=str(tmp_path / "a.db"))) as front:
        assert (await front.get("/api/metrics/activity")).json()["total"] == 1


# -- events --------------------------------------------------------------------------------------------------


class Listener:
    """A client of an event stream that keeps what it got."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.frames: list[bytes] = []
        self._rest = b""

    @classmethod
    async def open(cls, front: Front, target: str, headers: Any = ()) -> Listener:
        client = await front.connect()
        await client.send(request("GET", target, None, headers))
        answer = await client.head()
        assert answer.status == 200
        assert answer.get("content-type") == "text/event-stream"
        return cls(client)

    def leave(self) -> None:
        self._client.leave()

    async def until(self, wanted: str) -> Any:
        """Read until there was an event of this type; its data."""
        async with asyncio.timeout(20):
            while True:
                for index, frame in enumerate(self.frames):
                    kind, data = parsed(frame)
                    if kind == wanted:
                        del self.frames[: index + 1]
                        return data
                self.frames.clear()
                await self._read(wanted)

    async def next(self) -> tuple[str, Any]:
        """The next event, whatever it is."""
        async with asyncio.timeout(20):
            while not self.frames:
                await self._read("any")
        return parsed(self.frames.pop(0))

    async def _read(self, wanted: str) -> None:
        piece = await self._client.piece()
        assert piece, f"the stream ended without {wanted}"
        self._rest += piece
        *whole, self._rest = self._rest.split(b"\n\n")
        self.frames += [frame for frame in whole if frame != b":"]


def parsed(frame: bytes) -> tuple[str, Any]:
    lines = frame.decode().split("\n")
    if lines[0] == "event:message":
        outer = json.loads(lines[1].removeprefix("data:"))
        return outer["type"], json.loads(outer["data"])
    fields = dict(line.split(": ", 1) for line in lines)
    return fields["event"], json.loads(fields["data"]) | {"_id": fields.get("id")}


async def test_the_old_stream_begins_with_everything() -> None:
    async with running(config(stub("a", aliases=("x",)), stub("b", unlisted=True))) as front:
        front.hostler.hub.proxy.info("häägar")
        listener = await Listener.open(front, "/api/events")
        first = [await listener.until(kind) for kind in ("logData", "logData", "modelStatus", "uiConfig",
                                                         "profileChanged", "inflight")]  # fmt: skip

        assert first[0]["source"] == "proxy"
        assert "häägar" in first[0]["data"]
        assert first[1] == {"source": "upstream", "data": ""}
        assert first[2] == [
            {"id": "a", "name": "", "description": "", "state": "stopped", "unlisted": False, "peerID": "",
             "aliases": ["x"]},
            {"id": "b", "name": "", "description": "", "state": "stopped", "unlisted": True, "peerID": ""},
        ]  # fmt: skip
        assert "session_id" in first[3]["activity"]
        assert first[4:] == [{"active": None}, {"operation": "snapshot", "requests": []}]


async def test_the_old_stream_goes_on() -> None:
    async with running(config(stub("a"))) as front:
        listener = await Listener.open(front, "/api/events")
        await listener.until("inflight")
        stream = await front.stream("a", tokens=2000, chunk_delay=0.02)
        begun = await listener.until("inflight")
        assert (begun["operation"], begun["request"]["model"]) == ("upsert", "a")
        while (await listener.until("modelStatus"))[0]["state"] != "ready":
            pass
        stream.leave()
        while (await listener.until("inflight"))["operation"] != "remove":
            pass
        assert await listener.until("activity") == {"id": 1}
        (row,) = record(front)
        assert await listener.until("activity") == {"id": row.id}
        front.hostler.hub.model("a").write(b"from the engine\n")
        while "from the engine" not in (await listener.until("logData"))["data"]:
            pass


async def test_the_raw_frame_is_that_of_llama_swap() -> None:
    async with running(config(stub("a"))) as front:
        client = await front.connect()
        await client.send(request("GET", "/api/events"))
        answer = await client.head()
        assert answer.get("cache-control") == "no-cache"
        assert answer.get("x-accel-buffering") == "no"
        raw = await client.until(b"snapshot")
        frames = raw.split(b"\n\n")

        assert frames[0].startswith(b'event:message\ndata:{"type":"logData","data":"{\\"source\\":')
        assert all(frame.startswith(b"event:message\ndata:") for frame in frames if frame)


async def test_a_new_stream_tells_of_a_load_and_of_its_failure() -> None:
    broken = stub("b", argv=["sh", "-c", "echo error: out of memory; exit 3"])
    async with running(config(stub("a"), broken)) as front:
        listener = await Listener.open(front, "/api/v2/events")
        snapshot = await listener.until("snapshot")
        assert [model["id"] for model in snapshot["models"]] == ["a", "b"]
        await front.ask("POST", "/api/models/load/a")
        states: list[Any] = []
        while not states or states[-1]["state"] != "ready":
            states.append(await listener.until("model"))
        assert [event["state"] for event in states] == ["starting", "ready"]
        assert states[1]["seconds"] > 0
        assert states[0]["reason"] == "api"

        await front.ask("POST", "/api/models/load/b")
        failure = await listener.until("failure")
        assert (failure["model"], failure["phase"], failure["exit"]) == ("b", "start", "exit code 3")


async def test_a_new_stream_is_resumed_and_told_what_is_gone() -> None:
    async with running(config(stub("a"))) as front:
        first = await Listener.open(front, "/api/v2/events")
        await first.until("snapshot")
        record(front, 5)
        bus = front.hostler.observatory.bus
        again = await Listener.open(front, "/api/v2/events", [("last-event-id", bus.id_of(3))])
        assert [(await again.until("activity"))["id"] for _ in range(2)] == [4, 5]

        other = await Listener.open(front, "/api/v2/events?after=00000000-9")
        assert (await other.until("gap"))["missed"] is None
        await other.until("snapshot")

        record(front, 5000)
        late = await Listener.open(front, "/api/v2/events?types=activity", [("last-event-id", bus.id_of(5))])
        assert (await late.until("gap"))["missed"] == 5005 - 2048 - 5
        await late.until("snapshot")
        assert [(await late.until("activity"))["id"] for _ in range(2048)] == list(range(2958, 5006))


async def test_logs_on_request() -> None:
    async with running(config(stub("a"))) as front:
        listener = await Listener.open(front, "/api/v2/events?logs=a&types=log")
        log = front.hostler.hub.model("a")
        await until(lambda: log.waiting > 0, "the stream to read the log")
        log.write("ERROR grüße\n".encode())
        found = await listener.until("log")
        assert (found["kind"], found["model"], found["level"], found["text"]) == (
            "line",
            "a",
            "error",
            "ERROR grüße",
        )
        assert found["_id"].endswith(f"~{found['cursor']}")
        assert (await front.get("/api/v2/events?logs=nobody")).status == 400
        assert (await front.get("/api/v2/events?types=nothing")).status == 400
        assert (await front.get(f"/api/v2/events?logs=a&after={found['_id']}x~y")).status == 400


async def test_events_and_logs_go_on_together_behind_an_id() -> None:
    """Nothing twice and nothing left out of either, over a connection that is lost."""
    async with running(config(stub("a"))) as front:
        log = front.hostler.hub.model("a")
        first = await Listener.open(front, "/api/v2/events?logs=a&types=log,activity")
        await until(lambda: log.waiting > 0, "the stream to read the log")
        for number in range(5):
            record(front)
            log.write(f"line {number}\n".encode())
        while (seen := await first.until("log"))["text"] != "line 2":
            pass
        first.leave()
        for number in range(5, 700):
            log.write(f"line {number}\n".encode())
        record(front)
        again = await Listener.open(
            front, "/api/v2/events?logs=a&types=log,activity", [("last-event-id", seen["_id"])]
        )
        texts = [(await again.until("log"))["text"] for _ in range(697)]
        assert texts == [f"line {number}" for number in range(3, 700)]
        record(front)
        assert (await again.until("activity"))["id"] == 7


async def test_a_hundred_slow_listeners_slow_nobody() -> None:
    """None of them reads a byte; everything else goes on, and nothing is held for them but the ring."""
    async with running(config(stub("a"))) as front:
        for _ in range(100):
            client = await front.connect()
            await client.send(request("GET", "/api/v2/events?logs=proxy"))
        bus = front.hostler.observatory.bus
        await until(lambda: bus.listeners == 100, "a hundred listeners")
        for _ in range(20):
            record(front, 500)
            await asyncio.sleep(0)
        assert len(bus._events) <= 4096
        reader = await Listener.open(front, "/api/v2/events")
        await reader.until("snapshot")
        record(front)
        await reader.until("activity")
        stats = (await front.get("/api/metrics/stats")).json()
        assert stats["total_requests"] == 1000
        assert front.hostler.observatory.requests.requests.value("a", "2xx", "none") == 10_001
        for client in front.clients:
            client.leave()
        await until(lambda: bus.listeners == 0, "every listener to be gone")


async def test_a_slow_listener_is_told_exactly_what_it_missed() -> None:
    """It reads nothing until there was far more than sockets and ring hold, and then everything."""
    async with running(config(stub("a"))) as front:
        bus = front.hostler.observatory.bus
        client = await front.connect()
        await client.send(request("GET", "/api/v2/events?types=profile,gap"))
        await until(lambda: bus.listeners == 1, "the listener")
        first = bus.end
        for number in range(20_000):
            bus.publish("profile", {"number": number, "padding": "x" * 2000})
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert bus.end == first + 20_000

        await client.head()
        listener = Listener(client)
        seen: list[int] = []
        missed = 0
        while not seen or seen[-1] != 19_999:
            kind, data = await listener.next()
            if kind == "gap":
                missed += data["missed"]
                assert data["missed"] > 0
            elif kind == "profile":
                seen.append(data["number"])

        assert missed > 10_000
        assert len(seen) + missed == 20_000
        assert seen == sorted(set(seen))


# -- numbers -------------------------------------------------------------------------------------------------


async def test_the_page_for_prometheus() -> None:
    broken = stub("b", argv=["sh", "-c", "exit 3"])
    async with running(config(stub("a"), broken)) as front:
        front.hostler.observatory.performance.take()
        await front.ask("POST", "/api/models/load/b")
        await front.ask("POST", "/api/models/load/a")
        record(front, 3)
        record(front, 1, model="whatever a client sends")
        answer = await front.get("/metrics")
        page = answer.body.decode()

        assert answer.get("content-type") == "text/plain; version=0.0.4; charset=utf-8"
        for line in (
            'hostler_requests_total{model="a",status="2xx",error="none"} 3',
            'hostler_requests_total{model="other",status="2xx",error="none"} 1',
            'hostler_tokens_total{model="a",kind="output"} 15',
            'hostler_model_state{model="a",state="ready"} 1',
            'hostler_model_state{model="b",state="ready"} 0',
            'hostler_model_starts_total{model="a",reason="api"} 1',
            'hostler_model_load_seconds_count{model="a"} 1',
            'hostler_queue_depth{model="a"} 0',
        ):
            assert line in page.splitlines()
        assert 'hostler_model_failures_total{model="b",phase="start",cause="' in page
        memory = [
            line for line in page.splitlines() if line.startswith("hostler_model_resident_memory_bytes{")
        ]
        assert float(memory[0].split()[-1]) > 1_000_000
        assert "llamaswap_cpu_util_percent{" in page
        series = [line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")]
        assert len(series) == len(set(series))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_likes_the_page() -> None:
    async with running(config(stub("a"))) as front:
        record(front, 2)
        front.hostler.observatory.performance.take()
        page = (await front.get("/metrics")).body
        done = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=page, capture_output=True
        )

    assert done.returncode == 0, done.stderr.decode()


async def test_swaps_and_evictions_are_counted() -> None:
    async with running(config(stub("a"), stub("b"))) as front:
        await front.chat("a")
        await front.chat("b")
        models = front.hostler.observatory.models

        assert models.evictions.value("a") == 1
        assert models.stops.value("a", "evicted") == 1
        assert models.swaps.count("b") == 1
        assert models.restarts.value("b") == 0


async def test_a_crash_and_its_restart() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        await front.kill("a")
        await front.until("a", State.STOPPED)
        await front.ask("POST", "/api/models/load/a")
        models = front.hostler.observatory.models

        assert models.stops.value("a", "exited by itself") == 1
        assert models.restarts.value("a") == 1


async def test_the_machine() -> None:
    async with running(config(stub("a"))) as front:
        assert (await front.get("/api/performance")).json() == {
            "enabled": True, "sys_stats": None, "gpu_stats": None,
        }  # fmt: skip
        taken = front.hostler.observatory.performance.take()
        found = (await front.get("/api/performance")).json()
        assert len(found["sys_stats"]) >= 1
        assert (await front.get("/api/performance?after=2100-01-01T00:00:00Z")).json()["sys_stats"] == []
        assert (await front.get("/api/performance?after=then")).status == 400
        assert taken.system.memory_total > 0
        hardware = (await front.get("/api/hardware")).json()
        assert hardware["schema_version"] == 1
        assert hardware["cpu"]["logical_thread_count"] > 0


async def test_sampling_can_be_off() -> None:
    async with running(config(stub("a"), performance=Performance(disabled=True))) as front:
        answer = await front.get("/api/performance")
        assert (answer.status, answer.json()) == (503, {"enabled": False})
        front.hostler.replace(config(stub("a")))
        assert (await front.get("/api/performance")).status == 200
        assert front.hostler.fleet.state(ModelId("a")) is State.STOPPED
        assert (await front.get("/metrics")).status == 200
