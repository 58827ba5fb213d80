"""The event streams: `/api/events` as llama-swap's clients know it, `/api/v2/events` for new ones.

A stream is a cursor in the ring of events and one in each log it shows; it has no queue. While its client
does not take what was sent it stands still, and then it is told what it missed.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hostler.gateway.edge import ClientGone, cancelled_when_gone, edge_of
from hostler.web.events_new import NewStream
from hostler.web.events_old import OldStream
from hostler.web.state import WebState, state_of

# Proxies give up on connections that are silent for a minute; a client that vanished is noticed as well.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b":\n\n"
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "connection": "keep-alive",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
}


class Frames(Protocol):
    """What one stream has to say."""

    def take(self) -> bytes:
        """Everything since the last call; empty when there is nothing."""
        ...

    def waiters(self) -> list[tuple[Any, asyncio.Future[None]]]:
        """Futures of which one is fulfilled when `take` has something, each with whom to tell that nobody
        waits any more; in the same step in which `take` was empty.
        """
        ...

    async def close(self) -> None:
        """It is over."""
        ...


def routes() -> list[Route]:
    """Every route of this module."""
    return [Route("/api/events", old_events), Route("/api/v2/events", new_events)]


async def old_events(request: Request) -> Response:
    """Frames as llama-swap sends them."""
    state = state_of(request)
    return EventStream(state, OldStream(state))


async def new_events(request: Request) -> Response:
    """Plain JSON with ids. Parameters: `types` (a list with commas), `logs` (repeatable)."""
    state = state_of(request)
    types = frozenset(filter(None, request.query_params.get("types", "").split(",")))
    last = request.headers.get("last-event-id") or request.query_params.get("after", "")
    names = request.query_params.getlist("logs")
    return EventStream(state, await NewStream.open(state, types, names, last))


class EventStream(Response):
    """A response that goes on until its client leaves or Hostler stops."""

    def __init__(self, state: WebState, frames: Frames) -> None:
        super().__init__(None, headers=HEADERS)
        self._state = state
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["content-length"]
        bus = self._state.observatory.bus
        bus.join()
        self._state.feed.look()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                with cancelled_when_gone(edge_of(scope, receive)):
                    await self._serve(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGone:
            pass
        finally:
            bus.leave()
            await self._frames.close()

    async def _serve(self, send: Send) -> None:
        bus = self._state.observatory.bus
        while True:
            closed = bus.closed
            body = self._frames.take()
            if not body:
                if closed:
                    return
                body = b"" if await self._wait() else HEARTBEAT
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _wait(self) -> bool:
        """Until there may be something to send; False when there was nothing for a while."""
        waiters = self._frames.waiters()
        futures = [future for _, future in waiters]
        try:
            done, _ = await asyncio.wait(
                futures, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return bool(done)
        finally:
            for owner, future in waiters:
                owner.forget_waiter(future)
