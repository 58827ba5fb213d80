"""What a request asks for: the name it gives, what that name stands for, and the path it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostler.config.schema import Selector
from hostler.errors import Busy, ClientError, Conflict, NotFound
from hostler.gateway import paths
from hostler.gateway.answers import header
from hostler.gateway.body import peek_form, peek_json, peek_multipart
from hostler.gateway.edge import Scope
from hostler.gateway.headers import Headers
from hostler.gateway.profiles import Profiles
from hostler.gateway.resolve import COMFYUI, Local, Named, Routes
from hostler.gateway.rewrite import is_form, is_json

Order = Callable[[Selector], Sequence[str]]


@dataclass(slots=True)
class Wish:
    """What is wanted: `targets` in the order in which they are asked, by `path` with its escaping.

    `asked` is the name that the request gives. `blocked` says why it may not load a model, "" when it may.
    `tracked` requests count as requests for models; only those that are `filtered` are changed on their way.
    """

    targets: Sequence[Named]
    path: bytes
    asked: str = ""
    selector: str = ""
    stream: bool = False
    blocked: str = ""
    tracked: bool = True
    filtered: bool = True


class SlashMissing(Exception):
    """The page of an engine is asked for without the slash that its links need."""


def by_path(raw_path: bytes, method: str, routes: Routes, profiles: Profiles) -> Wish | None:
    """What a path names by itself; None where the body or the query does. Raises NotFound, SlashMissing."""
    if raw_path.startswith(paths.UPSTREAM):
        return _upstream(raw_path, method, routes, profiles)
    if raw_path.startswith(paths.COMFYUI) or raw_path == paths.COMFYUI[:-1]:
        return _comfyui(raw_path, routes)
    return None


def _upstream(raw_path: bytes, method: str, routes: Routes, profiles: Profiles) -> Wish:
    pins = profiles.pins
    found = paths.split_upstream(raw_path, pins) if pins else None
    name: str | None = None
    if found is not None:
        name = pins[found.name]
    else:
        found = paths.split_upstream(raw_path, routes.targets)
        name = found.name if found is not None else None
    target = routes.targets.get(name) if name else None
    if found is None or target is None:
        raise NotFound("model not found", param="model")
    if not found.rest:
        raise SlashMissing
    rest = found.rest.decode("latin-1")
    blocked = ""
    if isinstance(target, Local) and routes.ignores(rest):
        blocked = f"model {target.id} is not loaded; path matches upstream.ignorePaths"
    tracked = paths.is_model_route(rest, method)
    named = ((found.name, target),)
    return Wish(named, found.rest, found.name, blocked=blocked, tracked=tracked, filtered=False)


def _comfyui(raw_path: bytes, routes: Routes) -> Wish:
    target = routes.targets.get(COMFYUI)
    if not isinstance(target, Local) or target.id != COMFYUI:
        raise NotFound(f"local model {COMFYUI} not found", param="model")
    if raw_path == paths.COMFYUI[:-1]:
        raise SlashMissing
    rest = raw_path[len(paths.COMFYUI) - 1 :]
    blocked = "" if rest == b"/" else f"model {COMFYUI} is not loaded; only /comfyui/ can start it"
    named = ((str(COMFYUI), target),)
    return Wish(named, rest, COMFYUI, blocked=blocked, tracked=False, filtered=False)


def by_body(
    scope: Scope, raw_path: bytes, body: bytes, routes: Routes, profiles: Profiles, order: Order
) -> Wish:
    """What the model in the body or the query stands for. Raises ClientError, NotFound, Busy."""
    asked, stream = find_name(scope, body)
    if not asked:
        raise ClientError("no model id could be identified: " + _why_none(scope, body), param="model")
    name: str | None = asked
    pins = profiles.pins
    if asked in pins:
        name = pins[asked]
        if not name:
            raise NotFound(f"{asked!r} is switched off by the active profile", param="model")
    assert name is not None
    path = paths.engine_path(raw_path)
    selector = routes.selectors.get(name)
    if selector is not None:
        targets = [(one, routes.targets[one]) for one in order(selector) if one in routes.targets]
        if not targets:
            raise Busy(f"the selector {name!r} has no target that could be asked", retry_after=1)
        return Wish(targets, path, asked, selector=name, stream=stream)
    target = routes.targets.get(name)
    if target is None:
        raise NotFound(f"no model called {name!r}; GET /v1/models lists what there is", param="model")
    return Wish(((name, target),), path, asked, stream=stream)


def find_name(scope: Scope, body: bytes) -> tuple[str, bool]:
    """`(model, stream)` as the request gives them, by its method and the type of its body."""
    query: bytes = scope.get("query_string", b"")
    headers: Headers = scope["headers"]
    kind = header(headers, b"content-type")
    if scope["method"] in ("GET", "HEAD"):
        return peek_form(b"", query)
    if b"form-urlencoded" in kind:
        return peek_form(body, query)
    if is_form(kind):
        return peek_multipart(body, kind)
    found = peek_json(body) if body.strip() else ("", False)
    return found if found[0] else peek_form(b"", query)


def _why_none(scope: Scope, body: bytes) -> str:
    kind = header(scope["headers"], b"content-type")
    if b"form-urlencoded" in kind and body.lstrip()[:1] == b"{":
        return "the body looks like JSON and says it is a form; send `Content-Type: application/json`"
    if not body and scope["method"] == "POST":
        return "the request has no body, and so no `model`"
    where = "body" if is_json(kind) or is_form(kind) or scope["method"] == "POST" else "query"
    return f"the request has no `model` in its {where}"


def refuse_blocked(wish: Wish, *, ready: bool) -> None:
    """Raise Conflict for a request that may not load its model while that is not ready."""
    if wish.blocked and not ready:
        raise Conflict(wish.blocked, param="model")
