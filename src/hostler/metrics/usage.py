"""What an answer says about its tokens, found in bytes that pass by. Pure; memory is bounded, whatever comes.

While bytes pass, only the first and the last of them are kept; they are parsed once, at the end: a whole
document of a usual shape by `documents`, everything else here. `accounts` knows what the numbers mean.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus

import msgspec

from hostler.metrics.accounts import MOST, Json, Usage, account, reason_of, whole
from hostler.metrics.decoding import Decoder, UndecodableError, decoder_for
from hostler.metrics.documents import usage_of
from hostler.metrics.ends import Ends
from hostler.metrics.record import UNKNOWN, shortened

# Of a stream: its first events (Anthropic tells the input there), and its last ones, where the others tell.
# A thousand open streams hold some 20 MB of them.
EVENTS_HEAD = 4_096
EVENTS_TAIL = 16_384
# Of a document: chats are far smaller; of embeddings and images, the ends, as `usage` stands in one of them.
DOCUMENT_HEAD = 32_768
DOCUMENT_TAIL = 65_536
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
# How OpenAI ends a stream; to find out that this is no JSON would take longer than all else of a short one.
DONE = b"data: [DONE]"
_decode_from = json.JSONDecoder().raw_decode
_decode = msgspec.json.Decoder().decode


class UsageTap:
    """Sees an answer pass: `feed` each chunk, then `finish` once. Neither raises.

    `path` is what the engine was asked for; `content_encoding` may name gzip, deflate, br or zstd.
    """

    __slots__ = ("_decoder", "_ends", "_line", "_path", "_problem", "_status", "is_stream")

    def __init__(
        self,
        path: str,
        content_type: str,
        content_encoding: str = "",
        status: int = 200,
    ) -> None:
        self._path = path
        self._status = status
        self.is_stream = not is_document(content_type)
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
        if self._status >= 300 or (len(parts) == 1 and not self.is_stream):
            return whole_usage(self._path, self._status, parts[0])
        found = _Found()
        try:
            if self.is_stream:
                for number, part in enumerate(parts):
                    found.read_events(part, cut=number > 0)
                found.read_start(self._ends.line)
            else:
                for part in parts:
                    found.read_fragment(part)
        except RecursionError:
            return Usage()
        return found.usage()


def is_document(content_type: str) -> bool:
    """Whether what is declared is one thing and no stream of events."""
    return "text/event-stream" not in content_type.lower()


def whole_usage(path: str, status: int, text: bytes) -> Usage:
    """What a document says that is all there, or, with a status of failure, the start of anything."""
    if status >= 300:
        return Usage(error=error_text(status, text))
    usual = usage_of(text)
    if usual is not None:
        return usual
    # Those of `/infill` may be arrays, which say it at their end.
    return general_usage(text, infill=path.startswith("/infill"))


def general_usage(text: bytes, *, infill: bool) -> Usage:
    """What a whole JSON document says, whatever its shape."""
    found = _Found()
    try:
        found.read_document(text, infill=infill)
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
            if not line.startswith(b"data:") or line == DONE:
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
            given = whole(usage, "prompt_tokens", "input_tokens")
            made = whole(usage, "completion_tokens", "output_tokens")
        self.input = given if given > 0 else self.input
        self.output = made if made > 0 else self.output
        cached = whole(usage, "cache_read_input_tokens")
        for details in ("input_tokens_details", "prompt_tokens_details"):
            inner = usage.get(details)
            if cached < 0 and isinstance(inner, dict):
                cached = whole(inner, "cached_tokens")
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
        self.reason = reason_of(found) or self.reason

    def usage(self) -> Usage:
        return account(
            self.input,
            self.output,
            self.cached,
            self.has_usage,
            self.timings,
            self.metrics,
            self.reason,
            self.error,
        )


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
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: it is not UTF-8
        pass
    try:
        found: object = json.loads(text)  # it knows NaN, which some engines write
    except (ValueError, RecursionError):
        return None
    return found
