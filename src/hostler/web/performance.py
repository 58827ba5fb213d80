"""The routes of the machine: its samples and its description."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hostler.errors import HostlerError
from hostler.metrics.performance import shape
from hostler.metrics.query import moment
from hostler.web.answers import json
from hostler.web.state import state_of


def routes() -> list[Route]:
    """Every route of this module."""
    return [Route("/api/performance", performance), Route("/api/hardware", hardware)]


async def performance(request: Request) -> Response:
    """The samples of the last hour, or those after `after`."""
    monitor = state_of(request).observatory.performance
    if not monitor.enabled:
        return json({"enabled": False}, status=503)
    after = request.query_params.get("after", "")
    samples = monitor.history(moment(after, "after") if after else None)
    return json(shape(samples, filtered=bool(after)))


async def hardware(request: Request) -> Response:
    """What this machine is."""
    try:
        return json(await state_of(request).observatory.hardware())
    except HostlerError:
        raise
    except Exception:  # noqa: BLE001 - drivers fail in ways of their own; the answer is the same
        return PlainTextResponse("hardware detection unavailable", 503)
