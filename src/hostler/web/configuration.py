"""The routes that read the configuration again: what that would change, and doing it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hostler.config.problems import ConfigProblems
from hostler.errors import ConfigRejected, Conflict
from hostler.web.answers import json
from hostler.web.state import Change, Reloads, state_of


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/api/config/plan", plan, methods=["POST"]),
        Route("/api/config/reload", reload, methods=["POST"]),
    ]


async def plan(request: Request) -> Response:
    """What a reload would do now; nothing is changed."""
    reloader = _reloader(request)
    try:
        return _answer(await reloader.plan(), applied=False)
    except ConfigProblems as error:
        raise _rejected(error) from error


async def reload(request: Request) -> Response:
    """Read the configuration and use it; answers when that is done."""
    reloader = _reloader(request)
    try:
        return _answer(await reloader.reload(), applied=True)
    except ConfigProblems as error:
        raise _rejected(error) from error


def _reloader(request: Request) -> Reloads:
    reloader = state_of(request).reloader
    if reloader is None:
        raise Conflict("this server was started without a configuration file; there is nothing to read again")
    return reloader


def _answer(change: Change, *, applied: bool) -> Response:
    return json(
        {
            "applied": applied,
            "empty": change.plan.empty,
            "plan": change.plan.as_dict(),
            "warnings": [warning.as_dict() for warning in change.warnings],
        }
    )


def _rejected(error: ConfigProblems) -> ConfigRejected:
    return ConfigRejected(
        f"{error.message}\nThe old configuration stays in use.",
        details={"problems": [problem.as_dict() for problem in error.problems]},
    )
