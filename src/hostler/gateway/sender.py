"""What a client says with each request on one connection, and what follows from it, worked out once.

A client that keeps its connection sends the same head again and again; of what matters here only
`Content-Length` differs. So it is compared, which is done in C, and neither parsed nor looked at anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.gateway.headers import request_headers, value_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostler.config.schema import ApiKey
    from hostler.gateway.auth import KeyRing
    from hostler.gateway.headers import Headers
    from hostler.gateway.origin import Origin


# Engines that one client asks over one connection, by one path each; a client that goes through more of them
# has their heads made anew.
MAX_STARTS = 16
# More digits are no small body.
MAX_DIGITS = 5
_ID = b"x-request-id: "


class Known:
    """What follows from the headers under one ring of keys: the key, and what an engine gets of them.

    `fields` are `headers` as bytes; the request's id and its length are not among them.
    """

    __slots__ = ("_shared", "_starts", "fields", "key", "keys", "limited")

    def __init__(self, keys: KeyRing, key: ApiKey | None, headers: Headers) -> None:
        self.keys = keys
        self.key = key
        self.limited = key is not None and bool(
            key.models or key.scopes
        )  # there is something to ask about it
        self.fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        # The same for all engines, unless `Connection` has taken `Host` away; a head may have 64 KB.
        has_host = any(name == b"host" for name, _ in headers)
        self._shared = self.fields + _ID if has_host else b""
        self._starts: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}

    def start(self, base_url: str, origin: Origin, target: bytes, path: str) -> tuple[bytes, bytes]:
        """What a request to `origin` (of `base_url`) begins with: its line, and its fields up to its id.

        `path` is what the engine is asked for when `target` was asked for.
        """
        known = self._starts.get((base_url, target))
        if known is None:
            if len(self._starts) >= MAX_STARTS:
                self._starts.clear()
            line = b"POST %b HTTP/1.1\r\n" % (origin.prefix + path).encode()
            fields = self._shared or b"%bhost: %b\r\n%b" % (self.fields, origin.authority, _ID)
            known = self._starts[base_url, target] = line, fields
        return known


class Sender:
    """The headers of a request, and their first values.

    `given` has the content length of the first request that said all this; `place` is where headers have it.
    """

    __slots__ = (
        "_after",
        "_before",
        "_length",
        "given",
        "headers",
        "keep_alive",
        "kind",
        "known",
        "learnt",
        "place",
        "plain",
        "said",
        "target",
    )

    def __init__(
        self, headers: Headers, given: Mapping[bytes, bytes], target: bytes = b"", keep_alive: bool = True
    ) -> None:
        self.headers = headers
        self.given = given
        self.target = target  # of the head that was learnt
        self.keep_alive = keep_alive
        self.learnt = False  # `body_in` may find something
        self._before = self._after = b""  # of the length, in the head that was learnt
        self.known: Known | None = None
        self.kind = given.get(b"content-type", b"")
        self.plain = b"form" not in self.kind.lower() and b"x-server-timing" not in given  # JSON, if anything
        self.said: tuple[str, str] | None = None  # of the access line, by whoever writes it
        self._length = (b"content-length", given.get(b"content-length", b""))
        self.place = headers.index(self._length) if self._length in headers else -1

    def says(self, headers: Headers) -> bool:
        """Whether `headers` are the same, but for the length of the body."""
        place = self.place
        if place < 0 or len(headers) != len(self.headers) or headers[place][0] != b"content-length":
            return False
        length, headers[place] = headers[place], self._length
        same = headers == self.headers
        headers[place] = length
        return same

    def knows(self, keys: KeyRing, client: str | None) -> Known:
        """What follows for an engine on this machine. Raises Unauthorized."""
        known = self.known
        if known is None or known.keys is not keys:
            key = keys.check(self.given)
            headers = request_headers(
                self.headers, self.given, client=client, length=None, drop_credentials=bool(keys)
            )
            known = self.known = Known(keys, key, headers)
        return known

    def learn(self, data: bytes, body: bytes, length: bytes, target: bytes) -> None:
        """Remember the head of a request, to know it when it comes again.

        `data` is all of that request and nothing else, as the parser saw who made these headers of it, `body`
        and `length` are its own.
        """
        end = len(data) - len(body)
        head = data[:end]
        place = value_place(head, b"content-length", length)
        # With bare line feeds, for one, it would end elsewhere: this is no place to understand such heads.
        if data.find(b"\r\n\r\n") + 4 != end or place < 0:
            return
        self.target = target
        self._before, self._after = head[:place], head[place + len(length) :]
        self.learnt = True

    def body_in(self, data: bytes) -> bytes | None:
        """The body of the request in `data`, if that has the head that was learnt, and all of its body.

        Whatever differs from that head, but for the length of the body, is not for us to judge.
        """
        before, after = self._before, self._after
        place = len(before)
        end = data.find(b"\r", place, place + MAX_DIGITS + 1)
        length = data[place:end]
        if end < 0 or not (data.startswith(before) and data.startswith(after, end) and length.isdigit()):
            return None
        body = data[end + len(after) :]
        return body if len(body) == int(length) else None
