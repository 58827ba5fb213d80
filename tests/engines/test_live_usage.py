"""What the tap finds in the answers of a real engine is exactly what that engine states."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.metrics.accounts import Usage
from hostler.metrics.usage import UsageTap

from .conftest import LlamaProcess, fetch

Start = Callable[..., LlamaProcess]
CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": "the door"}],
    "max_tokens": 12,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, hostler_tiny_gguf: Path) -> Iterator[LlamaProcess]:
    """One engine for several tests."""
    pytest.importorskip("xllamacpp")
    engine = LlamaProcess(tmp_path_factory.mktemp("llama"), hostler_tiny_gguf, "-c", "512")
    engine.wait_ready()
    yield engine
    engine.stop()


def tapped(path: str, body: bytes, kind: str) -> Usage:
    """The same answer split at ten random sets of places."""
    dice = random.Random(len(body))
    found: list[Usage] = []
    for _ in range(10):
        tap = UsageTap(path, kind)
        cuts = sorted(dice.randint(0, len(body)) for _ in range(dice.randint(0, 40)))
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            tap.feed(body[start:end])
        found.append(tap.finish())
    assert all(one == found[0] for one in found)
    return found[0]


def check(usage: Usage, timings: dict[str, Any]) -> None:
    tokens = usage.tokens
    assert (tokens.input, tokens.output) == (timings["prompt_n"], timings["predicted_n"])
    assert tokens.cached == timings["cache_n"]
    assert tokens.tokens_per_second == timings["predicted_per_second"]
    assert tokens.prompt_per_second == timings["prompt_per_second"]
    assert usage.engine_ms == timings["prompt_ms"] + timings["predicted_ms"]


def test_answers_of_llama_cpp(llama: Start, hostler_tiny_gguf: Path) -> None:
    engine = llama("-c", "512")
    engine.wait_ready()

    status, body = fetch(engine.url + CHAT, QUESTION)[:2]
    assert status == 200
    check(tapped(CHAT, body, "application/json"), json.loads(body)["timings"])

    for options in ({}, {"stream_options": {"include_usage": True}}):
        _, body = fetch(engine.url + CHAT, {**QUESTION, "stream": True, **options})[:2]
        events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
        (timings,) = [one["timings"] for one in events if "timings" in one]
        usage = tapped(CHAT, body, "text/event-stream")
        check(usage, timings)
        assert usage.finish_reason == "length"

    _, body = fetch(engine.url + "/completion", {"prompt": "the door", "n_predict": 5})[:2]
    usage = tapped("/completion", body, "application/json")
    check(usage, json.loads(body)["timings"])
    assert usage.finish_reason == json.loads(body)["stop_type"]


def usages(body: bytes) -> list[dict[str, Any]]:
    """Every `usage` that an answer or a stream of events states, wherever it stands."""
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: {")] or [body.decode()]
    found = []
    for event in map(json.loads, lines):
        places = (event, event.get("message") or {}, event.get("response") or {})
        found += [place["usage"] for place in places if place.get("usage")]
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "question", "reason"),
    [
        ("/v1/messages", QUESTION, rb'"stop_reason":"(\w+)"'),
        ("/v1/responses", {"input": "the door", "max_output_tokens": 12}, rb'"status":"(completed)"'),
        ("/v1/completions", {"prompt": "the door", "max_tokens": 12}, rb'"finish_reason":"(\w+)"'),
    ],
)
def test_other_answers_of_llama_cpp(
    shared: LlamaProcess, path: str, question: dict[str, Any], reason: bytes, stream: bool
) -> None:
    for _ in range(2):  # the second time the prompt is in its cache
        status, body = fetch(shared.url + path, {**question, "stream": stream})
        assert status == 200
        usage = tapped(path, body, "text/event-stream" if stream else "application/json")
        assert usage.finish_reason == re.findall(reason, body)[-1].decode()
        timings = re.findall(rb'"timings":({.*?})', body)
        if timings:
            check(usage, json.loads(timings[-1]))
            continue
        stated: dict[str, Any] = {}
        for one in usages(body):
            stated |= one
        assert (usage.tokens.input, usage.tokens.output) == (stated["input_tokens"], stated["output_tokens"])
        details = stated.get("input_tokens_details", {})
        assert usage.tokens.cached == stated.get("cache_read_input_tokens", details.get("cached_tokens", -1))


@pytest.mark.parametrize(
    ("flags", "path", "question"),
    [
        (("--embeddings", "--pooling", "mean"), "/v1/embeddings", {"input": ["the door", "a river"]}),
        (("--reranking",), "/v1/rerank", {"query": "the door", "documents": ["a river", "the key"]}),
    ],
)
def test_what_makes_no_text(llama: Start, flags: tuple[str, ...], path: str, question: Any) -> None:
    engine = llama("-c", "512", *flags)
    engine.wait_ready()
    status, body = fetch(engine.url + path, question)
    assert status == 200
    tokens = tapped(path, body, "application/json").tokens

    assert (tokens.input, tokens.output) == (json.loads(body)["usage"]["prompt_tokens"], 0)
    assert tokens.input > 0


def test_a_tap_that_sees_half_an_answer_says_what_it_knows() -> None:
    tap = UsageTap(CHAT, "text/event-stream")
    tap.feed(b'data: {"usage": {"prompt_tokens": 3}}\n\ndata: {"usage": {"prompt_tok')

    assert tap.finish().tokens.input == 3
    assert pytest.approx(tap.finish().tokens.tokens_per_second) == -1
