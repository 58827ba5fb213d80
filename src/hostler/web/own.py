"""The routes that are ours, as one Starlette application.

Loaded with the first request for one of them: who only passes requests on needs neither Starlette nor these.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hostler.errors import HostlerError, InternalError, MethodNotAllowed, NotFound
from hostler.gateway.answers import add_log_url, error_answer
from hostler.web import (
    api,
    captures,
    configuration,
    events,
    logs,
    metrics,
    names,
    operating,
    pages,
    performance,
    request_logs,
)
from hostler.web.state import WebState

MODULES = (
    api, names, operating, configuration, logs, request_logs, metrics, captures, performance, events, pages,
)  # fmt: skip


def make(state: WebState) -> Starlette:
    """The application; its routes find `state` in it."""
    made = Starlette(
        routes=[route for module in MODULES for route in module.routes()],
        exception_handlers={
            HostlerError: _on_error,
            HTTPException: _on_http_error,
            Exception: _on_bug,
        },
    )
    made.router.redirect_slashes = False
    made.state.hostler = state
    return made


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HostlerError)
    add_log_url(error, request.scope["headers"], request.url.scheme)
    accept = request.headers.get("accept", "").encode("latin-1")
    status, headers, body = error_answer(error, path=request.url.path, accept=accept)
    return Response(body, status, {name.decode(): value.decode("latin-1") for name, value in headers})


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known: HostlerError
    if error.status_code == 404:
        known = NotFound(f"there is nothing at {request.url.path}")
    elif error.status_code == 405:
        known = MethodNotAllowed(f"{request.url.path} does not take {request.method}")
    else:
        known = InternalError(str(error.detail))
    answer = await _on_error(request, known)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _on_bug(request: Request, error: Exception) -> Response:
    # The server logs what it was; a traceback would tell a client nothing.
    return await _on_error(request, InternalError("Hostler failed to serve this request; its log says why"))
