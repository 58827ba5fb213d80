"""The heads of answers that an engine has given before, to know them when they come again.

An engine says the same with each of its answers; but for `Content-Length` and `Date`, whose values are taken
from where they stand. What is known need not be parsed, looked through or put together anew. Only answers of
known length are; what is unusual is left to the parser.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hostler.gateway.headers import connection_tokens, value_place
from hostler.gateway.sinks import NO_BODY

if TYPE_CHECKING:
    from hostler.gateway.headers import Headers
    from hostler.gateway.sinks import ResponseHead

# Kinds of answers that an engine gives in turn; others push the oldest out.
MAX_KNOWN = 4
# An engine that has said so many different things says something else each time: nothing more is learnt.
MAX_LEARNT = 64
# Of a head that is worth it; engines send some hundred bytes.
MAX_HEAD = 4_096
# A petabyte less one; llhttp refuses what has more than 64 bits.
MAX_DIGITS = 15
# More characters than a length and a date have.
MAX_VALUE = 32
_VARYING = (b"content-length", b"date")
_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


class KnownAnswer:
    """One of them. `head` is that of the first answer, `varying` the names of what differs, as they stand.

    `form` is what the web side makes of it, `document` the content type of a good answer in plain JSON or the
    like: one that is no stream of events, and not encoded.
    """

    __slots__ = (
        "_date",
        "_dated",
        "_first",
        "_length",
        "_lines",
        "_rest",
        "document",
        "form",
        "head",
        "varying",
    )

    def __init__(self, head: ResponseHead, varying: tuple[bytes, ...], pieces: list[bytes]) -> None:
        self.head = head
        self.varying = varying
        self.form = b""
        self.document: str | None = None
        if head.status == 200 and not head.events and b"content-encoding" not in head.given:
            self.document = head.given.get(b"content-type", b"").decode("latin-1")
        self._first, *self._rest = pieces
        self._lines = self._first.partition(b"\r\n")[2]  # without that of the status
        self._length = varying.index(b"content-length")
        self._date = varying.index(b"date") if b"date" in varying else -1
        self._dated = b""  # a date that was found to be one

    def read(self, data: bytes) -> tuple[list[bytes], int, int] | None:
        """The values in `data`, if it begins with this head; the length of the body, and where it begins."""
        first = self._first
        if not data.startswith(first):
            return None
        place = len(first)
        values: list[bytes] = []
        for rest in self._rest:
            end = data.find(b"\r", place, place + MAX_VALUE)
            if end < 0 or not data.startswith(rest, end):
                return None
            values.append(data[place:end])
            place = end + len(rest)
        length = values[self._length]
        if (
            not length.isdigit()
            or len(length) > MAX_DIGITS
            or (self._date >= 0 and not self._is_date(values[self._date]))
        ):
            return None
        return values, int(length), place

    def _is_date(self, value: bytes) -> bool:
        if value == self._dated:
            return True
        if _DATE.fullmatch(value) is None:
            return False
        self._dated = value
        return True

    def lines(self, values: list[bytes]) -> bytes:
        """The same as lines, as the engine sends them."""
        lines = self._lines
        for value, rest in zip(values, self._rest, strict=True):
            lines += value + rest
        return lines

    def headers(self, values: list[bytes]) -> Headers:
        """The headers of an answer with these values."""
        given = dict(zip(self.varying, values, strict=True))
        return [(name, given.get(name, value)) for name, value in self.head.headers]


class KnownAnswers:
    """Those of one engine; the connections to it share them."""

    __slots__ = ("_known", "_learnt")

    def __init__(self) -> None:
        self._known: list[KnownAnswer] = []
        self._learnt = 0

    def __len__(self) -> int:
        return len(self._known)

    def read(self, data: bytes) -> tuple[KnownAnswer, list[bytes], int, int] | None:
        """What `data` begins with: the answer, its values, the length of its body, and where that begins."""
        for known in self._known:
            found = known.read(data)
            if found is not None:
                return known, *found
        return None

    def learn(self, head: ResponseHead, data: bytes, body_size: int) -> None:
        """Know `head` from now on; `data` is what the parser made it of, and `body_size` bytes of the body.

        Nothing is learnt of what is unusual.
        """
        coded = b"transfer-encoding" in head.given
        if self._learnt >= MAX_LEARNT or head.length is None or coded or head.status in NO_BODY:
            return
        known = known_answer(head, data, body_size)
        if known is not None:
            self._learnt += 1
            self._known = [known, *self._known[: MAX_KNOWN - 1]]


def known_answer(head: ResponseHead, data: bytes, body_size: int) -> KnownAnswer | None:
    """`head` as one that is known; None if it is unusual."""
    end = len(data) - body_size
    # Where the parser took something else than the first empty line for the end, it is not for us to judge.
    if data.find(b"\r\n\r\n") + 4 != end or end > MAX_HEAD or not data.startswith(b"HTTP/1.1 "):
        return None
    names = [name for name, _ in head.headers]
    if b"connection" in names and not connection_tokens(head.headers, head.given).isdisjoint(_VARYING):
        return None  # a client does not get it
    raw = data[:end]
    holes: list[tuple[int, int, bytes]] = []
    for name in _VARYING:
        if names.count(name) > 1:
            return None
        if name not in names:
            continue
        value = head.given[name]
        place = value_place(raw, name, value)
        if place < 0:
            return None
        holes.append((place, place + len(value), name))
    holes.sort()
    places = [0, *(at for place, stop, _ in holes for at in (place, stop)), end]
    pieces = [raw[places[at] : places[at + 1]] for at in range(0, len(places), 2)]
    known = KnownAnswer(head, tuple(name for *_, name in holes), pieces)
    return known if known.read(data) is not None else None
