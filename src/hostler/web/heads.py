"""What a request's head must be, beyond what llhttp checks."""

from __future__ import annotations

from hostler.gateway.headers import Headers

# What says where a body ends.
FRAMING = (b"content-length", b"transfer-encoding")


def wrong_head(version: str, headers: Headers) -> str:
    """What the parser lets pass and RFC 9112 does not (sections 2.3, 3.2 and 6.1); "" when the head is right.

    Two servers behind one another must not differ in whom a request is for.
    """
    if version not in ("1.0", "1.1"):
        return f"HTTP/{version}"
    hosts = 0
    chunked = False
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if chunked or value.strip().lower() != b"chunked" or version == "1.0":
                return "a Transfer-Encoding other than chunked"
            chunked = True
    if hosts > 1:
        return "more than one Host"
    return "no Host" if not hosts and version == "1.1" else ""


def has_body(headers: Headers) -> bool:
    """Whether a body is announced."""
    return any(name in FRAMING and value.strip() != b"0" for name, value in headers)
