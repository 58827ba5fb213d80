"""The requests and answers of the measurements, as bytes."""

from __future__ import annotations

import json
from typing import Any, Final

KEY: Final = "bench-key-not-a-secret"
PATH: Final = "/v1/chat/completions"
WHOLE: Final = "whole"  # the model whose upstream gives whole answers
STREAMS: Final = "streams"  # the one whose upstream streams

ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello there"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    },
    separators=(",", ":"),
)


def post(body: bytes) -> bytes:
    """A chat request with this body."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def small_body(model: str = WHOLE) -> bytes:
    """A question of some 550 bytes."""
    return _body({"model": model, "messages": [{"role": "user", "content": "hello " * 80}]})


def stream_body(chunks: int, pace_ms: float) -> bytes:
    """Ask for a stream of so many chunks, one each `pace_ms` milliseconds, at full speed when that is 0."""
    return _body(
        {
            "model": STREAMS,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": chunks,
            "pace_ms": pace_ms,
            "messages": [{"role": "user", "content": "Count to a hundred."}],
        }
    )


def image_body(size: int) -> bytes:
    """A question about a picture of `size` bytes of base64; the model is named first, as clients do."""
    url = "data:image/png;base64," + ("iVBORw0KGgoAAAANSUhEUgAA" * (size // 24 + 1))[:size]
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return _body({"model": STREAMS, "messages": [{"role": "user", "content": content}]})


def _body(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
