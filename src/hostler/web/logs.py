"""The log routes: plain text, history first and then live, from one cursor.

A stream ends when the client leaves or Hostler stops. A client that reads slowly delays nobody: its
follower stands still until the socket takes more, and then is told how many bytes it missed.
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hostler.config.problems import did_you_mean
from hostler.config.schema import ApiKey
from hostler.errors import ClientError, Forbidden
from hostler.gateway.edge import ClientGone, cancelled_when_gone, edge_of
from hostler.logs.formats import as_run
from hostler.logs.hub import LogHub
from hostler.logs.interrupted import UNKNOWN
from hostler.logs.monitor import LogMonitor
from hostler.logs.query import Query
from hostler.logs.raw import RawFollower
from hostler.logs.text import TextStream
from hostler.web.answers import json
from hostler.web.log_queries import RecordStream, query_of
from hostler.web.pages import root_of
from hostler.web.state import WebState, state_of

STREAM_HEADERS = {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
    "cache-control": "no-cache",
}


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/logs", history),
        Route("/logs/runs/{name:path}", runs),
        Route("/logs/stream", stream),
        Route("/logs/stream/{name:path}", stream),
        Route("/logs/{name:path}", history),
    ]


async def history(request: Request) -> Response:
    """What is held of a log now; a browser is shown the page instead of the combined log."""
    name = request.path_params.get("name", "")
    if not name and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(root_of(request) + "/ui/", 302)
    state = state_of(request)
    query = query_of(request, state.clock.wall().timestamp())
    monitor = find_monitor(state, name)
    names = readable(request, names_of(state, monitor, query))
    if query.selects:
        return RecordStream(state.logs, names, query, live=False)
    held = monitor.history() or await state.logs.on_disk(monitor.name)
    return PlainTextResponse(held, headers={"x-content-type-options": "nosniff"})


async def stream(request: Request) -> Response:
    """A log that goes on."""
    state = state_of(request)
    query = query_of(request, state.clock.wall().timestamp())
    monitor = find_monitor(state, request.path_params.get("name", ""))
    names = readable(request, names_of(state, monitor, query))
    if query.selects:
        await state.logs.check(*names, query=query)
        return RecordStream(state.logs, names, query, live=True)
    return LogStream(state.hub, monitor, history=query.history)


async def runs(request: Request) -> Response:
    """The runs of a model, newest first; of the one that goes on, what is known so far."""
    state = state_of(request)
    log = find_monitor(state, request.path_params["name"])
    readable(request, [log.name])
    found = await asyncio.to_thread(state.logs.runs, log.name)
    shown = [as_run(run) for run in reversed(found)]
    current = next((state.fleet.slot(row.id).run for row in state.fleet.status() if row.id == log.name), None)
    for run in shown:
        if "exit" in run:
            continue
        if current is None or run["run"] != current.number:
            run["exit"] = UNKNOWN  # Hostler was killed
            continue
        run["peak_memory_bytes"] = current.peak_memory
        if "start" in run:
            run["bytes"] = log.end - run["start"]
    return json({"model": log.name, "epoch": state.logs.epoch, "runs": shown})


def names_of(state: WebState, monitor: LogMonitor, query: Query) -> list[str]:
    """The logs that a request is about; none means all, those to come included."""
    found: list[str] = []
    for one in [find_monitor(state, name) for name in query.models] or [monitor]:
        if one is state.hub.combined:
            return []
        found += state.hub.models() if one is state.hub.upstream else [one.name]
    return list(dict.fromkeys(found))


def readable(request: Request, names: list[str]) -> list[str]:
    """`names`, when the key of the request may read all of these logs; raises Forbidden."""
    key: ApiKey | None = request.scope.get("api_key")
    if key is not None and key.models:
        config = state_of(request).config
        if not names or not set(names) <= {config.resolve(model) for model in key.models}:
            raise Forbidden("this API key may read the logs of its own models only")
    return names


def find_monitor(state: WebState, name: str) -> LogMonitor:
    """The log called `name`: nothing, `proxy`, `upstream`, a model id or an alias.

    Ids may hold slashes; segments after the longest one that fits are ignored, and so is a query that got
    into the path. Raises ClientError that names what there is.
    """
    for text in (name, unquote(name).split("?", 1)[0]):
        wanted = text.strip("/")
        held = state.hub.find(wanted)
        if held is not None and wanted not in state.config.models:
            return held  # of a model that is no longer configured, perhaps
        segments = wanted.split("/")
        for count in range(len(segments), 0, -1):
            model = state.config.resolve("/".join(segments[:count]))
            if model is not None:
                return state.hub.model(model)
    known = ", ".join(repr(str(model)) for model in sorted(state.config.models)[:50])
    hint = did_you_mean(name, ["proxy", "upstream", *state.config.models, *state.config.aliases])
    raise ClientError(
        f"invalid logger. Use 'proxy', 'upstream' or a model's ID: {known or '(there are none)'}{hint}"
    )


class LogStream(Response):
    """A response that follows a monitor until the client leaves."""

    def __init__(self, hub: LogHub, monitor: LogMonitor, *, history: bool) -> None:
        super().__init__(None, headers=STREAM_HEADERS)
        self._hub = hub
        self._monitor = monitor
        self._history = history

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["content-length"]
        # The follower is made before the headers go out: a client that sees them misses nothing after.
        follower = RawFollower(self._hub, self._monitor, history=self._history)
        text = TextStream()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                with cancelled_when_gone(edge_of(scope, receive)):
                    async for chunk in follower:
                        body = text.render(chunk)
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGone:
            pass
        finally:
            follower.close()
