"""Which headers travel, by RFC 9110 section 7.6.1: hop-by-hop ones end here, the others go on unchanged.

Headers are lists of `(name, value)` byte pairs; names are lower case, as both edges deliver them. `given` are
the first values of the same headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.gateway.sinks import ResponseHead

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# Framing is ours on both sides; `expect` was answered at the edge.
REQUEST_DROPPED = HOP_BY_HOP | {b"content-length", b"expect", b"x-forwarded-for", b"x-request-id"}
NONE_NAMED: frozenset[bytes] = frozenset()
CREDENTIALS = frozenset((b"authorization", b"x-api-key"))
REQUEST_AND_KEY_DROPPED = REQUEST_DROPPED | CREDENTIALS
RESPONSE_AND_ID_DROPPED = HOP_BY_HOP | {b"x-request-id"}
# What `Connection` says nearly always; neither is the name of a header.
USUAL_CONNECTIONS = frozenset((b"keep-alive", b"close", b"Keep-Alive"))
# What it cannot take from an answer: nothing else would tell a client where that ends.
KEPT = frozenset((b"content-length",))
# What tells a peer where a request came from is none of its business.
PEER_DROPPED = (
    HOP_BY_HOP
    | {b"content-length", b"expect", b"x-request-id", b"host", b"forwarded", b"x-real-ip"}
    | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"}
)


def first_values(headers: Headers) -> dict[bytes, bytes]:
    """The first value of each header, for who looks for several."""
    return dict(reversed(headers))


def value_place(head: bytes, name: bytes, value: bytes) -> int:
    """Where in a head, as it came, `value` stands, which is that of the first header `name`; -1 if nowhere.

    `name` is lower case.
    """
    start = head.lower().find(b"\r\n%b:" % name)
    if start < 0 or not value:
        return -1
    start += len(name) + 3
    found = head[start : head.find(b"\r\n", start)]
    return start + found.index(value) if found.strip(b" \t") == value else -1


def asked_by(given: Mapping[bytes, bytes], client: Sequence[object] | None) -> str:
    """Who asks, as far as that can be known: what a proxy in front of us says, else the address of `client`.

    `given` are first values, `client` is (address, port) of the connection; "" when nobody knows.
    """
    address = given.get(b"x-forwarded-for", b"").split(b",")[0].strip() or given.get(b"x-real-ip", b"")
    return address.decode("latin-1") or (str(client[0]) if client else "")


def connection_tokens(headers: Headers, given: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """The lower-case names that `Connection`, which is there, declares to be hop-by-hop as well."""
    if given[b"connection"] in USUAL_CONNECTIONS and len(given) == len(headers):
        return NONE_NAMED
    values = [value for name, value in headers if name == b"connection"]
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def request_headers(
    headers: Headers,
    given: Mapping[bytes, bytes],
    *,
    client: str | None,
    length: int | None,
    drop_credentials: bool = False,
    request_id: bytes = b"",
) -> Headers:
    """The headers an engine gets.

    `length` is the size of the body to announce, None for no body at all. `client` is the peer address
    that is added to `X-Forwarded-For`. `drop_credentials` removes the key the client showed to *us*.
    `request_id` is what the request is called in the log.
    """
    dropped = REQUEST_AND_KEY_DROPPED if drop_credentials else REQUEST_DROPPED
    if b"connection" in given and (named := connection_tokens(headers, given)):
        dropped = dropped | named
    result = [pair for pair in headers if pair[0] not in dropped]
    forwarded: list[bytes] = []
    if b"x-forwarded-for" in given:
        forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
    if client is not None:
        forwarded.append(client.encode("ascii", "replace"))
    if forwarded:
        result.append((b"x-forwarded-for", b", ".join(forwarded)))
    if request_id:
        result.append((b"x-request-id", request_id))
    if length is not None:
        result.append((b"content-length", b"%d" % length))
    return result


def peer_headers(
    headers: Headers,
    given: Mapping[bytes, bytes],
    *,
    length: int | None,
    key: str,
    drop_credentials: bool,
    request_id: bytes = b"",
) -> Headers:
    """The headers a peer gets; `key` is ours to show there, "" for none. `Host` is left to the caller."""
    named = connection_tokens(headers, given) if b"connection" in given else NONE_NAMED
    drop_credentials = drop_credentials or bool(key)
    result = [
        (name, value)
        for name, value in headers
        if not (name in PEER_DROPPED or name in named or (drop_credentials and name in CREDENTIALS))
    ]
    if key:
        secret = key.encode("utf-8", "replace")
        result += [(b"authorization", b"Bearer " + secret), (b"x-api-key", secret)]
    if request_id:
        result.append((b"x-request-id", request_id))
    if length is not None:
        result.append((b"content-length", b"%d" % length))
    return result


def response_headers(headers: Headers, given: Mapping[bytes, bytes], request_id: bytes = b"") -> Headers:
    """The headers a client gets: all but the hop-by-hop ones.

    With a `request_id` the engine's own is replaced by it.
    """
    dropped = RESPONSE_AND_ID_DROPPED if request_id else HOP_BY_HOP
    if b"connection" in given and (named := connection_tokens(headers, given)):
        dropped = dropped | (named - KEPT)
    result = [pair for pair in headers if pair[0] not in dropped]
    if request_id:
        result.append((b"x-request-id", request_id))
    return result


def answer_headers(head: ResponseHead, request_id: bytes) -> Headers:
    """The headers a client gets of an engine's answer; event streams ask proxies not to buffer."""
    result = response_headers(head.headers, head.given, request_id)
    if head.events and b"x-accel-buffering" not in head.given:
        result.append((b"x-accel-buffering", b"no"))
    return result
