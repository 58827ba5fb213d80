"""Which headers travel, by RFC 9110 section 7.6.1: hop-by-hop ones end here, the others go on unchanged.

Headers are lists of `(name, value)` byte pairs; names of requests are lower case, as the edge delivers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
# What tells a peer where a request came from is none of its business.
PEER_DROPPED = (
    HOP_BY_HOP
    | {b"content-length", b"expect", b"x-request-id", b"host", b"forwarded", b"x-real-ip"}
    | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"}
)


def first_values(headers: Headers) -> dict[bytes, bytes]:
    """The first value of each header, for who looks for several."""
    return dict(reversed(headers))


def asked_by(given: Mapping[bytes, bytes], client: Sequence[object] | None) -> str:
    """Who asks, as far as that can be known: what a proxy in front of us says, else the address of `client`.

    `given` are first values, `client` is (address, port) of the connection; "" when nobody knows.
    """
    address = given.get(b"x-forwarded-for", b"").split(b",")[0].strip() or given.get(b"x-real-ip", b"")
    return address.decode("latin-1") or (str(client[0]) if client else "")


def connection_tokens(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The lower-case names that `Connection` declares to be hop-by-hop as well."""
    tokens: set[bytes] | None = None
    for name, value in headers:
        if len(name) == 10 and name.lower() == b"connection":
            if tokens is None:
                tokens = set()
            tokens.update([token.strip().lower() for token in value.split(b",")])
    return frozenset(tokens) if tokens else NONE_NAMED


def request_headers(
    headers: Headers,
    *,
    client: str | None,
    length: int | None,
    drop_credentials: bool = False,
    request_id: bytes = b"",
) -> Headers:
    """The headers an engine gets.

    `length` is the size of the body in bytes, None for a request without one. `client` is the peer address
    that is added to `X-Forwarded-For`. `drop_credentials` removes the key the client showed to *us*.
    `request_id` is what the request is called in the log.
    """
    named = connection_tokens(headers)
    forwarded: list[bytes] = []
    result: Headers = []
    for name, value in headers:
        if name in REQUEST_DROPPED or name in named:
            if name == b"x-forwarded-for":
                forwarded.append(value)
            continue
        if drop_credentials and name in CREDENTIALS:
            continue
        result.append((name, value))
    if client is not None:
        forwarded.append(client.encode("ascii", "replace"))
    if forwarded:
        result.append((b"x-forwarded-for", b", ".join(forwarded)))
    _finish(result, length, request_id)
    return result


def peer_headers(
    headers: Headers, *, length: int | None, key: str, drop_credentials: bool, request_id: bytes = b""
) -> Headers:
    """The headers a peer gets; `key` is ours to show there, "" for none. `Host` is left to the caller."""
    named = connection_tokens(headers)
    drop_credentials = drop_credentials or bool(key)
    result = [
        (name, value)
        for name, value in headers
        if not (name in PEER_DROPPED or name in named or (drop_credentials and name in CREDENTIALS))
    ]
    if key:
        secret = key.encode("utf-8", "replace")
        result += [(b"authorization", b"Bearer " + secret), (b"x-api-key", secret)]
    _finish(result, length, request_id)
    return result


def _finish(result: Headers, length: int | None, request_id: bytes) -> None:
    if request_id:
        result.append((b"x-request-id", request_id))
    if length is not None:
        result.append((b"content-length", str(length).encode()))


def response_headers(headers: Headers, request_id: bytes = b"") -> Headers:
    """The headers a client gets: all but the hop-by-hop ones; event streams ask proxies not to buffer.

    With a `request_id` the engine's own is replaced by it.
    """
    named = connection_tokens(headers)
    result: Headers = []
    is_event_stream = has_hint = False
    for name, value in headers:
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in named or (request_id and lower == b"x-request-id"):
            continue
        if lower == b"content-type" and b"text/event-stream" in value.lower():
            is_event_stream = True
        elif lower == b"x-accel-buffering":
            has_hint = True
        result.append((name, value))
    if is_event_stream and not has_hint:
        result.append((b"x-accel-buffering", b"no"))
    if request_id:
        result.append((b"x-request-id", request_id))
    return result
