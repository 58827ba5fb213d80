"""A model that does not start: everybody who waits learns why, and nobody is punished for asking."""

from __future__ import annotations

import asyncio

import pytest

from hostler.config.schema import Model
from hostler.core import ModelId

from .client import Answer
from .server import CHAT, config, engine_port, in_process, question, raw_engine, running, stub

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

OUT_OF_MEMORY = "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"
A = ModelId("a")


def failing(name: str = "a", code: int = 3) -> dict[str, object]:
    return {"exit_before_ready": code, "startup_log": ["loading", OUT_OF_MEMORY]}


async def test_every_waiter_gets_the_whole_story() -> None:
    """One start, one failure, and the same 502 with its details for all who waited for it."""
    model = stub("a", stub_options={**failing(), "ready_after": 0.1})
    async with running(config(model)) as front:
        answers = await asyncio.gather(*(front.chat("a") for _ in range(5)))

        for answer in answers:
            assert answer.status == 502
            error = answer.error
            assert error["type"] == "server_error"
            assert error["code"] == "bad_gateway"
            details = error["details"]
            assert details["model"] == "a"
            assert details["run"] == 1
            assert details["cause"]["kind"] == "out_of_memory"
            assert details["cause"]["advice"]
            assert details["exit"] == "exit code 3"
            assert (details["code"], details["signal"]) == (3, None)
            assert OUT_OF_MEMORY in details["log"]
            assert len(details["log"]) <= 20
            assert details["log_url"] == "http://front/logs/stream/a"
            assert 'model "a" did not start' in error["message"]
        assert front.status(A).run == 1
        assert front.status(A).last_error == answers[0].error["message"]
        assert front.status(A).last_exit == "exit code 3"


async def test_the_log_address_in_the_error_leads_to_the_log() -> None:
    async with running(config(stub("org/a:b", stub_options=failing()))) as front:
        answer = await front.chat("org/a:b")

        path = answer.error["details"]["log_url"].removeprefix("http://front")
        log = await front.get(path.replace("/stream", ""))
        assert log.status == 200
        assert OUT_OF_MEMORY in log.body.decode()


async def test_a_model_that_keeps_failing_is_given_a_rest() -> None:
    """Two tries, then 503 with Retry-After and no start; an operator's load asks past it."""
    async with running(config(stub("a", stub_options=failing()))) as front:
        assert [(await front.chat("a")).status for _ in range(2)] == [502, 502]
        assert front.status(A).run == 2

        refused = await front.chat("a")

        assert refused.status == 503
        assert refused.error["code"] == "service_unavailable"
        assert 1 <= int(refused.get("retry-after") or 0) <= 5
        assert "out of GPU memory" in refused.error["message"]
        assert refused.error["details"]["log_url"] == "http://front/logs/stream/a"
        assert front.status(A).run == 2

        loaded = await front.ask("POST", "/api/models/load/a")

        assert loaded.status == 502
        assert loaded.error["details"]["log_url"] == "http://front/logs/stream/a"
        assert front.status(A).run == 3


async def test_a_failing_model_does_not_keep_others_from_their_work() -> None:
    async with running(config(stub("a", stub_options=failing()), stub("b"))) as front:
        answers = await asyncio.gather(front.chat("a"), front.chat("b"))

        assert [answer.status for answer in answers] == [502, 200]


async def test_a_command_that_is_not_there() -> None:
    async with running(config(stub("a", argv=["no-such-engine", "--port", "1"]))) as front:
        answer = await front.chat("a")

        assert answer.status == 502
        assert answer.error["details"]["cause"]["kind"] == "command_not_found"
        assert "no-such-engine" in answer.error["message"]


async def test_an_empty_command() -> None:
    """The configuration is at fault, and a person can see it."""
    async with running(config(Model(ModelId("a"), proxy="http://127.0.0.1:1"))) as front:
        answer = await front.chat("a")

        assert answer.status == 500
        assert "empty command" in answer.error["message"]
        assert front.states() == {}


async def test_a_health_check_that_hangs_ends_at_the_deadline() -> None:
    model = stub("a", stub_options={"hang_health": True}, health_check_timeout=1)
    async with running(config(model)) as front:
        answer = await front.chat("a")

        assert answer.status == 502
        assert answer.error["details"]["cause"]["kind"] == "timeout"
        assert "not ready after 1 s" in answer.error["message"]
        assert front.states() == {}


async def test_a_server_that_holds_the_port_is_not_taken_for_the_model() -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

    async with raw_engine(stranger) as port, running(config(stub("a", port=port))) as front:
        answer = await front.chat("a")

        assert answer.status == 502
        assert answer.error["details"]["cause"]["kind"] == "port_in_use"
        assert str(port) in answer.error["message"]


async def test_an_engine_that_nobody_can_reach() -> None:
    """`checkEndpoint: none` and nothing behind it: 502 that names the address, with the log's address."""
    port = engine_port()
    async with running(config(in_process("a", port))) as front:
        answer = await front.chat("a")

        assert answer.status == 502
        assert (
            f"cannot reach the engine at http://127.0.0.1:{port}: connection refused"
            in (answer.error["message"])
        )
        assert answer.error["details"]["log_url"] == "http://front/logs/stream/a"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("text/plain", "text/plain"), ("text/html", "text/html"), ("*/*", "application/json")],
)
async def test_the_error_has_the_form_the_client_can_read(accept: str, kind: str) -> None:
    async with running(config(stub("a", argv=["no-such-engine<b>"]))) as front:
        answer = await front.ask("POST", CHAT, question("a"), [("accept", accept)])

        assert answer.status == 502
        assert (answer.get("content-type") or "").startswith(kind)
        assert (b"<b>" in answer.body) == (kind != "text/html")


async def test_anthropic_clients_get_their_shape() -> None:
    async with running(config(stub("a", argv=["no-such-engine"]))) as front:
        answer: Answer = await front.ask("POST", "/v1/messages", question("a"))

        assert answer.status == 502
        assert answer.json()["type"] == "error"
        assert answer.error["code"] == "bad_gateway"
