"""Reading a request's body, within bounds, and finding in it what routing needs.

Bounds: one body is at most `limit` bytes (413); all bodies held at one time are at most `BodyBudget.total`
bytes (503); a client that stops sending, or sends less than a minimum on average, is cut off (408) by the
rule of Apache's mod_reqtimeout (`body=20,MinRate=500`): 20 s, and a second more for every 500 bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from hostler.errors import Busy, ClientError, RequestTimeout, TooLarge
from hostler.gateway.edge import ClientGone
from hostler.gateway.headers import Headers
from hostler.gateway.multipart import Form

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

BODY_SECONDS = 20.0
BODY_MIN_RATE = 500.0


class BodyBudget:
    """Counts the bytes of all request bodies in memory; one object for each gateway."""

    __slots__ = ("held", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0

    def take(self, size: int) -> None:
        """Claim `size` bytes; raises Busy when they would not fit."""
        if self.held + size > self.total:
            raise Busy(
                "too many large requests at once: "
                f"{self.held} of {self.total} bytes for request bodies are in use; try again",
                retry_after=1,
            )
        self.held += size

    def give(self, size: int) -> None:
        """Return a claim."""
        self.held -= size


class Peek(msgspec.Struct):
    """The members of a JSON body that routing needs; the rest is skipped, not built."""

    model: Any = None
    stream: Any = None


peek = msgspec.json.Decoder(Peek).decode


def content_length(headers: Headers) -> int | None:
    """The declared size of the body in bytes, None when the request is chunked or has no body."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def too_large(limit: int) -> TooLarge:
    """The 413 for a body above `limit` bytes."""
    return TooLarge(
        f"the request body is larger than {limit / 1_048_576:g} MB (maxBodyMB in the configuration)"
    )


async def read_body(
    receive: Receive, headers: Headers, limit: int, budget: BodyBudget, *, here: bytes | None = None
) -> bytes:
    """The whole body; its size is claimed from `budget` and must be given back by the caller.

    `here` is the body, where the server had all of it already. Raises TooLarge, RequestTimeout, Busy, or
    ClientGone; then nothing stays claimed.
    """
    declared = content_length(headers)
    if declared is not None and declared > limit:
        raise too_large(limit)
    message = await _first(receive) if here is None else {"body": here}
    data: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(data) > limit:
            raise too_large(limit)
        budget.take(len(data))
        return data
    return await _read_rest(receive, data, limit, budget)


async def _first(receive: Receive) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            message = await receive()
    except TimeoutError:
        raise RequestTimeout("the request body did not arrive in time") from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


async def _read_rest(receive: Receive, data: bytes, limit: int, budget: BodyBudget) -> bytes:
    body = bytearray()
    more = True
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(BODY_SECONDS) as deadline:
            while True:
                budget.take(len(data))
                body += data
                if len(body) > limit:
                    raise too_large(limit)
                if not more:
                    return bytes(body)
                deadline.reschedule(start + BODY_SECONDS + len(body) / BODY_MIN_RATE)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                data, more = message.get("body", b""), message.get("more_body", False)
    except TimeoutError:
        budget.give(len(body))
        raise RequestTimeout(
            f"the request body came too slowly: {len(body)} bytes in "
            f"{asyncio.get_running_loop().time() - start:.0f} s"
        ) from None
    except BaseException:
        budget.give(len(body))
        raise


def peek_json(body: bytes) -> tuple[str, bool]:
    """`(model, stream)` of a JSON body; model is "" when the body has none.

    Numbers and booleans given as a model are taken as their text, as llama-swap does. Raises ClientError
    when the body is not a JSON object.
    """
    try:
        found = peek(body)
    except msgspec.ValidationError:
        raise ClientError("the request body must be a JSON object") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ClientError(f"the request body is not valid JSON: {error}") from None
    model = found.model
    if isinstance(model, bool):
        model = "true" if model else "false"
    elif isinstance(model, int | float):
        model = str(model)
    elif not isinstance(model, str):
        model = ""
    return model, found.stream is True


def peek_form(body: bytes, query: bytes) -> tuple[str, bool]:
    """`(model, stream)` of an urlencoded body or, where that has none, of the query."""
    for text in (body, query):
        try:
            fields = parse_qs(text.decode("utf-8", "replace"), max_num_fields=1000)
        except ValueError:
            raise ClientError("the request has too many form fields") from None
        if "model" in fields:
            return fields["model"][0], fields.get("stream", [""])[0] == "true"
    return "", False


def peek_multipart(body: bytes, content_type: bytes) -> tuple[str, bool]:
    """`(model, stream)` of a multipart form; the parts themselves, files mostly, are not looked into.

    Raises ClientError when it is not one.
    """
    form = Form(body, content_type)
    return form.first(b"model") or "", form.first(b"stream") == "true"
