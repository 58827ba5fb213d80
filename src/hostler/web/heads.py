"""What a request's head must be, beyond what llhttp checks."""

from __future__ import annotations

from collections.abc import Mapping

from hostler.gateway.headers import Headers

# What says where a body ends.
FRAMING = (b"content-length", b"transfer-encoding")


def wrong_head(version: str, headers: Headers, given: Mapping[bytes, bytes]) -> str:
    """What the parser lets pass and RFC 9112 does not (sections 2.3, 3.2 and 6.1); "" when the head is right.

    Two servers behind one another must not differ in whom a request is for. `given` are the first values.
    """
    if version not in ("1.0", "1.1"):
        return f"HTTP/{version}"
    coding = given.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or coding.strip().lower() != b"chunked"):
        return "a Transfer-Encoding other than chunked"
    if len(given) < len(headers):  # some field came more than once
        names = [name for name, _ in headers]
        if names.count(b"transfer-encoding") > 1:
            return "a Transfer-Encoding other than chunked"
        if names.count(b"host") > 1:
            return "more than one Host"
    return "no Host" if version == "1.1" and b"host" not in given else ""


def has_body(headers: Headers) -> bool:
    """Whether a body is announced."""
    return any(name in FRAMING and value.strip() != b"0" for name, value in headers)
