"""JSON as an answer."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response


def json(value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(
        msgspec.json.encode(value), status_code=status, media_type="application/json", headers=headers
    )
