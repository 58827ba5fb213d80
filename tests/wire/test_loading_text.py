"""http.md section 4.9 over real sockets: loading text in front of a real answer, and of an error."""

from __future__ import annotations

import json

import pytest

from hostler.core import State

from .server import CHAT, config, question, running, stub

MARK = "━━━━━"


def texts(body: bytes) -> tuple[str, list[dict[str, object]]]:
    """The reasoning and the other events of a stream."""
    events = [line[6:] for line in body.decode().split("\n\n") if line.startswith("data: {")]
    found = [json.loads(event) for event in events]
    said = [e for e in found if "reasoning_content" in (e.get("choices") or [{}])[0].get("delta", {})]
    rest = [event for event in found if event not in said]
    return "".join(e["choices"][0]["delta"]["reasoning_content"] for e in said), rest


@pytest.mark.parametrize("path", [CHAT, "/v/chat/completions"])
async def test_4_9_the_answer_follows_the_loading_text(path: str) -> None:
    model = stub(
        "a",
        send_loading_state=True,
        stub_options={"ready_after": 0.3, "startup_log": ["load_tensors: loading"]},
    )
    async with running(config(model)) as front:
        answer = await front.ask("POST", path, question("a", stream=True))
        text, events = texts(answer.body)

        assert (answer.status, answer.complete) == (200, True)
        assert text.startswith(f"{MARK}\nllama-swap loading model: a\n")
        assert "Loading" in text
        assert text.rstrip().endswith(MARK)
        if path == CHAT:
            assert events
            assert answer.body.count(b"[DONE]") == 1

        warm = await front.ask("POST", CHAT, question("a", stream=True))
        assert MARK not in warm.body.decode()


async def test_4_9_who_did_not_ask_for_a_stream_gets_none() -> None:
    async with running(config(stub("a", send_loading_state=True))) as front:
        answer = await front.chat("a")

    assert answer.json()["choices"]


async def test_4_9_a_failure_to_load_is_an_event() -> None:
    model = stub("a", send_loading_state=True, stub_options={"exit_before_ready": 3, "ready_after": 0.2})
    async with running(config(model)) as front:
        answer = await front.ask("POST", CHAT, question("a", stream=True))
        _, events = texts(answer.body)

        assert (answer.status, answer.complete) == (200, True)
        assert events[-1]["error"]["code"] == "bad_gateway"  # type: ignore[index]  # a mistake would fail here
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_4_9_an_engine_that_answers_with_an_error_is_told_as_one() -> None:
    model = stub("a", send_loading_state=True, stub_options={"ready_after": 0.2})
    async with running(config(model)) as front:
        answer = await front.ask("POST", CHAT, question("a", stream=True, status=418))
        _, events = texts(answer.body)

        assert answer.status == 200
        assert "status 418" in str(events[-1]["error"])
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_leaves_while_it_reads_the_loading_text() -> None:
    model = stub("a", send_loading_state=True, stub_options={"ready_after": 600})
    async with running(config(model)) as front:
        client = await front.stream("a")
        await client.until(b"loading model")
        client.leave()
        await front.until_idle()
        assert front.status("a").state is State.STARTING
