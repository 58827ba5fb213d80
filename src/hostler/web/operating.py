"""The routes by which people steer: profiles, requests in flight, and whether everything is up."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hostler.errors import ClientError, NotFound, TooLarge
from hostler.web.answers import json
from hostler.web.state import state_of

# A profile's name and its braces.
MAX_BODY_BYTES = 65_536


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/ready", ready),
        Route("/api/profiles", profiles),
        Route("/api/profiles/active", activate, methods=["PUT"]),
        Route("/api/inflight", in_flight),
        Route("/api/inflight/{id}/cancel", cancel, methods=["POST"]),
    ]


async def ready(request: Request) -> Response:
    """Whether all that is to be loaded at the start has been; 503 until then, and when something failed."""
    preload = state_of(request).preload
    return json({"ready": preload.ready, "preload": preload.shown()}, status=200 if preload.ready else 503)


async def profiles(request: Request) -> Response:
    """All profiles, and which one is active."""
    return json(state_of(request).gateway.profiles.shown())


async def activate(request: Request) -> Response:
    """Make a profile the active one; null or an empty name is none."""
    active = state_of(request).gateway.profiles
    name = _profile_name(await _small_body(request))
    active.activate(name or None)
    return json({"active": active.active})


def _profile_name(body: bytes) -> str | None:
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ClientError("invalid profile request: the body is not JSON") from None
    if not isinstance(found, dict):
        raise ClientError("invalid profile request: the body must be an object")
    if "name" not in found:
        raise ClientError("profile name is required", param="name")
    name = found["name"]
    if name is not None and not isinstance(name, str):
        raise ClientError("profile name must be a string or null", param="name")
    return name


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge("the request body is larger than a profile's name can be")
    return body


async def in_flight(request: Request) -> Response:
    """The requests that are being served."""
    state = state_of(request)
    return json({"requests": state.gateway.in_flight.snapshot(state.clock.monotonic())})


async def cancel(request: Request) -> Response:
    """End a request, by its number or its request id."""
    if not state_of(request).gateway.in_flight.cancel(request.path_params["id"]):
        raise NotFound("inflight request not found")
    return json({"msg": "ok"})
