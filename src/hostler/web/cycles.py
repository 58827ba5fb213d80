"""What becomes of a request whose head was read: a cycle of uvicorn's, answered in its turn.

This is what uvicorn's own protocol does with it, and what it lacks: the `hostler.edge` extension, HTTP/1.0,
one timer for a kept connection instead of one for each request, and connections that are switched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hostler.gateway import websocket
from hostler.gateway.edge import EXTENSION
from hostler.gateway.headers import Headers
from hostler.web.call import Call
from hostler.web.edge import ServerEdge
from hostler.web.heads import has_body
from hostler.web.oldclients import OldSend
from hostler.web.upgrade import ServerUpgrade, TakenOver

# What a client may send before it knows whether its connection is switched; one large read.
MAX_EARLY_BYTES = 262_144


class CycleProtocol(HttpToolsProtocol):
    """One client connection, behind the heads of its requests."""

    edge_type = ServerEdge

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drained: Callable[[], None] | None = None  # whoever writes an answer waits to be told so
        self._edges: list[ServerEdge] = []
        self._call: Call | None = None  # the request that is being served at once
        self._keep_alive = True
        self._idle_since = 0.0
        self._behind = False  # the next request waits for the client to take what it has been answered
        self._bodiless = False  # the parser overlooks the body of this request
        # The request behind which the connection may be switched, and what has come behind it.
        self._switching: RequestResponseCycle | None = None
        self._early = b""

    def _open(self, method: bytes, version: str, *, upgrade: bool) -> None:
        """Begin to serve the request whose head was read, or put it behind the one before it."""
        headers, free = self.headers, self._is_free()
        if free and self.flow.write_paused:
            self._behind, free = True, False
        cycle, edge = self._new_cycle(method, self.url, version, headers, self._keep_alive)
        cycle.waiting_for_100_continue = self.expect_100_continue
        self._edges.append(edge)
        self._bodiless = upgrade and has_body(headers)
        if upgrade and websocket.wants_websocket(method.decode("ascii"), version, headers):
            extensions: dict[str, Any] = cycle.scope["extensions"]
            extensions[websocket.EXTENSION] = ServerUpgrade(self)
        if version == "1.0":
            cycle.send = OldSend(cycle)  # type: ignore[method-assign]  # this one object gets another one
        self.cycle = cycle
        if free:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _new_cycle(
        self, method: bytes, target: bytes, version: str, headers: Headers, keep_alive: bool
    ) -> tuple[RequestResponseCycle, ServerEdge]:
        """What uvicorn makes of the head of a request, and our side of it. Raises HttpParserError."""
        url = httptools.parse_url(target)
        path = url.path.decode("ascii")
        edge = self.edge_type(self)
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": headers,
            "state": self.app_state.copy(),
            "method": method.decode("ascii"),
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + url.path,
            "query_string": url.query or b"",
            "extensions": {EXTENSION: edge},
        }
        edge.cycle = cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]  # uvicorn's type knows no extension of ours
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        return cycle, edge

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # As uvicorn does it; but who serves a request is told its task, which is dear to find out.
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        extensions: dict[str, Any] = cycle.scope["extensions"]
        extensions[EXTENSION].task = task

    def _complete(self) -> None:
        super().on_message_complete()
        if not self.pipeline:
            # A large body stopped the reading, and whoever does not read does not see the client go.
            self.flow.resume_reading()

    def _forget_answered(self) -> None:
        edges, self._edges = self._edges, []
        for edge in edges:
            if edge.cycle is not None and edge.cycle.response_complete:
                # The cycle's scope holds the edge: what refers to itself only a collector could free.
                edge.cycle = None
            else:
                self._edges.append(edge)

    def _is_reading(self) -> bool:
        """Whether a request has begun to come."""
        return False

    def _is_free(self) -> bool:
        """Whether the request before is answered."""
        cycle = self._cycle()
        return cycle is None or cycle.response_complete

    def _sleep(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn declares it never None, and starts with None

    # -- the end of an answer ---------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        if self._call is not None and self._call.response_complete:
            self._call = None
        elif self._edges:
            self._forget_answered()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            if self.flow.write_paused:
                self._behind = True
            else:
                self._begin_next()
        else:
            if self.flow.read_paused:
                self.flow.resume_reading()
            # One timer for a connection, not one for each request: it sleeps on when it fires too early.
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._sleep(self.timeout_keep_alive)
        if self._switching is not None and self._switching.response_complete:
            self._did_not_switch()

    def _begin_next(self) -> None:
        if self.flow.read_paused:
            self.flow.resume_reading()
        cycle, app = self.pipeline.pop()
        self._start_asgi_task(cycle, app)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.drained is not None:
            self.drained()
        if self._behind:
            self._behind = False
            if not self.transport.is_closing():
                self._begin_next()

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._is_reading() or not self._is_free():
            return  # it begins to count anew when the answer is complete
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._sleep(left)
        elif not self.transport.is_closing():
            self.transport.close()

    # -- connections that stop being HTTP ---------------------------------------------------------------

    def take_over(self, protocol: asyncio.Protocol) -> bytes:
        """Give the connection to `protocol`; returns what has come behind the request already.

        Only for the request in whose scope the extension is, before it is answered. Reading stays paused.
        """
        cycle, early = self._switching, self._early
        assert cycle is not None
        self._switching, self._early = None, b""
        # To uvicorn it is answered; the connection is none of its own any more.
        cycle.response_started = cycle.response_complete = True
        self.server_state.total_requests += 1
        self.connections.discard(self)
        self._edges = []
        self.transport.pause_reading()
        self.transport.set_protocol(
            TakenOver(protocol, self.transport, self.connections)  # type: ignore[arg-type]  # uvicorn's type lists its own protocols
        )
        if self.flow.write_paused:
            protocol.pause_writing()
        return early

    def _may_switch(self) -> bool:
        return self._cycle() is not None and websocket.EXTENSION in self.cycle.scope.get("extensions", {})

    def _wait_to_switch(self, data: bytes) -> None:
        """Keep what comes before it is known whether it is HTTP; beyond the bound nothing is read."""
        self._early += data
        if len(self._early) > MAX_EARLY_BYTES:
            self.flow.pause_reading()

    def _did_not_switch(self) -> None:
        early, self._switching, self._early = self._early, None, b""
        if early:
            self.data_received(early)
