"""The route of captures: one whole request and its answer."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hostler.errors import ClientError, NotFound
from hostler.web.answers import json
from hostler.web.state import state_of


def routes() -> list[Route]:
    """Every route of this module."""
    return [Route("/api/captures/{id}", capture)]


async def capture(request: Request) -> Response:
    """The capture of a row of the activity; bodies are in base64, null is one that was not kept."""
    text = request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ClientError("invalid capture ID", param="id")
    found = await state_of(request).observatory.captures.get(int(text))
    if found is None:
        raise NotFound("capture not found", param="id")
    return json(
        {
            "id": found.id,
            "req_path": found.path,
            "req_headers": found.request_headers,
            "req_body": _base64(found.request_body),
            "resp_headers": found.response_headers,
            "resp_body": _base64(found.response_body),
            "model": found.model,
            "truncated": found.truncated,
        }
    )


def _base64(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode()
