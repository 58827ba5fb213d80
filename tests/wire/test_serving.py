"""What must hold: requests are served across swaps, failures and bad clients, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from hostler import aio
from hostler.app import Hostler
from hostler.config.schema import ApiKey, Config, Group, Model, Routing
from hostler.core import ModelId, State
from hostler.logs.text import strip_gaps
from hostler.testing.ports import free_port
from hostler.testing.serving import serving
from hostler.testing.stub import stub_argv
from hostler.web import protocol

pytestmark = pytest.mark.wire


def stub(
    name: str, *, ttl: int = 0, timeout: int = 20, aliases: tuple[str, ...] = (), **options: Any
) -> Model:
    port = free_port()
    return Model(
        ModelId(name),
        cmd=" ".join(stub_argv(port, **options)),
        port=port,
        proxy=f"http://127.0.0.1:{port}",
        ttl=ttl,
        aliases=aliases,
        health_check_timeout=timeout,
        unload_timeout=2,
    )


def config_of(*models: Model, swap: bool = True, **settings: Any) -> Config:
    members = tuple(model.id for model in models)
    return Config(
        models={model.id: model for model in models},
        aliases={alias: model.id for model in models for alias in model.aliases},
        routing=Routing(groups={"all": Group("all", members, swap=swap)}),
        **settings,
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in head[1:] if line]
    assert len({name for name, _, _ in pairs if name != "set-cookie"}) == len(pairs), head
    return int(head[0].split()[1]), {name.lower(): value for name, _, value in pairs}


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The whole body; raises IncompleteReadError when it is cut off."""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body
    return await reader.readexactly(int(headers.get("content-length", 0)))


class Client:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, path: str, body: Any = None, method: str = "", **headers: str) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        if body is not None:
            lines += [f"Content-Length: {len(data)}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    async def ask(self, path: str, body: Any = None, method: str = "", **headers: str) -> Answer:
        self.send(path, body, method, **headers)
        status, got = await read_head(self.reader)
        return Answer(status, got, b"" if method == "HEAD" else await read_body(self.reader, got))

    async def chat(self, model: str, **stub_options: Any) -> Answer:
        return await self.ask("/v1/chat/completions", {"model": model, "messages": [], "stub": stub_options})


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def eventually(condition: Callable[[], bool]) -> None:
    """Let everything else run until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def stream_request(model: str, **stub_options: Any) -> dict[str, Any]:
    return {"model": model, "messages": [], "stream": True, "stub": stub_options}


async def test_models_swap_one_at_a_time() -> None:
    async with (
        serving(config_of(stub("a", aliases=("other",)), stub("b/c"))) as (hostler, port),
        connected(port) as client,
    ):
        for name in ("a", "b/c", "other"):
            answer = await client.chat(name)
            assert answer.status == 200
            assert answer.json()["usage"]["completion_tokens"] == 8
            running = (await client.ask("/running")).json()["running"]
            assert [row["model"] for row in running] == ["a" if name == "other" else name]
        status = {row["id"]: row["run"] for row in (await client.ask("/api/models")).json()["models"]}
        assert status == {"a": 2, "b/c": 1}
        assert repr(hostler.fleet) == "<Fleet 1 ready, 0 loading | 0 leases, 0 waiting>"


async def test_a_swap_never_cuts_a_running_stream() -> None:
    async with (
        serving(config_of(stub("a"), stub("b"))) as (hostler, port),
        connected(port) as one,
        connected(port) as two,
    ):
        one.send("/v1/chat/completions", stream_request("a", tokens=10, chunk_delay=0.03))
        _, headers = await read_head(one.reader)
        two.send("/v1/chat/completions", {"model": "b", "messages": []})
        await eventually(lambda: "1 waiting" in repr(hostler.fleet))

        body = await read_body(one.reader, headers)
        status, _ = await read_head(two.reader)

        assert body.endswith(b"data: [DONE]\n\n")
        assert status == 200
        assert hostler.fleet.state(ModelId("a")) is State.STOPPED


async def test_many_requests_over_three_models_all_succeed() -> None:
    async with serving(config_of(stub("a"), stub("b"), stub("c"))) as (_, port):

        async def one(name: str) -> int:
            async with connected(port) as client:
                return (await client.chat(name)).status

        results = await asyncio.gather(*(one("abc"[number % 3]) for number in range(30)))

        assert results == [200] * 30


async def test_a_failed_start_says_why_and_is_backed_off() -> None:
    model = stub(
        "bad",
        exit_before_ready=7,
        startup_log=["ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc", "CUDA error: out of memory"],
    )
    model = Model(
        **{f: getattr(model, f) for f in model.__slots__}
        | {
            "cmd": model.cmd.replace("alloc_buffer: cudaMalloc", "'alloc_buffer: cudaMalloc'").replace(
                "CUDA error: out of memory", "'CUDA error: out of memory'"
            )
        }
    )
    async with serving(config_of(model, stub("good"))) as (hostler, port), connected(port) as client:
        first = await client.chat("bad")
        assert first.status == 502
        error = first.json()["error"]
        assert error["type"] == "server_error"
        assert "exit code 7" in error["message"]
        assert error["details"]["code"] == 7
        assert error["details"]["cause"]["kind"] == "out_of_memory"
        assert any("out of memory" in line for line in error["details"]["log"])
        assert error["details"]["log_url"] == "http://test/logs/stream/bad"

        assert (await client.chat("bad")).status == 502
        third = await client.chat("bad")
        assert third.status == 503
        assert 1 <= int(third.headers["retry-after"]) <= 5
        assert hostler.fleet.slot(ModelId("bad")).runs == 2
        assert (await client.chat("good")).status == 200
        assert (await client.ask("/api/models/load/bad", b"")).status == 502
        assert hostler.fleet.slot(ModelId("bad")).runs == 3


async def test_a_command_that_does_not_exist() -> None:
    model = Model(ModelId("x"), cmd="/no/such/program --port 1", port=1, proxy="http://127.0.0.1:1")
    async with serving(config_of(model)) as (_, port), connected(port) as client:
        answer = await client.chat("x")

        assert answer.status == 502
        assert "/no/such/program" in answer.json()["error"]["message"]


async def test_a_foreign_server_on_the_port_is_not_taken_for_the_model() -> None:
    model = stub("a")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", model.port)
    async with serving(config_of(model)) as (_, port), connected(port) as client:
        answer = await client.chat("a")
    server.close()

    assert answer.status == 502
    assert str(model.port) in answer.json()["error"]["message"]


async def test_an_engine_that_dies_in_the_stream_is_seen_by_the_client() -> None:
    async with serving(config_of(stub("a"))) as (hostler, port):
        async with connected(port) as client:
            client.send("/v1/chat/completions", stream_request("a", tokens=20, die_in_stream=3))
            status, headers = await read_head(client.reader)
            assert status == 200
            with pytest.raises(asyncio.IncompleteReadError):
                await read_body(client.reader, headers)
        await eventually(lambda: hostler.fleet.state(ModelId("a")) is State.STOPPED)
        async with connected(port) as client:
            assert (await client.chat("a")).status == 200


async def test_a_client_that_leaves_is_noticed_by_the_engine_and_forgotten() -> None:
    async with serving(config_of(stub("a", ready_after=0.2))) as (hostler, port):
        tasks = aio.alive()
        async with connected(port) as client:
            client.send("/v1/chat/completions", {"model": "a", "messages": []})
            await eventually(lambda: "1 waiting" in repr(hostler.fleet))
        await eventually(lambda: "0 waiting" in repr(hostler.fleet))
        # The load goes on, and the model stays.
        await eventually(lambda: hostler.fleet.state(ModelId("a")) is State.READY)

        async with connected(port) as client:
            client.send("/v1/chat/completions", stream_request("a", tokens=100_000, chunk_delay=0.001))
            await read_head(client.reader)
        await eventually(lambda: "client gone" in hostler.hub.model("a").history().decode())
        await eventually(lambda: "0 leases" in repr(hostler.fleet))
        # What stays is the model's: its life, and the look at what it prints.
        await eventually(lambda: aio.alive() <= tasks + 2)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"model":"a"', 400, "not valid JSON"),
        (b"[]", 400, "JSON object"),
        (b"{}", 400, "no `model`"),
        (b"", 400, "no `model`"),
        (b'{"model":"nobody"}', 404, "nobody"),
    ],
)
async def test_bad_bodies_are_explained(body: bytes, status: int, words: str) -> None:
    async with serving(config_of(stub("a"))) as (_, port), connected(port) as client:
        answer = await client.ask("/v1/chat/completions", body)

        assert answer.status == status
        assert words in answer.json()["error"]["message"]
        assert (await client.ask("/health")).body == b"OK"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit_is_refused_and_the_refusal_can_be_read(chunked: bool) -> None:
    size = 8 * 1024 * 1024
    async with serving(config_of(stub("a"), max_body_mb=1)) as (_, port), connected(port) as client:
        # Like most clients, this one reads nothing until all is sent.
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        client.writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        piece = b"x" * 65536
        for _ in range(size // len(piece)):
            client.writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
            await client.writer.drain()
        if chunked:
            client.writer.write(b"0\r\n\r\n")
        status, headers = await read_head(client.reader)
        body = await read_body(client.reader, headers)

        assert status == 413
        assert b"maxBodyMB" in body
        assert (await client.ask("/health")).status == 200


async def test_a_client_that_waits_for_leave_to_send_is_refused_before_it_sends() -> None:
    async with serving(config_of(stub("a"), max_body_mb=1)) as (_, port), connected(port) as client:
        client.writer.write(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
            b"Expect: 100-continue\r\nContent-Length: 200000000\r\n\r\n"
        )
        status, headers = await read_head(client.reader)

        assert status == 413
        assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
        b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"X: " + b"y" * 200_000,
    ],
)
async def test_floods_of_headers_are_refused(flood: bytes) -> None:
    async with (
        serving(config_of(stub("a"))) as (_, port),
        connected(port) as client,
        connected(port) as other,
    ):
        client.writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n" + flood)

        status, _ = await read_head(client.reader)

        assert status == 431
        assert (await other.ask("/health")).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"garbage\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_and_ends_the_connection(request_: bytes) -> None:
    async with serving(config_of(stub("a"))) as (_, port), connected(port) as client:
        client.writer.write(request_)

        answer = await client.reader.read()

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_client_that_sends_too_slowly_is_cut_off_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr("hostler.gateway.body.BODY_SECONDS", 0.3)
    async with serving(config_of(stub("a"))) as (_, port), connected(port) as head, connected(port) as body:
        head.writer.write(b"GET /hea")
        body.writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        async with connected(port) as other:
            assert (await other.chat("a")).status == 200

        assert (await read_head(head.reader))[0] == 408
        assert (await read_head(body.reader))[0] == 408


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(config_of(stub("a"))) as (_, port), connected(port) as client:
        client.send("/v1/chat/completions", {"model": "a", "messages": [], "stub": {"first_delay": 0.1}})
        client.send("/health")
        client.send("/upstream/a/echo?n=3")
        bodies = []
        for _ in range(3):
            _, headers = await read_head(client.reader)
            bodies.append(await read_body(client.reader, headers))

        assert b"chat.completion" in bodies[0]
        assert bodies[1] == b"OK"
        assert json.loads(bodies[2])["query"] == "n=3"


async def test_upstream_passes_everything_on_and_strips_what_is_ours() -> None:
    async with (
        serving(config_of(stub("au/thor"), api_keys=(ApiKey("s3cret"),))) as (_, port),
        connected(port) as client,
    ):
        assert (await client.ask("/upstream/au/thor/echo")).status == 401
        answer = await client.ask(
            "/upstream/au%2Fthor/echo?a=%2F",
            b"\x00\xff",
            "PUT",
            Authorization="Bearer s3cret",
            X_Own="1",
            Connection="x-drop",
            X_Drop="1",
        )
        seen = answer.json()
        headers = {name.lower(): value for name, value in dict(seen["headers"]).items()}

        assert seen["method"] == "PUT"
        assert seen["query"] == "a=%2F"
        assert seen["body_bytes"] == 2
        assert headers["x-own"] == "1"
        assert headers["host"] == "test"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert "authorization" not in headers
        assert "x-drop" not in headers


async def test_keys_are_asked_for_where_they_protect_something() -> None:
    async with serving(config_of(stub("a"), api_keys=(ApiKey("k"),))) as (_, port), connected(port) as client:
        for path in ("/v1/models", "/running", "/logs", "/logs/stream", "/ui/", "/api/models", "/unload"):
            assert (await client.ask(path)).status == 401
        assert (await client.ask("/v1/chat/completions", {"model": "a"})).status == 401
        for path in ("/health", "/wol-health"):
            assert (await client.ask(path)).status == 200
        assert (await client.ask("/v1/models", method="OPTIONS")).status == 204
        assert (await client.ask("/v1/models", x_api_key="k")).status == 200


async def test_a_log_stream_has_its_headers_at_once_and_goes_on_over_stops() -> None:
    async with (
        serving(config_of(stub("a/b"))) as (_, port),
        connected(port) as log,
        connected(port) as client,
    ):
        log.send("/logs/stream/a/b")
        status, headers = await read_head(log.reader)
        assert status == 200
        assert headers["content-type"].startswith("text/plain")
        for _ in range(2):
            assert (await client.chat("a/b")).status == 200
            assert (await client.ask("/api/models/unload/a/b", b"")).body == b"OK"
        text = b""
        while text.count(b"listening on") < 2:
            size = int(await log.reader.readuntil(b"\r\n"), 16)
            text += await log.reader.readexactly(size)
            await log.reader.readexactly(2)

        assert strip_gaps(text)[1] == 0
        assert b"listening on" in (await client.ask("/logs")).body
        assert (await client.ask("/logs/a/b")).body == (await client.ask("/logs/upstream")).body
        unknown = await client.ask("/logs/stream/nope")
        assert unknown.status == 400
        assert all(word in unknown.json()["error"]["message"] for word in ("proxy", "upstream", "a/b"))


async def test_an_idle_model_is_unloaded_but_not_a_busy_one() -> None:
    async with serving(config_of(stub("a", ttl=1))) as (hostler, port), connected(port) as client:
        client.send("/v1/chat/completions", stream_request("a", tokens=15, chunk_delay=0.1))
        _, headers = await read_head(client.reader)
        assert (await read_body(client.reader, headers)).endswith(b"[DONE]\n\n")
        assert hostler.fleet.state(ModelId("a")) is State.READY

        await eventually(lambda: hostler.fleet.state(ModelId("a")) is State.STOPPED)


async def test_unloading_refuses_who_waits_and_a_slow_stop_delays_nobody() -> None:
    models = stub("slow", ignore_term=True), stub("starting", ready_after=30), stub("quick")
    async with (
        serving(config_of(*models, swap=False)) as (hostler, port),
        connected(port) as one,
        connected(port) as two,
    ):
        assert (await one.chat("slow")).status == 200
        two.send("/v1/chat/completions", {"model": "starting", "messages": []})
        await eventually(lambda: "1 waiting" in repr(hostler.fleet))
        stopping = aio.spawn(hostler.fleet.unload(ModelId("slow")), name="slow stop")
        assert (await one.chat("quick")).status == 200
        assert not stopping.done()

        async with connected(port) as three:
            assert (await three.ask("/api/models/unload/starting", b"")).status == 200
        assert (await read_head(two.reader))[0] == 503
        await stopping


async def test_shutdown_lets_a_running_stream_end() -> None:
    async with connected_stream() as (client, headers):
        assert (await read_body(client.reader, headers)).endswith(b"[DONE]\n\n")


@asynccontextmanager
async def connected_stream() -> AsyncIterator[tuple[Client, dict[str, str]]]:
    reading: asyncio.Task[None]
    async with serving(config_of(stub("a")), drain=10) as (hostler, port):
        assert isinstance(hostler, Hostler)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        client.send("/v1/chat/completions", stream_request("a", tokens=10, chunk_delay=0.05))
        _, headers = await read_head(reader)
        closing = aio.spawn(hostler.close(drain=10), name="close")
        yield client, headers
        writer.close()
        reading = closing
    await reading
