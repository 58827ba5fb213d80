"""The model list: every name that requests can use, in the shape of the OpenAI API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hostler.config.schema import Capabilities, Model, Selector
from hostler.core import State
from hostler.gateway.resolve import Local
from hostler.web.answers import json
from hostler.web.state import WebState, state_of

# States in which a model's process exists; `loaded` in the model list is one of these.
LIVE = frozenset((State.STARTING, State.READY, State.STOPPING))
# Metadata that says what `capabilities` say better, and would contradict them.
DESCRIBED = ("architecture", "capabilities", "supported_parameters", "context_length")


def routes() -> list[Route]:
    """Every route of this module."""
    return [Route("/v1/models", models), Route("/models", models)]


async def models(request: Request) -> Response:
    """The model list of the OpenAI API."""
    state = state_of(request)
    now = int(state.clock.wall().timestamp())
    records = [record | {"created": now} for record in every_record(state)]
    records.sort(key=lambda record: str(record["id"]))
    origin = request.headers.get("origin")
    return json(
        {"object": "list", "data": records}, {"Access-Control-Allow-Origin": origin} if origin else None
    )


def every_record(state: WebState) -> Iterator[dict[str, Any]]:
    """Models, their aliases where wanted, peers' models, selectors, and names that only a profile has."""
    config = state.config
    for model in config.models.values():
        if model.unlisted:
            continue
        loaded = state.fleet.state(model.id) in LIVE
        yield model_record(model, loaded)
        if config.include_aliases_in_list:
            yield from (alias_record(model, alias, loaded) for alias in model.aliases)
    for peer in config.peers.values():
        for name in dict.fromkeys(peer.models):
            inner = {"type": "peer", "peerID": peer.id}
            yield _record(f"{peer.id}/{name}", inner, loaded=False, name=f"{peer.id}: {name}")
    for selector in config.selectors.values():
        if not selector.unlisted:
            yield selector_record(state, selector)
    yield from _pin_records(state)


def model_record(model: Model, loaded: bool) -> dict[str, Any]:
    """One entry of the model list; keys that llama-swap's clients read keep their names."""
    inner: dict[str, Any] = {**model.metadata, "type": "model"}
    if model.aliases:
        inner["aliases"] = list(model.aliases)
    return _model(model, model.id, inner, loaded)


def alias_record(model: Model, alias: str, loaded: bool) -> dict[str, Any]:
    """The entry of an alias, where aliases are listed."""
    return _model(model, alias, {**model.metadata, "type": "alias", "modelID": model.id}, loaded)


def selector_record(state: WebState, selector: Selector) -> dict[str, Any]:
    """The entry of a selector; loaded as soon as a target of ours that it would ask is."""
    considered = selector.targets[:1] if selector.strategy == "pin" else selector.targets
    locals_ = (state.gateway.routes.local(name) for name in considered)
    states = {state.fleet.state(model) for model in locals_ if model is not None}
    inner: dict[str, Any] = {
        **selector.metadata,
        "type": "selector",
        "strategy": selector.strategy,
        "targets": list(selector.targets),
    }
    if selector.strategy == "spillover":
        inner["spillover"] = selector.spillover
    loaded = not states.isdisjoint((State.READY, State.STARTING))
    return _record(selector.id, inner, loaded=loaded, name=selector.name, description=selector.description)


def _pin_records(state: WebState) -> Iterator[dict[str, Any]]:
    routes = state.gateway.routes
    for name, target in state.gateway.profiles.pins.items():
        if not target or name in routes.targets or name in routes.selectors:
            continue
        found = routes.targets.get(target)
        loaded = isinstance(found, Local) and state.fleet.state(found.id) in LIVE
        yield _record(name, {"type": "profile", "target": target}, loaded=loaded)


def _model(model: Model, name: str, inner: dict[str, Any], loaded: bool) -> dict[str, Any]:
    described = capability_keys(model.capabilities)
    if described:
        for key in DESCRIBED:
            inner.pop(key, None)
    record = _record(name, inner, loaded=loaded, name=model.name, description=model.description)
    record.update(described)
    if model.capabilities.context:
        record["meta"]["n_ctx"] = model.capabilities.context
    return record


def _record(
    identity: str, inner: dict[str, Any], *, loaded: bool, name: str = "", description: str = ""
) -> dict[str, Any]:
    record: dict[str, Any] = {"id": identity, "object": "model", "created": 0, "owned_by": "hostler"}
    if name.strip():
        record["name"] = name.strip()
    if description.strip():
        record["description"] = description.strip()
    record["meta"] = {"llamaswap": inner}
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
