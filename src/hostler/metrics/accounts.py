"""What engines say about their tokens, in the words that each of them uses. Pure.

The shapes and the precedence of fields are those that llama-swap's users know: OpenAI chat, completions,
responses and embeddings, Anthropic messages, llama-server's `timings` (which count more than `usage`), vLLM's
`metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hostler.metrics.record import NO_TOKENS, UNKNOWN, Tokens

# No engine has made as many tokens, and the database holds no number that is much larger.
MOST = 10**15
# Milliseconds: no engine makes a token in less, and what is divided by it stays a number.
LEAST = 1e-6

Json = Mapping[str, Any]


class Usage(msgspec.Struct, gc=False):
    """What an answer said. `engine_ms` is the engine's own time; `error` what went wrong, "" for nothing.

    `found` is False when nothing was said about tokens; they are all 0 then. `failed` says that the error is
    the engine's own, told behind a status that promised success.
    """

    tokens: Tokens = NO_TOKENS
    engine_ms: float = 0.0
    finish_reason: str = ""
    error: str = ""
    found: bool = False
    failed: bool = False


def account(
    given: int,
    made: int,
    cached: int,
    told: bool,
    timings: Json | None,
    metrics: Json | None,
    reason: str,
    error: str,
) -> Usage:
    """What all of it comes to; `told` says whether there was a `usage`."""
    failed = bool(error)
    if not told and timings is None and metrics is None:
        return Usage(NO_TOKENS, 0.0, reason[:64], error, False, failed)
    tokens = Tokens(given, made, cached, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    milliseconds = 0.0
    if metrics is not None:
        tokens = _with_metrics(tokens, metrics)
    if timings is not None:
        tokens = _with_timings(tokens, timings)
        milliseconds = sum(max(0.0, real(timings, name)) for name in ("prompt_ms", "predicted_ms"))
    return Usage(tokens, milliseconds, reason[:64], error, True, failed)


def _with_timings(tokens: Tokens, timings: Json) -> Tokens:
    """llama-server's own account; what it leaves out is 0."""
    cached = whole(timings, "cache_n")
    draft, accepted = _drafts(tokens, timings, "draft_n", "draft_n_accepted")
    return Tokens(
        max(0, whole(timings, "prompt_n")),
        max(0, whole(timings, "predicted_n")),
        cached if cached >= 0 else tokens.cached,
        draft,
        accepted,
        max(0.0, real(timings, "prompt_per_second")),
        max(0.0, real(timings, "predicted_per_second")),
    )


def _with_metrics(tokens: Tokens, metrics: Json) -> Tokens:
    """vLLM's account: times of one token instead of speeds."""
    draft, accepted = tokens.draft, tokens.draft_accepted
    prompt, answer = tokens.prompt_per_second, tokens.tokens_per_second
    speculative = metrics.get("speculative_decoding")
    if isinstance(speculative, dict):
        draft, accepted = _drafts(tokens, speculative, "num_draft_tokens", "num_accepted_draft_tokens")
    first, each = real(metrics, "time_to_first_token_ms"), real(metrics, "mean_itl_ms")
    if first > LEAST:
        prompt = (tokens.input - max(tokens.cached, 0)) / (first / 1000)
    if each > LEAST:
        answer = 1000 / each
    return Tokens(tokens.input, tokens.output, tokens.cached, draft, accepted, prompt, answer)


def _drafts(tokens: Tokens, found: Json, drafted: str, accepted: str) -> tuple[int, int]:
    made, kept = whole(found, drafted), whole(found, accepted)
    return (made, kept) if made >= 0 and kept >= 0 else (tokens.draft, tokens.draft_accepted)


def with_speed(tokens: Tokens, speed: float) -> Tokens:
    """`tokens`, with a speed of our own reckoning."""
    return Tokens(
        tokens.input,
        tokens.output,
        tokens.cached,
        tokens.draft,
        tokens.draft_accepted,
        tokens.prompt_per_second,
        speed,
        True,
    )


def reason_of(found: Json) -> str:
    """Why the answer ended, in the words of its engine."""
    for candidate in _reasons(found):
        if isinstance(candidate, str) and candidate and candidate != "none":
            return candidate
    return ""


def _reasons(found: Json) -> Iterator[object]:
    choices = found.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict):
                yield choice.get("finish_reason")
    delta = found.get("delta")
    if isinstance(delta, dict):
        yield delta.get("stop_reason")
    yield from (found.get("finish_reason"), found.get("stop_reason"), found.get("stop_type"))
    response = found.get("response")
    for place in (response, found):
        if isinstance(place, dict) and place.get("object") == "response":
            details = place.get("incomplete_details")
            if isinstance(details, dict):
                yield details.get("reason")
            status = place.get("status")
            yield status if status != "in_progress" else ""


def whole(found: Json, *names: str) -> int:
    """The first of `names` that is a number, as a whole one; UNKNOWN without any."""
    for name in names:
        value = found.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST:
            return int(value)
    return UNKNOWN


def real(found: Json, name: str) -> float:
    value = found.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return float(UNKNOWN)
