"""One capture on its way: what is kept of a request and its answer, and how many bytes that takes.

Headers become readable, and secrets are covered, where a capture leaves its first form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import msgspec

from hostler.metrics.capture_blocks import Capture, Parts
from hostler.metrics.record import Pairs

# What a capture takes beside its bodies: headers, names, objects. And what one takes that is a frame.
OVERHEAD = 1500
FRAME_OVERHEAD = 200
# Bodies up to this are copied into a frame: many small objects that lie about for long make everything slow.
MAX_FRAME = 65_536
REDACTED = "[REDACTED]"
SECRET_HEADERS = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Which bodies of a path are kept; headers always are."""

    request_body: bool = True
    response_body: bool = True


ALL = Rule()
# Sound and images are large and of no use in a list of requests.
_RULES = {
    "/v1/audio/speech": Rule(response_body=False),
    "/v1/images/generations": Rule(response_body=False),
    "/sdapi/v1/txt2img": Rule(response_body=False),
    "/v1/audio/voices": Rule(request_body=False),
    "/v1/audio/transcriptions": Rule(request_body=False),
    "/v1/images/edits": Rule(request_body=False, response_body=False),
    "/sdapi/v1/img2img": Rule(request_body=False, response_body=False),
}


def rule_of(path: str) -> Rule:
    """What is kept of requests to `path`, which is without `/upstream/MODEL`."""
    return _RULES.get(path, ALL)


def shown_headers(headers: Pairs | bytes) -> dict[str, str]:
    """The first value of each header by its usual spelling, without secrets."""
    shown: dict[str, str] = {}
    for name, value in pairs_of(headers) if isinstance(headers, bytes) else headers:
        text, secret = _spelled(name)
        if text not in shown:
            shown[text] = REDACTED if secret else value.decode("latin-1")
    return shown


def pairs_of(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as they are sent, in pairs. What is no header is left out; a folded line is one value."""
    pairs: list[tuple[bytes, bytes]] = []
    for line in lines.split(b"\r\n"):
        if pairs and line.startswith((b" ", b"\t")):
            name, value = pairs.pop()
            pairs.append((name, b"%b %b" % (value, line.strip(b" \t"))))
        elif b":" in line:
            name, _, value = line.partition(b":")
            pairs.append((name.strip(b" \t"), value.strip(b" \t")))
    return pairs


@lru_cache(maxsize=512)
def _spelled(name: bytes) -> tuple[str, bool]:
    """A header's usual spelling, and whether it holds a secret."""
    text = "-".join(word.capitalize() for word in name.decode("latin-1").split("-"))
    return text, name.lower() in SECRET_HEADERS


class Budget:
    """Bytes that may be held, of all captures together; `reclaim(count)` tries to free some."""

    def __init__(self, limit: int, reclaim: Callable[[int], None] = lambda count: None) -> None:
        self.limit = limit
        self.held = 0
        self._reclaim = reclaim

    def take(self, wanted: int, *, push: bool = True) -> int:
        """How many of `wanted` bytes may be kept; they are taken. With `push`, older captures make room."""
        lacking = self.held + wanted - self.limit
        if lacking > 0 and push:
            self._reclaim(lacking)
        given = max(0, min(wanted, self.limit - self.held))
        self.held += given
        return given

    def take_all(self, wanted: int) -> bool:
        """Take `wanted` bytes, or none where they do not fit."""
        if self.held + wanted > self.limit:
            if wanted > self.limit:
                return False  # nobody has to go for what does not fit anyway
            self._reclaim(self.held + wanted - self.limit)
            if self.held + wanted > self.limit:
                return False
        self.held += wanted
        return True

    def give(self, count: int) -> None:
        """`count` bytes are gone."""
        self.held -= count

    def swap(self, gone: int, wanted: int) -> bool:
        """`give` and `take_all` in one."""
        held = self.held = self.held - gone
        if held + wanted > self.limit:
            return self.take_all(wanted)
        self.held = held + wanted
        return True


class Collector(msgspec.Struct):
    """The bytes of one body as they pass. `close` gives their room back; any number of times."""

    budget: Budget
    parts: list[bytes] = []  # each has its own: msgspec sees to it
    held: int = 0
    truncated: bool = False

    def feed(self, data: bytes) -> None:
        """Keep `data`, or what there is room for; after the first cut nothing more is kept."""
        size, budget = len(data), self.budget
        if budget.held + size <= budget.limit and not self.truncated:
            budget.held += size
            self.held += size
            self.parts.append(data)
        elif not self.truncated:
            self._feed_some(data)

    def _feed_some(self, data: bytes) -> None:
        # One answer may push out others up to half of everything; a giant leaves the rest alone.
        room = self.budget.take(len(data), push=2 * self.held < self.budget.limit)
        if room < len(data):
            self.truncated = True
            data = data[:room]
        self.held += room
        if data:
            self.parts.append(data)

    def close(self) -> None:
        """Let go of the bytes."""
        self.budget.give(self.held)
        self.held = 0
        self.parts = []


class RawCapture(msgspec.Struct, array_like=True, gc=False):
    """A capture as the gateway has it: headers are made readable, and secrets covered, when somebody looks.

    Headers are pairs, or the lines as they were sent. `answer` is there in a frame only.
    """

    id: int
    model: str
    path: str
    request_headers: list[tuple[bytes, bytes]] | bytes
    request_body: bytes | None
    response_headers: list[tuple[bytes, bytes]] | bytes
    truncated: bool = False
    answer: list[bytes] | None = None

    def shown(self) -> Capture:
        """What may be kept and shown of it."""
        return Capture(
            id=self.id,
            model=self.model,
            path=self.path,
            request_headers=shown_headers(self.request_headers),
            request_body=self.request_body,
            response_headers=shown_headers(self.response_headers),
            response_body=None,
            truncated=self.truncated,
        )


frame_of = msgspec.msgpack.Encoder().encode
"""A small capture as one piece of memory instead of dozens."""
_decode = msgspec.msgpack.Decoder(RawCapture).decode


class Fresh(msgspec.Struct, frozen=True):
    """A capture as it came, what was collected of its answer, and what it takes beside that.

    `capture` is a frame, and has its answer, where it is small.
    """

    id: int
    capture: Capture | RawCapture | bytes
    body: Collector | None
    size: int

    @property
    def held(self) -> int:
        """All bytes of it."""
        return self.size + (self.body.held if self.body is not None else 0)

    @property
    def spare(self) -> int:
        """What is there twice while it is compressed: answers go meanwhile, the rest afterwards."""
        return self.size if isinstance(self.capture, bytes) else len(self.capture.request_body or b"")

    def parts(self) -> Parts:
        """What a block is made of; only the headers become readable here."""
        capture, body = self.capture, self.body
        if isinstance(capture, bytes):
            frame = _decode(capture)
            return Parts(frame.shown(), frame.answer)
        shown = capture.shown() if isinstance(capture, RawCapture) else capture
        if body is None:
            return Parts(shown, None)
        if body.truncated:
            shown = msgspec.structs.replace(shown, truncated=True)
        return Parts(shown, body.parts)


def values_size(headers: Pairs | bytes) -> int:
    """Of what headers take the part that a client chooses; the rest is in OVERHEAD."""
    return len(headers) if isinstance(headers, bytes) else len(b"".join(map(_value, headers)))


_value = itemgetter(1)
