"""What an answer says about its tokens, found in bytes that pass by. Pure; memory is bounded, whatever comes.

While bytes pass, only the first and the last of them are kept; they are parsed once, at the end. The shapes
and the precedence of fields are those that llama-swap's users know: OpenAI chat, completions, responses and
embeddings, Anthropic messages, llama-server's `timings` (which count more than `usage`), vLLM's `metrics`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from hostler.metrics.decoding import Decoder, UndecodableError, decoder_for
from hostler.metrics.ends import Ends
from hostler.metrics.record import NO_TOKENS, UNKNOWN, Tokens, shortened

# Of a stream: its first events (Anthropic tells the input there), and its last ones, where the others tell.
# A thousand open streams hold some 20 MB of them.
EVENTS_HEAD = 4_096
EVENTS_TAIL = 16_384
# Of a document: chats are far smaller; of embeddings and images, the ends, as `usage` stands in one of them.
DOCUMENT_HEAD = 32_768
DOCUMENT_TAIL = 65_536
# No engine has made as many tokens, and the database holds no number that is much larger.
MOST = 10**15
# A line that is looked through for the first token; those before it are short.
MAX_LINE = 16_384
# Not the role alone, nor an empty text: the first member that holds something of an answer.
_TOKEN = re.compile(
    rb'"(?:content|text|delta|reasoning_content|reasoning|thinking|partial_json|arguments|refusal|response)"'
    rb'\s*:\s*"[^"]|"(?:tool_calls|function_call)"\s*:\s*[\[{]\s*["{]'
)
# A key within what is left of a document; quotes within texts are escaped.
_KEYS = re.compile(rb'(?<!\\)"(usage|timings|metrics|finish_reason|stop_reason|stop_type)"\s*:\s*')
_OUTCOME = re.compile(
    rb'"type"\s*:\s*"response\.(completed|incomplete|failed|cancelled)"'
    rb'(?:.*"incomplete_details"\s*:\s*{\s*"reason"\s*:\s*"(\w{1,64})")?',
    re.DOTALL,
)
_decode_from = json.JSONDecoder().raw_decode
_decode = msgspec.json.Decoder().decode

Json = Mapping[str, Any]


@dataclass(slots=True)
class Usage:
    """What an answer said. `engine_ms` is the engine's own time; `error` what went wrong, "" for nothing.

    `found` is False when nothing was said about tokens; they are all 0 then. `failed` says that the error is
    the engine's own, told behind a status that promised success.
    """

    tokens: Tokens = field(default_factory=lambda: NO_TOKENS)
    engine_ms: float = 0.0
    finish_reason: str = ""
    error: str = ""
    found: bool = False
    failed: bool = False


class UsageTap:
    """Sees an answer pass: `feed` each chunk, then `finish` once. Neither raises.

    `path` is what the engine was asked for; `content_encoding` may name gzip, deflate, br or zstd.
    """

    __slots__ = ("_decoder", "_ends", "_line", "_path", "_problem", "_status", "is_stream")

    def __init__(self, path: str, content_type: str, content_encoding: str = "", status: int = 200) -> None:
        self._path = path
        self._status = status
        self.is_stream = "text/event-stream" in content_type.lower()
        if self.is_stream:
            self._ends = Ends(EVENTS_HEAD, EVENTS_TAIL)
        else:
            self._ends = Ends(DOCUMENT_HEAD, DOCUMENT_TAIL)
        self._problem = ""
        self._decoder: Decoder | None = None
        # The line that has begun; None when nothing is looked for any more.
        self._line: bytes | None = b"" if self.is_stream and status < 300 else None
        if content_encoding:
            self._open(content_encoding)

    @property
    def looks(self) -> bool:
        """Whether the first token has still to be found."""
        return self._line is not None

    def _open(self, content_encoding: str) -> None:
        try:
            self._decoder = decoder_for(content_encoding)
        except UndecodableError as error:
            self._problem = f"response decompression failed: {error}"

    def feed(self, data: bytes) -> bool:
        """Take the next bytes as they came; True once, when the first token is among them."""
        if self._decoder is not None or self._problem:
            return self._feed_encoded(data)
        ends = self._ends
        ends.data += data  # as in `Ends.feed`
        if len(ends.data) > ends.cut:
            ends.trim()
        return self._line is not None and self._looks_for_token(data)

    def _feed_encoded(self, data: bytes) -> bool:
        seen = False
        if self._problem or self._decoder is None:
            return seen
        try:
            for plain in self._decoder.feed(data):
                self._ends.feed(plain)
                if self._line is not None and self._looks_for_token(plain):
                    seen = True
        except UndecodableError as error:
            self._problem = f"response decompression failed: {error}"
        return seen

    def _looks_for_token(self, data: bytes) -> bool:
        assert self._line is not None
        text = self._line + data
        cut = text.rfind(b"\n") + 1
        if _TOKEN.search(text, 0, cut or len(text)) is not None:
            self._line = None
            return True
        self._line = text[cut:][:MAX_LINE]
        return False

    def finish(self) -> Usage:
        """What the answer said; call it when the answer has ended, however."""
        if self._problem:
            return Usage(error=self._problem)
        parts = self._ends.parts()
        if self._status >= 300:
            return Usage(error=error_text(self._status, parts[0]))
        found = _Found()
        try:
            if self.is_stream:
                for number, part in enumerate(parts):
                    found.read_events(part, cut=number > 0)
                found.read_start(self._ends.line)
            elif len(parts) == 1:
                found.read_document(parts[0], infill=self._path.startswith("/infill"))
            else:
                for part in parts:
                    found.read_fragment(part)
        except RecursionError:
            return Usage()
        return found.usage()


class _Found:
    """What was found so far; later events count more than earlier ones."""

    __slots__ = ("cached", "error", "has_usage", "input", "metrics", "output", "reason", "timings")

    def __init__(self) -> None:
        self.input = self.output = 0
        self.cached = UNKNOWN
        self.timings: Json | None = None
        self.metrics: Json | None = None
        self.has_usage = False
        self.reason = ""
        self.error = ""

    def read_events(self, part: bytes, *, cut: bool) -> None:
        """The events of a stream; with `cut` the first one has lost its beginning."""
        for number, line in enumerate(part.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")):
            if cut and number == 0:
                self.read_fragment(line)
                continue
            if not line.startswith(b"data:"):
                continue
            event = _parsed(line[5:])
            if isinstance(event, dict):
                self._read_event(event)

    def _read_event(self, event: Json) -> None:
        # Anthropic puts it into `message`, the responses of OpenAI into `response`.
        for place in (event, event.get("response"), event.get("message")):
            if isinstance(place, dict):
                self._read_usage(place.get("usage"))
                self._read_error(place)
        self._read_extras(event)

    def read_document(self, text: bytes, *, infill: bool) -> None:
        """A whole JSON document."""
        found = _parsed(text)
        if isinstance(found, list) and infill and found:
            found = found[-1]
        if isinstance(found, dict):
            self._read_usage(found.get("usage"))
            self._read_error(found)
            self._read_extras(found)

    def read_fragment(self, text: bytes) -> None:
        """A piece of JSON, its keys wherever they are."""
        for match in _KEYS.finditer(text):
            # The values wanted are short; what is looked at is bounded, as there may be many keys.
            value = text[match.end() : match.end() + MAX_LINE].decode("utf-8", "replace")
            try:
                found, _ = _decode_from(value)
            except (ValueError, RecursionError):
                continue
            key = match.group(1).decode()
            if key == "usage":
                self._read_usage(found)
            else:
                self._read_extras({key: found})

    def read_start(self, text: bytes) -> None:
        """The start of a last event that was too long: those of OpenAI's responses say there how it ended."""
        match = _OUTCOME.search(text)
        if match is not None and not self.reason:
            self.reason = (match.group(2) or match.group(1)).decode()

    def _read_usage(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        self.has_usage = True
        given, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not (type(given) is int and type(made) is int and 0 <= given < MOST and 0 <= made < MOST):
            given = _number(usage, "prompt_tokens", "input_tokens")
            made = _number(usage, "completion_tokens", "output_tokens")
        self.input = given if given > 0 else self.input
        self.output = made if made > 0 else self.output
        cached = _number(usage, "cache_read_input_tokens")
        for details in ("input_tokens_details", "prompt_tokens_details"):
            inner = usage.get(details)
            if cached < 0 and isinstance(inner, dict):
                cached = _number(inner, "cached_tokens")
        self.cached = cached if cached >= 0 else self.cached

    def _read_error(self, found: Json) -> None:
        """An engine that fails behind a 200 says so in `error`; OpenAI's event of that type is one itself."""
        error = found.get("error")
        if "error" not in found and found.get("type") == "error":
            error = found
        if error and not self.error:
            self.error = _error_in({"error": error}) or "the engine reported an error"

    def _read_extras(self, found: Json) -> None:
        timings, metrics = found.get("timings"), found.get("metrics")
        self.timings = timings if isinstance(timings, dict) else self.timings
        self.metrics = metrics if isinstance(metrics, dict) else self.metrics
        choices = found.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            reason = choices[0].get("finish_reason")  # where it nearly always is
            if isinstance(reason, str) and reason and reason != "none":
                self.reason = reason
                return
        self.reason = _reason(found) or self.reason

    def usage(self) -> Usage:
        found = self.has_usage or self.timings is not None or self.metrics is not None
        tokens = NO_TOKENS
        if found:
            tokens = Tokens(self.input, self.output, self.cached, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
        result = Usage(tokens, 0.0, self.reason[:64], self.error, found, bool(self.error))
        if self.metrics is not None:
            _apply_metrics(tokens, self.metrics)
        if self.timings is not None:
            _apply_timings(tokens, self.timings)
            times = (_real(self.timings, "prompt_ms"), _real(self.timings, "predicted_ms"))
            result.engine_ms = sum(max(0.0, one) for one in times)
        return result


def _apply_timings(tokens: Tokens, timings: Json) -> None:
    """llama-server's own account; what it leaves out is 0."""
    tokens.input = max(0, _number(timings, "prompt_n"))
    tokens.output = max(0, _number(timings, "predicted_n"))
    tokens.prompt_per_second = max(0.0, _real(timings, "prompt_per_second"))
    tokens.tokens_per_second = max(0.0, _real(timings, "predicted_per_second"))
    cached = _number(timings, "cache_n")
    if cached >= 0:
        tokens.cached = cached
    _apply_drafts(tokens, timings, "draft_n", "draft_n_accepted")


def _apply_metrics(tokens: Tokens, metrics: Json) -> None:
    """vLLM's account: times of one token instead of speeds."""
    speculative = metrics.get("speculative_decoding")
    if isinstance(speculative, dict):
        _apply_drafts(tokens, speculative, "num_draft_tokens", "num_accepted_draft_tokens")
    first, each = _real(metrics, "time_to_first_token_ms"), _real(metrics, "mean_itl_ms")
    if first > 0:
        tokens.prompt_per_second = (tokens.input - max(tokens.cached, 0)) / (first / 1000)
    if each > 0:
        tokens.tokens_per_second = 1000 / each


def _apply_drafts(tokens: Tokens, found: Json, drafted: str, accepted: str) -> None:
    made, kept = _number(found, drafted), _number(found, accepted)
    if made >= 0 and kept >= 0:
        tokens.draft, tokens.draft_accepted = made, kept


def _reason(found: Json) -> str:
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


def own_speed(output_tokens: int, seconds: float) -> float:
    """Tokens per second where the engine says none; 0 when there is nothing to go by."""
    return output_tokens / seconds if output_tokens > 0 and seconds > 0 else 0.0


def error_text(status: int, body: bytes) -> str:
    """What an answer says went wrong: the first text at the usual places, else its status in words."""
    found = _parsed(body)
    if isinstance(found, dict) and (text := _error_in(found)):
        return text
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _error_in(found: Json) -> str:
    """The first text at the places where engines say what went wrong."""
    error = found.get("error")
    inner = error.get("message") if isinstance(error, dict) else None
    for text in (inner, error, found.get("message"), found.get("detail")):
        if isinstance(text, str) and text:
            return shortened(text)
    return ""


def _parsed(text: bytes) -> object:
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        found: object = json.loads(text)  # it knows NaN, which some engines write
    except (ValueError, RecursionError):
        return None
    return found


def _number(found: Json, *names: str) -> int:
    """The first of `names` that is a number, as a whole one; UNKNOWN without any."""
    for name in names:
        value = found.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST:
            return int(value)
    return UNKNOWN


def _real(found: Json, name: str) -> float:
    value = found.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return float(UNKNOWN)
