"""metrics-ui.md, section 1: what answers say about tokens, whatever their shape, however they are split."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.metrics import zstd
from hostler.metrics.accounts import Usage
from hostler.metrics.ends import Ends
from hostler.metrics.record import Tokens
from hostler.metrics.usage import EVENTS_TAIL, UsageTap, error_text, own_speed, whole_usage

CHAT = "/v1/chat/completions"
JSON = "application/json; charset=utf-8"
EVENTS = "text/event-stream"


def events(*found: dict[str, Any] | str, end: str = "\n\n") -> bytes:
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}{end}" for one in found).encode()


def tapped(
    data: bytes, kind: str = JSON, *, path: str = CHAT, encoding: str = "", status: int = 200
) -> Usage:
    tap = UsageTap(path, kind, encoding, status)
    tap.feed(data)
    return tap.finish()


def tokens(given: int, made: int, cached: int = -1, **more: Any) -> Tokens:
    plain = {"draft": -1, "draft_accepted": -1, "prompt_per_second": -1, "tokens_per_second": -1}
    return Tokens(given, made, cached, **{**plain, **more})


TIMINGS = {
    "prompt_n": 20, "predicted_n": 50, "prompt_per_second": 100.0, "predicted_per_second": 40.0,
    "prompt_ms": 200.0, "predicted_ms": 1250.0, "cache_n": 8,
}  # fmt: skip
VLLM = {
    "time_to_first_token_ms": 85.2, "mean_itl_ms": 9.1,
    "speculative_decoding": {"num_draft_tokens": 30, "num_accepted_draft_tokens": 21},
}  # fmt: skip
CHAT_USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}
WORD = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ANTHROPIC: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {
        "input_tokens": 31, "output_tokens": 1, "cache_read_input_tokens": 16}}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]  # fmt: skip
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"object": "response", "status": "in_progress", "usage": None}},
    {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
    {"type": "response.output_text.delta", "delta": "Hi"},
    {"type": "response.completed", "response": {"object": "response", "status": "completed", "usage": {
        "input_tokens": 5, "output_tokens": 6, "input_tokens_details": {"cached_tokens": 2}}}},
]  # fmt: skip

# name: (body, content type, path, tokens, finish reason)
SHAPES: dict[str, tuple[bytes, str, str, Tokens, str]] = {
    "chat": (
        json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "length"}],
                    "usage": CHAT_USAGE}).encode(),
        JSON, CHAT, tokens(12, 7, 4), "length",
    ),
    "chat stream with usage": (
        events(ROLE, WORD, WORD, STOP, {"choices": [], "usage": CHAT_USAGE}, "[DONE]"),
        EVENTS, CHAT, tokens(12, 7, 4), "stop",
    ),
    "chat stream, usage in every event": (
        events(*({**WORD, "usage": {"prompt_tokens": 3, "completion_tokens": n}} for n in range(1, 9))),
        EVENTS, CHAT, tokens(3, 8), "",
    ),
    "chat stream without usage": (events(ROLE, WORD, STOP, "[DONE]"), EVENTS, CHAT, Tokens(), "stop"),
    "completions": (
        json.dumps({"choices": [{"text": "x", "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 2, "completion_tokens": 3}}).encode(),
        JSON, "/v1/completions", tokens(2, 3), "stop",
    ),
    "anthropic": (
        json.dumps({"type": "message", "content": [], "stop_reason": "max_tokens",
                    "usage": {"input_tokens": 4, "output_tokens": 5, "cache_read_input_tokens": 0}}).encode(),
        JSON, "/v1/messages", tokens(4, 5, 0), "max_tokens",
    ),
    "anthropic stream": (events(*ANTHROPIC), EVENTS, "/v1/messages", tokens(31, 9, 16), "end_turn"),
    "anthropic stream with event lines": (
        b"".join(b"event: %s\n" % str(one["type"]).encode() + events(one) for one in ANTHROPIC),
        EVENTS, "/v1/messages", tokens(31, 9, 16), "end_turn",
    ),
    "responses": (
        json.dumps({"object": "response", "status": "incomplete",
                    "incomplete_details": {"reason": "max_output_tokens"},
                    "usage": {"input_tokens": 5, "output_tokens": 6}}).encode(),
        JSON, "/v1/responses", tokens(5, 6), "max_output_tokens",
    ),
    "responses stream": (events(*RESPONSES), EVENTS, "/v1/responses", tokens(5, 6, 2), "completed"),
    "embeddings, usage last": (
        json.dumps({"data": [{"embedding": [0.125] * 60_000}], "model": "e",
                    "usage": {"prompt_tokens": 8, "total_tokens": 8}}).encode(),
        JSON, "/v1/embeddings", tokens(8, 0), "",
    ),
    "embeddings, usage first": (
        json.dumps({"model": "e", "usage": {"prompt_tokens": 8, "total_tokens": 8},
                    "data": [{"embedding": [0.125] * 60_000}]}).encode(),
        JSON, "/v1/embeddings", tokens(8, 0), "",
    ),
    "rerank": (
        json.dumps({"results": [{"index": 0, "relevance_score": 0.5}],
                    "usage": {"prompt_tokens": 40, "total_tokens": 40}}).encode(),
        JSON, "/v1/rerank", tokens(40, 0), "",
    ),
    "llama-server timings override": (
        json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "timings": TIMINGS}).encode(),
        JSON, CHAT, tokens(20, 50, 8, prompt_per_second=100.0, tokens_per_second=40.0), "",
    ),
    "llama-server timings in a stream": (
        events(WORD, {**STOP, "timings": {**TIMINGS, "draft_n": 11, "draft_n_accepted": 7}}, "[DONE]"),
        EVENTS, CHAT,
        tokens(20, 50, 8, prompt_per_second=100.0, tokens_per_second=40.0, draft=11, draft_accepted=7),
        "stop",
    ),
    "llama-server, half the drafts": (
        json.dumps({"timings": {**TIMINGS, "draft_n": 11}}).encode(),
        JSON, "/completion", tokens(20, 50, 8, prompt_per_second=100.0, tokens_per_second=40.0), "",
    ),
    "llama-server's own stream": (
        events({"content": "a", "stop": False}, {"content": "", "stop": True, "stop_type": "eos",
                                                  "timings": TIMINGS}),
        EVENTS, "/completion", tokens(20, 50, 8, prompt_per_second=100.0, tokens_per_second=40.0), "eos",
    ),
    "infill: the last element": (
        json.dumps([{"timings": {**TIMINGS, "prompt_n": 1}}, {"timings": TIMINGS}]).encode(),
        JSON, "/infill", tokens(20, 50, 8, prompt_per_second=100.0, tokens_per_second=40.0), "",
    ),
    "an array elsewhere": (json.dumps([{"timings": TIMINGS}]).encode(), JSON, CHAT, Tokens(), ""),
    "vLLM metrics": (
        json.dumps({"usage": {"prompt_tokens": 42, "completion_tokens": 128,
                              "prompt_tokens_details": {"cached_tokens": 20}}, "metrics": VLLM}).encode(),
        JSON, CHAT,
        tokens(42, 128, 20, prompt_per_second=22 / 0.0852, tokens_per_second=1000 / 9.1,
               draft=30, draft_accepted=21), "",
    ),
    "vLLM, half a speculative object": (
        json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 2},
                    "metrics": {"speculative_decoding": {"num_draft_tokens": 3}}}).encode(),
        JSON, CHAT, tokens(1, 2), "",
    ),
    "vLLM stream": (
        events(ROLE, WORD, {**STOP, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
               {"choices": [], "usage": {"prompt_tokens": 9, "total_tokens": 12, "completion_tokens": 3,
                                         "prompt_tokens_details": None}, "metrics": VLLM}, "[DONE]"),
        EVENTS, CHAT,
        tokens(9, 3, prompt_per_second=9 / 0.0852, tokens_per_second=1000 / 9.1, draft=30, draft_accepted=21),
        "tool_calls",
    ),
    "anthropic, what was written to the cache does not count": (
        json.dumps({"type": "message", "stop_reason": "tool_use", "usage": {
            "input_tokens": 2095, "cache_creation_input_tokens": 2051, "cache_read_input_tokens": 17,
            "output_tokens": 503, "service_tier": "standard"}}).encode(),
        JSON, "/v1/messages", tokens(2095, 503, 17), "tool_use",
    ),
    "responses with everything OpenAI says": (
        json.dumps({"id": "resp_1", "object": "response", "status": "completed", "error": None,
                    "incomplete_details": None, "instructions": "be short", "metadata": {},
                    "output": [{"type": "message", "status": "completed", "content": [
                        {"type": "output_text", "text": 'he said {"usage": {"input_tokens": 9}}'}]}],
                    "text": {"format": {"type": "text"}}, "tools": [],
                    "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 0},
                              "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 5},
                              "total_tokens": 123}}).encode(),
        JSON, "/v1/responses", tokens(36, 87, 0), "completed",
    ),
    "a transcription, counted in tokens": (
        json.dumps({"text": "Imagine", "usage": {"type": "tokens", "input_tokens": 14,
                    "input_token_details": {"audio_tokens": 14}, "output_tokens": 45,
                    "total_tokens": 59}}).encode(),
        JSON, "/v1/audio/transcriptions", tokens(14, 45), "",
    ),
    "a transcription, counted in seconds": (
        json.dumps({"text": "Imagine", "usage": {"type": "duration", "seconds": 9}}).encode(),
        JSON, "/v1/audio/transcriptions", tokens(0, 0), "",
    ),
    "a transcription as a stream": (
        events({"type": "transcript.text.delta", "delta": "I"}, {"type": "transcript.text.done", "text": "I",
               "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}}),
        EVENTS, "/v1/audio/transcriptions", tokens(14, 3), "",
    ),
    "speech as a stream": (
        events({"type": "speech.audio.delta", "audio": "UklG" * 9000},
               {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101}}),
        EVENTS, "/v1/audio/speech", tokens(14, 101), "",
    ),
    "an image": (
        json.dumps({"created": 1, "data": [{"b64_json": "iVBO" * 50_000}], "usage": {
            "total_tokens": 100, "input_tokens": 50, "output_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}}).encode(),
        JSON, "/v1/images/generations", tokens(50, 50), "",
    ),
    "a rerank that is a list": (
        json.dumps([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]).encode(),
        JSON, "/rerank", Tokens(), "",
    ),
    "embeddings of llama-server's own": (
        json.dumps([{"index": 0, "embedding": [[0.5, 0.25]]}]).encode(), JSON, "/embedding", Tokens(), "",
    ),
    "infill as a stream": (
        events({"content": "x", "stop": False},
               {"content": "", "stop": True, "stop_type": "limit", "timings": TIMINGS}),
        EVENTS, "/infill", tokens(20, 50, 8, prompt_per_second=100.0, tokens_per_second=40.0), "limit",
    ),
    "not JSON": (b"RIFF....WAVE", "audio/wav", "/v1/audio/speech", Tokens(), ""),
    "broken JSON": (b'{"usage": {"prompt_tokens": 3}', JSON, CHAT, Tokens(), ""),
    "events of broken JSON": (events("{nonsense", "[1]", '"x"'), EVENTS, CHAT, Tokens(), ""),
    "usage that is no object": (b'{"usage": 7, "timings": [], "metrics": null}', JSON, CHAT, Tokens(), ""),
    "numbers that are none": (
        b'{"usage": {"prompt_tokens": "3", "completion_tokens": true, "input_tokens": 1e300}}',
        JSON, CHAT, tokens(0, 0), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    body, kind, path, expected, reason = SHAPES[name]
    found = tapped(body, kind, path=path)

    assert (found.tokens, found.finish_reason, found.error) == (expected, reason, "")


@given(
    st.sampled_from(sorted(SHAPES)), st.data(), st.sampled_from(["", "gzip", "deflate", "raw", "zstd", "br"])
)
@settings(max_examples=200)
def test_any_split_gives_the_same(name: str, data: st.DataObject, encoding: str) -> None:
    body, kind, path, expected, reason = SHAPES[name]
    sent = encoded(body, encoding)
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=12).map(sorted))
    tap = UsageTap(path, kind, "deflate" if encoding == "raw" else encoding)
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        tap.feed(sent[start:end])
    found = tap.finish()

    assert (found.tokens, found.finish_reason, found.error) == (expected, reason, "")


def encoded(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            # Two members, as some servers flush.
            return gzip.compress(body[:50]) + gzip.compress(body[50:])
        case "deflate":
            return zlib.compress(body)
        case "raw":
            packer = zlib.compressobj(wbits=-15)
            return packer.compress(body) + packer.flush()
        case "zstd":
            return zstd.compress(body)
        case "br":
            packed: bytes = brotli.compress(body)
            return packed
        case _:
            return body


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_line_ends(end: str) -> None:
    found = tapped(events(WORD, {"usage": CHAT_USAGE}, "[DONE]", end=end), EVENTS)

    assert found.tokens == tokens(12, 7, 4)


def test_engine_time_counts_as_duration() -> None:
    assert tapped(json.dumps({"timings": TIMINGS}).encode()).engine_ms == 1450


# -- bounds ------------------------------------------------------------------------------------------------


def test_a_long_stream_keeps_its_ends() -> None:
    tap = UsageTap("/v1/messages", EVENTS)
    tap.feed(events(*ANTHROPIC[:3]))
    word = events(ANTHROPIC[3])
    tracemalloc.start()
    for _ in range(20_000):
        tap.feed(word)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tap.feed(events(*ANTHROPIC[4:]))

    assert tap.finish().tokens == tokens(31, 9, 16)
    assert peak < 100_000


def test_a_last_event_larger_than_what_is_kept() -> None:
    """The responses of OpenAI end with an event that holds the whole text, and then the usage."""
    last = {
        **RESPONSES[-1],
        "response": {"output": '\\"usage": {' * EVENTS_TAIL, **RESPONSES[-1]["response"]},
    }
    assert tapped(events(*RESPONSES[:-1], last), EVENTS).tokens == tokens(5, 6, 2)


def test_a_document_of_50_megabytes() -> None:
    tap = UsageTap("/v1/images/generations", JSON)
    piece = b"A" * 1_000_000
    tracemalloc.start()
    tap.feed(b'{"data": [{"b64_json": "')
    for _ in range(50):
        tap.feed(piece)
    tap.feed(b'"}], "usage": {"input_tokens": 7, "output_tokens": 8}}')
    found = tap.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found.tokens == tokens(7, 8)
    assert peak < 3_000_000


def test_a_compressed_bomb_stays_small() -> None:
    bomb = gzip.compress(b"[" * 200_000_000, 9)
    tracemalloc.start()
    found = tapped(bomb, encoding="gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == Usage()
    assert peak < 3_000_000


def test_a_deep_document() -> None:
    assert tapped(b'{"usage":' + b"[" * 60_000) == Usage()


@given(st.lists(st.binary(max_size=40)))
def test_the_ends_are_the_same_for_any_split(pieces: list[bytes]) -> None:
    ends, whole = Ends(10, 30), b"".join(pieces)
    for piece in pieces:
        ends.feed(piece)

    assert ends.parts() == ([whole] if len(whole) <= 30 else [whole[:10], whole[-30:]])
    began = whole.rfind(b"\n", 0, len(whole) - 30) + 1 if len(whole) > 30 else 0
    assert ends.line == (whole[began : began + 30] if len(whole) > 30 else b"")


@pytest.mark.parametrize(
    ("kind", "details", "reason"),
    [("completed", None, "completed"), ("incomplete", {"reason": "max_output_tokens"}, "max_output_tokens")],
)
@given(data=st.data())
def test_how_a_long_response_ended(
    kind: str, details: dict[str, str] | None, reason: str, data: st.DataObject
) -> None:
    """Its last event repeats the whole text, more than is kept of it."""
    response = {"id": "resp_1", "object": "response", "status": kind, "incomplete_details": details}
    last = {"type": f"response.{kind}", "response": {**response, "output": "x" * 40_000, "usage": {
        "input_tokens": 5, "output_tokens": 6}}}  # fmt: skip
    body = (
        events(*RESPONSES[:-1], *[RESPONSES[2]] * 300) + f"event: response.{kind}\n".encode() + events(last)
    )
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12).map(sorted))
    tap = UsageTap("/v1/responses", EVENTS)
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        tap.feed(body[start:end])
    found = tap.finish()

    assert (found.tokens, found.finish_reason) == (tokens(5, 6), reason)


# -- the first token ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "token"),
    [
        ([ROLE], WORD),
        ([{"choices": [{"delta": {"role": "assistant", "content": ""}}]}], WORD),
        ([], {"choices": [{"delta": {"reasoning_content": "hm"}}]}),
        ([], {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}),
        ([], {"choices": [{"text": "a"}]}),
        (ANTHROPIC[:3], ANTHROPIC[3]),
        (RESPONSES[:2], RESPONSES[2]),
        ([{"content": "", "stop": False}], {"content": "a", "stop": False}),
    ],
)
def test_the_first_token(before: list[dict[str, Any]], token: dict[str, Any]) -> None:
    tap = UsageTap(CHAT, EVENTS)
    assert not any(tap.feed(events(one)) for one in before)
    data = events(token)
    seen = [tap.feed(data[index : index + 1]) for index in range(len(data))]

    assert seen.count(True) == 1
    assert not tap.feed(events(token))


def test_a_document_has_no_first_token() -> None:
    assert not UsageTap(CHAT, JSON).feed(SHAPES["chat"][0])


def test_own_speed() -> None:
    assert (own_speed(30, 1.5), own_speed(0, 1.0), own_speed(5, 0.0)) == (20.0, 0.0, 0.0)


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": {"message": "too long", "code": 1}}', "too long"),
        (b'{"error": "no"}', "no"),
        (b'{"message": "m", "detail": "d"}', "m"),
        (b'{"detail": "d"}', "d"),
        (b'{"error": {"message": ""}, "detail": [1]}', "400 Bad Request"),
        (b"<html>", "400 Bad Request"),
        (json.dumps({"error": "x" * 600}).encode(), "x" * 500 + "..."),
    ],
)
def test_errors_of_engines(body: bytes, expected: str) -> None:
    assert tapped(body, status=400).error == expected


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (events(WORD, {"error": {"code": 500, "message": "slot lost"}}, "[DONE]"), EVENTS, "slot lost"),
        (events(WORD, {"object": "error", "error": "out of memory"}), EVENTS, "out of memory"),
        (events({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), EVENTS,
         "Overloaded"),
        (events({"type": "error", "code": "server_error", "message": "broken", "param": None}), EVENTS,
         "broken"),
        (events({"type": "response.failed", "response": {"object": "response", "status": "failed", "error": {
            "code": "server_error", "message": "no more"}}}), EVENTS, "no more"),
        (b'{"error": {"code": 1}}', JSON, "the engine reported an error"),
        (b'{"object": "response", "status": "completed", "error": null}', JSON, ""),
        (events({"choices": [], "error": None}), EVENTS, ""),
    ],
)  # fmt: skip
def test_an_error_behind_a_status_of_success(body: bytes, kind: str, expected: str) -> None:
    found = tapped(body, kind)

    assert (found.error, found.failed) == (expected, bool(expected))


def test_a_status_without_a_name() -> None:
    assert error_text(499, b"") == "499"


@pytest.mark.parametrize("status", [201, 206])
def test_every_success_counts(status: int) -> None:
    assert tapped(SHAPES["chat"][0], status=status).tokens == tokens(12, 7, 4)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br", "snappy", "gzip, gzip, gzip, gzip"])
def test_what_cannot_be_decoded_is_said(encoding: str) -> None:
    tap = UsageTap(CHAT, EVENTS, encoding)
    for _ in range(3):
        tap.feed(b"this is certainly not compressed")
    found = tap.finish()

    assert found.error.startswith("response decompression failed: ")
    assert found.tokens == Tokens()


def test_identity_and_stacked_encodings() -> None:
    body = SHAPES["chat"][0]
    assert tapped(body, encoding="identity").tokens == tokens(12, 7, 4)
    assert tapped(gzip.compress(zlib.compress(body)), encoding="deflate, gzip").tokens == tokens(12, 7, 4)


def test_a_compressed_stream_that_breaks_off() -> None:
    body = SHAPES["chat"][0]
    assert tapped(gzip.compress(body)[:-20], encoding="gzip").error == ""


@given(st.binary(max_size=300), st.sampled_from([JSON, EVENTS]), st.sampled_from(["", "gzip", "zstd", "br"]))
def test_nothing_raises(data: bytes, kind: str, encoding: str) -> None:
    tapped(data, kind, encoding=encoding)


@pytest.mark.parametrize("body", [b'{"error": "\xff"}', b'[{"content": "\xff"}]', b'{"usage": "\xff"}'])
def test_what_is_not_utf_8_says_nothing(body: bytes) -> None:
    assert tapped(body) == Usage()
    assert tapped(body, path="/infill") == Usage()
    assert tapped(b"data: " + body + b"\n\n", EVENTS).tokens == Tokens()
    assert tapped(body, status=400).error == "400 Bad Request"


@pytest.mark.parametrize("least", ["5e-324", "1e-310", "9e-7"])
def test_times_that_no_engine_needs_make_no_speed(least: str) -> None:
    metrics = f'{{"time_to_first_token_ms": {least}, "mean_itl_ms": {least}}}'
    found = whole_usage("/v1/chat/completions", 200, f'{{"usage": {{}}, "metrics": {metrics}}}'.encode())

    assert found.tokens == tokens(0, 0)
