"""What a client says with each request on one connection, and what follows from it, worked out once.

A client that keeps its connection sends the same headers again and again; of those that matter here only
`Content-Length` differs. So they are compared, which is done in C, and not looked at anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostler.gateway.headers import request_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostler.config.schema import ApiKey
    from hostler.gateway.auth import KeyRing
    from hostler.gateway.headers import Headers


class Known(NamedTuple):
    """What follows from the headers under one ring of keys: the key, and what an engine gets of them.

    `fields` are `headers` as bytes; the request's id and its length are not among them. `has_host` says
    whether `Host` is: `Connection` may have taken it away.
    """

    keys: KeyRing
    key: ApiKey | None
    headers: Headers
    fields: bytes
    has_host: bool


class Sender:
    """The headers of a request, and their first values.

    `given` has the content length of the first request that said all this; `place` is where headers have it.
    """

    __slots__ = ("_length", "given", "headers", "known", "place")

    def __init__(self, headers: Headers, given: Mapping[bytes, bytes]) -> None:
        self.headers = headers
        self.given = given
        self.known: Known | None = None
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
            fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
            has_host = any(name == b"host" for name, _ in headers)
            known = self.known = Known(keys, key, headers, fields, has_host)
        return known
