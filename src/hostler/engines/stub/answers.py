"""What the endpoints say: one description of an answer, told in each API's shape, whole or in pieces."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hostler.engines.stub.output import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hostler.engines.stub.options import Options

DIMENSIONS: Final = 8
DONE: Final = b"data: [DONE]\n\n"
DIED: Final = 1  # the exit code of --die-in-stream


@dataclass(slots=True)
class Answer:
    """One answer: its pieces, what it cost, and when it was begun."""

    options: Options
    model: str
    pieces: list[str]
    prompt_tokens: int
    finish: str
    begun: float

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def identity(self) -> str:
        """The id in the answer; the same question gets the same."""
        return hashlib.sha256(f"{self.model} {self.prompt_tokens} {self.text}".encode()).hexdigest()[:24]

    def usage(self) -> dict[str, Any]:
        """OpenAI's account of the tokens."""
        said = len(self.pieces)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": said,
            "total_tokens": self.prompt_tokens + said,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def timings(self) -> dict[str, Any]:
        """llama-server's account; the prompt is taken to have cost a millisecond."""
        said, took = len(self.pieces), max((time.monotonic() - self.begun) * 1000, 0.001)
        return {
            "cache_n": 0,
            "prompt_n": self.prompt_tokens,
            "prompt_ms": 1.0,
            "prompt_per_token_ms": round(1.0 / max(self.prompt_tokens, 1), 4),
            "prompt_per_second": self.prompt_tokens * 1000.0,
            "predicted_n": said,
            "predicted_ms": round(took, 3),
            "predicted_per_token_ms": round(took / max(said, 1), 4),
            "predicted_per_second": round(said * 1000 / took, 2),
        }


def answer(options: Options, body: dict[str, Any]) -> Answer:
    """The answer to `body`: as many words as asked for, never more than the request allows."""
    words = options.text.split() if options.text else [f"word-{n}" for n in range(1, options.tokens + 1)]
    limits = [
        body.get(key) for key in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
    ]
    limit = next((value for value in limits if isinstance(value, int) and value >= 0), len(words))
    pieces = [word if index == 0 else " " + word for index, word in enumerate(words[:limit])]
    finish = "length" if limit < len(words) else "stop"
    model = str(body.get("model") or options.model)
    return Answer(options, model, pieces, count_tokens(body), finish, time.monotonic())


def count_tokens(body: dict[str, Any]) -> int:
    """Words in what the request says, wherever it says it."""
    keys = ("messages", "prompt", "input", "system", "instructions", "input_prefix", "input_suffix")
    return max(1, sum(_words(body.get(key)) for key in keys))


def _words(value: Any) -> int:
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(_words(item) for item in value)
    if isinstance(value, dict):
        return sum(_words(value.get(key)) for key in ("content", "text"))
    return 1 if isinstance(value, int) else 0


# ---- whole answers ---------------------------------------------------------------------------------------


def chat(answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    return _openai(
        answer, "chat.completion", {"index": 0, "message": message, "finish_reason": answer.finish}
    )


def completion(answer: Answer) -> dict[str, Any]:
    choice = {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": answer.finish}
    return _openai(answer, "text_completion", choice)


def _openai(answer: Answer, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return _envelope(answer, kind, [choice]) | {"usage": answer.usage(), "timings": answer.timings()}


def _envelope(answer: Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"cmpl-{answer.identity}",
        "object": kind,
        "created": int(time.time()),
        "model": answer.model,
        "system_fingerprint": "stub",
        "choices": choices,
    }


def native(answer: Answer) -> dict[str, Any]:
    """llama-server's own shape, of /completion and /infill."""
    return {
        "content": answer.text,
        "stop": True,
        "stop_type": "limit" if answer.finish == "length" else "eos",
        "model": answer.model,
        "tokens_predicted": len(answer.pieces),
        "tokens_evaluated": answer.prompt_tokens,
        "timings": answer.timings(),
    }


def response(answer: Answer) -> dict[str, Any]:
    """OpenAI's Responses."""
    content = {"type": "output_text", "text": answer.text, "annotations": []}
    item = {
        "type": "message",
        "id": "msg_0",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }
    said = len(answer.pieces)
    total = answer.prompt_tokens + said
    return {
        "id": f"resp_{answer.identity}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": answer.model,
        "output": [item],
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": said, "total_tokens": total},
        "timings": answer.timings(),
    }


def message(answer: Answer) -> dict[str, Any]:
    """Anthropic's Messages."""
    return {
        "id": f"msg_{answer.identity}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": _anthropic_reason(answer),
        "stop_sequence": None,
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": len(answer.pieces)},
    }


def _anthropic_reason(answer: Answer) -> str:
    return "max_tokens" if answer.finish == "length" else "end_turn"


def embeddings(options: Options, body: dict[str, Any]) -> dict[str, Any]:
    """A vector for each input, made of its text only; in base64 when asked, as OpenAI's client does."""
    inputs = body.get("input", body.get("content", ""))
    texts = inputs if isinstance(inputs, list) and not all(isinstance(i, int) for i in inputs) else [inputs]
    data = []
    for index, text in enumerate(texts):
        digest = hashlib.sha256(str(text).encode()).digest()
        vector: Any = [byte / 255 - 0.5 for byte in digest[:DIMENSIONS]]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = count_tokens(body)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": body.get("model") or options.model, "data": data, "usage": usage}


def ranks(options: Options, body: dict[str, Any]) -> dict[str, Any]:
    """Documents by how many words they share with the query, the best first."""
    query = set(str(body.get("query", "")).lower().split())
    documents = body.get("documents") or body.get("texts") or []
    scored = []
    for index, document in enumerate(documents):
        text = document.get("text", "") if isinstance(document, dict) else document
        shared = len(query & set(str(text).lower().split()))
        scored.append({"index": index, "relevance_score": shared / max(len(query), 1)})
    scored.sort(key=lambda item: -float(item["relevance_score"]))
    top = body.get("top_n")
    tokens = sum(_words(document) for document in documents) + len(query)
    return {
        "object": "list",
        "model": body.get("model") or options.model,
        "results": scored[:top] if isinstance(top, int) else scored,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


# ---- answers in pieces -----------------------------------------------------------------------------------


async def paced(answer: Answer, events: Iterator[bytes]) -> AsyncIterator[bytes]:
    """`events` with the delays that were asked for, and the death, if one was."""
    for count, event in enumerate(events):
        if count == answer.options.die_in_stream:
            log(f"dying after {count} chunks")
            os._exit(DIED)
        if answer.options.chunk_delay > 0:
            await asyncio.sleep(answer.options.chunk_delay)
        yield event


def _data(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + _data(event)


def chat_events(answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
    kind = "chat.completion.chunk"
    yield _data(_envelope(answer, kind, [_delta({"role": "assistant", "content": None})]))
    for piece in answer.pieces:
        yield _data(_envelope(answer, kind, [_delta({"content": piece})]))
    yield from _openai_end(answer, kind, _delta({}, answer.finish), with_usage=with_usage)


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def completion_events(answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
    kind = "text_completion"
    for piece in answer.pieces:
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": None}
        yield _data(_envelope(answer, kind, [choice]))
    last = {"index": 0, "text": "", "logprobs": None, "finish_reason": answer.finish}
    yield from _openai_end(answer, kind, last, with_usage=with_usage)


def _openai_end(answer: Answer, kind: str, last: dict[str, Any], *, with_usage: bool) -> Iterator[bytes]:
    """As llama-server ends a stream: timings in the last event, which is the usage one when asked for."""
    account = {"timings": answer.timings()}
    if with_usage:
        yield _data(_envelope(answer, kind, [last]))
        yield _data(_envelope(answer, kind, []) | {"usage": answer.usage()} | account)
    else:
        yield _data(_envelope(answer, kind, [last]) | account)
    yield DONE


def native_events(answer: Answer) -> Iterator[bytes]:
    for piece in answer.pieces:
        yield _data({"content": piece, "stop": False})
    yield _data(native(answer) | {"content": ""})


def response_events(answer: Answer) -> Iterator[bytes]:
    whole = response(answer)
    empty = whole | {"status": "in_progress", "output": [], "usage": None}
    where = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": empty}]
    events += [{"type": "response.output_text.delta", "delta": piece} | where for piece in answer.pieces]
    events.append({"type": "response.output_text.done", "text": answer.text} | where)
    for number, event in enumerate(events):
        yield _named(event | {"sequence_number": number})
    yield _named({"type": "response.completed", "sequence_number": len(events), "response": response(answer)})


def message_events(answer: Answer) -> Iterator[bytes]:
    whole = message(answer)
    usage = {"input_tokens": answer.prompt_tokens, "output_tokens": 0}
    start = whole | {"content": [], "stop_reason": None, "usage": usage}
    yield _named({"type": "message_start", "message": start})
    block = {"type": "text", "text": ""}
    yield _named({"type": "content_block_start", "index": 0, "content_block": block})
    for piece in answer.pieces:
        delta = {"type": "text_delta", "text": piece}
        yield _named({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _named({"type": "content_block_stop", "index": 0})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _named({"type": "message_delta", "delta": end, "usage": {"output_tokens": len(answer.pieces)}})
    yield _named({"type": "message_stop"})
