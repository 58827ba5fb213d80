"""What a whole JSON document of a usual shape says about its tokens, without decoding all of it. Pure.

Only the members that count are made into objects; a text or a thousand floats are passed over. What has
another shape, an error among it, is left to those who look at everything (`usage`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from hostler.metrics.accounts import MOST, Usage, account, reason_of
from hostler.metrics.record import UNKNOWN, Tokens


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    cache_read_input_tokens: int | None = None


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Document(msgspec.Struct, gc=False):
    """All that is looked for in a document; what is nearly never there may be anything."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    error: Any = msgspec.UNSET
    type: Any = None
    delta: Any = None
    finish_reason: Any = None
    stop_reason: Any = None
    stop_type: Any = None
    response: Any = None
    object: Any = None
    incomplete_details: Any = None
    status: Any = None


_decode = msgspec.json.Decoder(_Document).decode


def usage_of(text: bytes) -> Usage | None:
    """What `text` says; None where its shape is not a usual one."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    error = found.error
    if found.type == "error" if error is msgspec.UNSET else error:
        return None
    choices, usage, timings, metrics = found.choices, found.usage, found.timings, found.metrics
    reason = choices[0].finish_reason if choices else None
    if not reason or reason == "none":
        reason = _other_reason(found)
    if usage is None:
        return account(0, 0, UNKNOWN, False, timings, metrics, reason, "")
    given, made, cached = usage.prompt_tokens, usage.completion_tokens, UNKNOWN
    if given is None:
        given = usage.input_tokens or 0
    if made is None:
        made = usage.output_tokens or 0
    if (
        usage.prompt_tokens_details is not None
        or usage.input_tokens_details is not None
        or usage.cache_read_input_tokens is not None
    ):
        cached = _cached(usage)
    if not (0 <= given < MOST and 0 <= made < MOST and cached < MOST):
        return None
    if timings is None and metrics is None:
        tokens = Tokens(given, made, cached, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
        return Usage(tokens, 0.0, reason[:64], "", True)
    return account(given, made, cached, True, timings, metrics, reason, "")


def _cached(usage: _Usage) -> int:
    cached = usage.cache_read_input_tokens
    if cached is not None and cached >= 0:
        return cached
    for details in (usage.input_tokens_details, usage.prompt_tokens_details):
        if details is not None and details.cached_tokens is not None and details.cached_tokens >= 0:
            return details.cached_tokens
    return UNKNOWN


def _other_reason(found: _Document) -> str:
    """Where no first choice tells it."""
    members: dict[str, Any] = {name: getattr(found, name) for name in _REASONS}
    members["choices"] = [{"finish_reason": choice.finish_reason} for choice in found.choices or ()]
    return reason_of(members)


_REASONS = (
    "delta", "finish_reason", "stop_reason", "stop_type", "response", "object", "incomplete_details",
    "status",
)  # fmt: skip
