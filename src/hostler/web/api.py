"""The JSON routes: what runs, load and unload."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hostler import __version__
from hostler.core import ModelId
from hostler.errors import NotFound
from hostler.fleet.slot import ModelStatus
from hostler.gateway.edge import ClientGone, cancelled_when_gone, edge_of
from hostler.gateway.origin import Origin
from hostler.web.answers import json
from hostler.web.names import LIVE
from hostler.web.pages import root_of
from hostler.web.state import WebState, mask, state_of

# Nobody gets this answer; nginx calls it so.
CLIENT_GONE = 499


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/running", running),
        Route("/unload", unload_all_plain),
        Route("/api/version", version),
        Route("/api/models", status),
        Route("/api/models/unload", unload_all, methods=["POST"]),
        Route("/api/models/unload/{model:path}", unload, methods=["POST"]),
        Route("/api/models/load/{model:path}", load, methods=["POST"]),
        Route("/upstream", to_ui),
    ]


async def version(request: Request) -> Response:
    """What is running; a wheel knows neither commit nor build date, so those are empty."""
    return json({"version": __version__, "commit": "", "build_date": ""})


async def to_ui(request: Request) -> Response:
    """Where people end up who type the address into a browser."""
    return RedirectResponse(root_of(request) + "/ui/", 302)


async def running(request: Request) -> Response:
    """Every model that has a process, in llama-swap's shape with additions."""
    state = state_of(request)
    rows = [_running_row(state, status) for status in state.fleet.status() if status.state in LIVE]
    return json({"running": rows})


def _running_row(state: WebState, status: ModelStatus) -> dict[str, Any]:
    model = state.fleet.model(status.id)
    return {
        "model": status.id,
        "state": status.state.value,
        "cmd": mask(status.command, state.config.secrets),
        "proxy": mask(status.base_url, state.config.secrets),
        "ttl": model.ttl,
        "name": model.name,
        "description": model.description,
        "pid": status.pid,
        "run": status.run,
        "port": Origin.parse(status.base_url).port,
        "active": status.active,
        "waiting": status.waiting,
        "uptime": status.uptime,
    }


async def status(request: Request) -> Response:
    """Every model of the configuration and how it is."""
    state = state_of(request)
    return json({"models": [model_status(state, row) for row in state.fleet.status()]})


def model_status(state: WebState, row: ModelStatus) -> dict[str, Any]:
    """One model of `GET /api/models`; times in seconds."""
    model = state.fleet.model(row.id)
    return {
        "id": row.id,
        "state": row.state.value,
        "name": model.name,
        "description": model.description,
        "aliases": list(model.aliases),
        "unlisted": model.unlisted,
        "pid": row.pid,
        "run": row.run,
        "active": row.active,
        "waiting": row.waiting,
        "since": row.since,
        "uptime": row.uptime,
        "ttl": model.ttl,
        "ttl_left": row.ttl_left,
        "last_exit": row.last_exit,
        "last_error": mask(row.last_error, state.config.secrets),
    }


async def unload_all_plain(request: Request) -> Response:
    """Stop every model; a GET because llama-swap's clients use one."""
    await state_of(request).fleet.unload_all()
    return PlainTextResponse("OK")


async def unload_all(request: Request) -> Response:
    """Stop every model and answer when all are gone."""
    await state_of(request).fleet.unload_all()
    return json({"msg": "ok"})


async def unload(request: Request) -> Response:
    """Stop one model and answer when it is gone."""
    state = state_of(request)
    await state.fleet.unload(_model(state, request))
    return PlainTextResponse("OK")


async def load(request: Request) -> Response:
    """Bring one model up and answer when it is ready."""
    state = state_of(request)
    model = _model(state, request)
    began = state.clock.monotonic()
    try:
        with cancelled_when_gone(edge_of(request.scope, request.receive)):
            await state.fleet.load(model)
    except ClientGone:
        return Response(status_code=CLIENT_GONE)
    return json({"model": model, "state": "ready", "seconds": round(state.clock.monotonic() - began, 3)})


def _model(state: WebState, request: Request) -> ModelId:
    name = request.path_params["model"]
    model = state.config.resolve(name)
    if model is None:
        raise NotFound("model not found", param="model")
    return model
