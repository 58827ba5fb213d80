"""The JSON routes: what models there are, what runs, load and unload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hostler import __version__
from hostler.config.schema import Capabilities, Model
from hostler.core import ModelId, State
from hostler.errors import NotFound
from hostler.fleet.slot import ModelStatus
from hostler.gateway.edge import ClientGone, cancelled_when_gone, edge_of
from hostler.gateway.origin import Origin
from hostler.web.pages import root_of
from hostler.web.state import WebState, mask, state_of

# Nobody gets this answer; nginx calls it so.
CLIENT_GONE = 499
# States in which a model's process exists; `loaded` in the model list is one of these.
LIVE = frozenset((State.STARTING, State.READY, State.STOPPING))


def json(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), media_type="application/json", headers=headers)


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/health", health),
        Route("/wol-health", health),
        Route("/v1/models", models),
        Route("/models", models),
        Route("/running", running),
        Route("/unload", unload_all_plain),
        Route("/api/version", version),
        Route("/api/models", status),
        Route("/api/models/unload", unload_all, methods=["POST"]),
        Route("/api/models/unload/{model:path}", unload, methods=["POST"]),
        Route("/api/models/load/{model:path}", load, methods=["POST"]),
        Route("/upstream", to_ui),
    ]


async def health(request: Request) -> Response:
    """`OK` as soon as requests are served."""
    return PlainTextResponse("OK")


async def version(request: Request) -> Response:
    """What is running; a wheel knows neither commit nor build date, so those are empty."""
    return json({"version": __version__, "commit": "", "build_date": ""})


async def to_ui(request: Request) -> Response:
    """Where people end up who type the address into a browser."""
    return RedirectResponse(root_of(request) + "/ui/", 302)


async def models(request: Request) -> Response:
    """The model list of the OpenAI API."""
    state = state_of(request)
    now = int(state.clock.wall().timestamp())
    records: list[dict[str, Any]] = []
    for model in state.config.models.values():
        if model.unlisted:
            continue
        loaded = state.fleet.state(model.id) in LIVE
        records.append(model_record(model, now, loaded))
        if state.config.include_aliases_in_list:
            records += [alias_record(model, alias, now, loaded) for alias in model.aliases]
    records.sort(key=lambda record: str(record["id"]))
    origin = request.headers.get("origin")
    return json(
        {"object": "list", "data": records}, {"Access-Control-Allow-Origin": origin} if origin else None
    )


def model_record(model: Model, now: int, loaded: bool) -> dict[str, Any]:
    """One entry of the model list; keys that llama-swap's clients read keep their names."""
    inner: dict[str, Any] = {**model.metadata, "type": "model"}
    if model.aliases:
        inner["aliases"] = list(model.aliases)
    return _record(model, model.id, inner, now, loaded)


def alias_record(model: Model, alias: str, now: int, loaded: bool) -> dict[str, Any]:
    """The entry of an alias, where aliases are listed."""
    return _record(model, alias, {**model.metadata, "type": "alias", "modelID": model.id}, now, loaded)


def _record(model: Model, name: str, inner: dict[str, Any], now: int, loaded: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"id": name, "object": "model", "created": now, "owned_by": "hostler"}
    if model.name.strip():
        record["name"] = model.name.strip()
    if model.description.strip():
        record["description"] = model.description.strip()
    meta: dict[str, Any] = {"llamaswap": inner}
    described = capability_keys(model.capabilities)
    if described:
        record.update(described)
        for key in ("architecture", "capabilities", "supported_parameters", "context_length"):
            inner.pop(key, None)
        if model.capabilities.context:
            meta["n_ctx"] = model.capabilities.context
    record["meta"] = meta
    record["status"] = {"value": "loaded" if loaded else "unloaded"}
    return record


def capability_keys(capabilities: Capabilities) -> dict[str, Any]:
    """What a model can do, in the keys that clients look at; empty when nothing was declared."""
    inputs, outputs = capabilities.inputs, capabilities.outputs
    found = {
        "vision": "image" in inputs,
        "audio_transcriptions": "audio" in inputs and "text" in outputs,
        "audio_speech": "text" in inputs and "audio" in outputs,
        "image_generation": "text" in inputs and "image" in outputs,
        "image_to_image": "image" in inputs and "image" in outputs,
        "function_calling": capabilities.tools,
        "reranker": capabilities.reranker,
    }
    record: dict[str, Any] = {}
    if inputs or outputs:
        architecture: dict[str, Any] = {}
        if inputs:
            architecture["input_modalities"] = list(inputs)
        if outputs:
            architecture["output_modalities"] = list(outputs)
        if inputs and outputs:
            architecture["modality"] = f"{'+'.join(inputs)}->{'+'.join(outputs)}"
        record["architecture"] = architecture
    if any(found.values()):
        record["capabilities"] = {key: True for key, value in found.items() if value}
    if capabilities.tools:
        record["supported_parameters"] = ["tools", "tool_choice"]
    if capabilities.context:
        record["context_length"] = capabilities.context
    return record


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
