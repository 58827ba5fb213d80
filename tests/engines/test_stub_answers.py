"""What the stub says, in every API's shape."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from engines.conftest import events, fetch, fetch_json
from hostler.testing import StubEngine

pytestmark = pytest.mark.wire

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture(scope="module")
def stub() -> Iterator[StubEngine]:
    with StubEngine(model="pet", tokens=4) as engine:
        engine.wait_ready()
        yield engine


def test_models(stub: StubEngine) -> None:
    status, models = fetch_json(stub.url + "/v1/models")

    assert status == 200
    assert [model["id"] for model in models["data"]] == ["pet"]


def test_chat(stub: StubEngine) -> None:
    status, answer = fetch_json(stub.url + "/v1/chat/completions", CHAT)

    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "m"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "word-1 word-2 word-3 word-4"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["total_tokens"] == 7
    assert answer["timings"]["prompt_n"] == 3
    assert answer["timings"]["predicted_n"] == 4


def test_limit_of_the_request(stub: StubEngine) -> None:
    _, answer = fetch_json(stub.url + "/v1/chat/completions", CHAT | {"max_tokens": 2})

    assert answer["choices"][0]["message"]["content"] == "word-1 word-2"
    assert answer["choices"][0]["finish_reason"] == "length"


def test_chat_stream(stub: StubEngine) -> None:
    _, stream = fetch(stub.url + "/v1/chat/completions", CHAT | {"stream": True})

    *pieces, done = events(stream)
    chunks = [json.loads(piece) for piece in pieces]
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    assert "".join(deltas) == "word-1 word-2 word-3 word-4"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["timings"]["predicted_n"] == 4
    assert all("usage" not in chunk for chunk in chunks)


def test_chat_stream_with_usage(stub: StubEngine) -> None:
    body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    _, stream = fetch(stub.url + "/v1/chat/completions", body)

    last = json.loads(events(stream)[-2])
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4
    assert last["timings"]["predicted_n"] == 4


def test_completion(stub: StubEngine) -> None:
    _, answer = fetch_json(stub.url + "/v1/completions", {"prompt": "a b", "max_tokens": 1})
    _, stream = fetch(stub.url + "/v1/completions", {"prompt": "a b", "stream": True})

    assert answer["choices"][0]["text"] == "word-1"
    texts = [json.loads(event)["choices"][0]["text"] for event in events(stream)[:-1]]
    assert "".join(texts) == "word-1 word-2 word-3 word-4"


@pytest.mark.parametrize("path", ["/completion", "/infill"])
def test_native_completion(stub: StubEngine, path: str) -> None:
    _, answer = fetch_json(stub.url + path, {"prompt": "a b", "n_predict": 1})
    _, stream = fetch(stub.url + path, {"prompt": "a b", "stream": True})

    assert (answer["content"], answer["stop"], answer["tokens_predicted"]) == ("word-1", True, 1)
    pieces = [json.loads(event) for event in events(stream)]
    assert "".join(piece["content"] for piece in pieces) == "word-1 word-2 word-3 word-4"
    assert pieces[-1]["timings"]["predicted_n"] == 4


def test_responses(stub: StubEngine) -> None:
    body = {"input": "a b c", "max_output_tokens": 2}
    _, answer = fetch_json(stub.url + "/v1/responses", body)
    _, stream = fetch(stub.url + "/v1/responses", body | {"stream": True})

    assert answer["output"][0]["content"][0]["text"] == "word-1 word-2"
    assert answer["usage"] == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    told = [json.loads(event) for event in events(stream)]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[0]["type"] == "response.created"
    assert [event["delta"] for event in told if event["type"].endswith("delta")] == ["word-1", " word-2"]
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["usage"]["output_tokens"] == 2


def test_messages(stub: StubEngine) -> None:
    body = CHAT | {"max_tokens": 2, "system": "be brief"}
    _, answer = fetch_json(stub.url + "/v1/messages", body)
    _, stream = fetch(stub.url + "/v1/messages", body | {"stream": True})

    assert answer["content"] == [{"type": "text", "text": "word-1 word-2"}]
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"] == {"input_tokens": 5, "output_tokens": 2}
    names = [line[7:] for line in stream.decode().splitlines() if line.startswith("event: ")]
    told = [json.loads(event) for event in events(stream)]
    assert names == [event["type"] for event in told]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    assert told[-2]["usage"]["output_tokens"] == 2


def test_count_tokens(stub: StubEngine) -> None:
    blocks = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a b c d"}]}]}

    assert fetch_json(stub.url + "/v1/messages/count_tokens", blocks) == (200, {"input_tokens": 4})


def test_embeddings(stub: StubEngine) -> None:
    _, answer = fetch_json(stub.url + "/v1/embeddings", {"input": ["a", "b"]})
    _, again = fetch_json(stub.url + "/v1/embeddings", {"input": "a", "encoding_format": "base64"})

    vectors = [item["embedding"] for item in answer["data"]]
    assert [len(vector) for vector in vectors] == [8, 8]
    assert vectors[0] != vectors[1]
    packed = struct.unpack("<8f", base64.b64decode(again["data"][0]["embedding"]))
    assert packed == pytest.approx(vectors[0])


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/reranking", "/rerank", "/reranking"])
def test_rerank(stub: StubEngine, path: str) -> None:
    body = {"query": "green boat", "documents": ["a house", "the boat", {"text": "green boat"}], "top_n": 2}
    _, answer = fetch_json(stub.url + path, body)

    assert [result["index"] for result in answer["results"]] == [2, 1]
    assert answer["results"][0]["relevance_score"] == 1.0


def test_transcription(stub: StubEngine) -> None:
    sound = bytes(range(256)) * 4 + b"\r\n--not the boundary"
    form = b'--edge\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
    form += b'--edge\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + sound
    form += b"\r\n--edge--\r\n"
    status, answer = fetch(
        stub.url + "/v1/audio/transcriptions", form, **{"content-type": "multipart/form-data; boundary=edge"}
    )

    assert status == 200
    assert json.loads(answer) == {"text": f"{len(sound)} bytes of sound", "model": "whisper"}
    assert fetch(stub.url + "/v1/audio/transcriptions", b"{}")[0] == 400


def test_echo(stub: StubEngine) -> None:
    status, seen = fetch_json(stub.url + "/echo/deep?a=1&b=%20", {"x": 1})

    assert status == 200
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/echo/deep", "a=1&b=%20")
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["body_bytes"] == len(b'{"x": 1}')
    assert seen["body_sha256"] == hashlib.sha256(b'{"x": 1}').hexdigest()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nowhere", None, 404),
        ("/v1/nowhere", {}, 404),
        ("/v1/chat/completions", None, 404),
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", {"stub": 1}, 400),
        ("/v1/chat/completions", {"stub": {"port": 1}}, 400),
        ("/v1/chat/completions", {"stub": {"status": 503}}, 503),
        ("/stub/nowhere", None, 404),
    ],
)
def test_errors(stub: StubEngine, path: str, body: Any, status: int) -> None:
    answered, error = fetch_json(stub.url + path, body)

    assert answered == status
    assert error["error"]["code"] == status
    assert error["error"]["message"]


def test_request_changes_the_answer(stub: StubEngine) -> None:
    _, answer = fetch_json(stub.url + "/v1/chat/completions", CHAT | {"stub": {"text": "as you like"}})
    _, counted = fetch_json(stub.url + "/v1/chat/completions", CHAT | {"stub": {"tokens": 1}})

    assert answer["choices"][0]["message"]["content"] == "as you like"
    assert counted["choices"][0]["message"]["content"] == "word-1"
