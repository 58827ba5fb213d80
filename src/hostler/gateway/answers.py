"""Errors as HTTP answers, in the shape the client can read.

JSON in the OpenAI shape by default, with Anthropic's outer `type` on Anthropic's paths; plain text or HTML
where `Accept` asks for them, by llama-swap's rule (substring tests, in that order).
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from hostler.errors import HostlerError
from hostler.gateway.headers import Headers


def header(headers: Headers, name: bytes) -> bytes:
    """The first value of `name` (lower case), b"" when there is none."""
    for key, value in headers:
        if key == name:
            return value
    return b""


def add_log_url(error: HostlerError, headers: Headers, scheme: str) -> None:
    """Tell where the whole log of the model is that `error` is about, as this client can reach it."""
    model = error.details.get("model")
    if isinstance(model, str) and "log_url" not in error.details:
        host = header(headers, b"host").decode("latin-1") or "127.0.0.1:8080"
        error.details["log_url"] = f"{scheme}://{host}/logs/stream/{quote(model, safe='/')}"


def error_answer(error: HostlerError, *, path: str = "", accept: bytes = b"") -> tuple[int, Headers, bytes]:
    """`(status, headers, body)` for `error`."""
    accept = accept.lower()
    if b"text/plain" in accept:
        kind, body = b"text/plain; charset=utf-8", f"hostler: {error.message}".encode()
    elif b"text/html" in accept:
        kind = b"text/html; charset=utf-8"
        import html  # its table of entities takes 250 KB, and few look with a browser

        body = f"<html><body><h1>hostler</h1><p>{html.escape(error.message)}</p></body></html>".encode()
    else:
        kind, body = b"application/json", msgspec.json.encode(error_object(error, path))
    headers: Headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="hostler"'))
    if error.status == 408:
        # The rest of the request may still come; the connection cannot carry another one.
        headers.append((b"connection", b"close"))
    return error.status, headers, body


def error_object(error: HostlerError, path: str = "") -> dict[str, object]:
    """The JSON object for `error`; `/v1/messages` gets the outer `type` Anthropic's clients look for."""
    body = error.body()
    return {"type": "error", **body} if "/messages" in path else body


def error_event(error: HostlerError, path: str = "") -> bytes:
    """`error` as the last event of a stream of server-sent events."""
    name = b"event: error\n" if "/messages" in path else b""
    return name + b"data: " + msgspec.json.encode(error_object(error, path)) + b"\n\n"
