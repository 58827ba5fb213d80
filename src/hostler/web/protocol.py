"""uvicorn's HTTP protocol with the bounds and signals it lacks.

Added: a bound on the size and the age of a request head (uvicorn's httptools protocol has neither), TCP
keep-alive so that dead peers of idle streams are noticed, refusals in JSON, the `hostler.edge` extension of
`hostler.gateway.edge`, and its calls: a small request for one of the application's `at_once` targets is held
back until all of it has come, and then offered to the application without a scope or a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hostler.errors import ClientError, HeadTooLarge, RequestTimeout
from hostler.gateway import websocket
from hostler.gateway.answers import error_answer
from hostler.gateway.edge import EXTENSION
from hostler.gateway.headers import Headers, first_values
from hostler.gateway.tunnel import keep_alive
from hostler.web.call import Call
from hostler.web.edge import SMALL_BODY, ServerEdge
from hostler.web.heads import FRAMING, has_body, wrong_head
from hostler.web.oldclients import OldSend
from hostler.web.upgrade import ServerUpgrade, TakenOver

# nginx allows four buffers of 8 KiB for large heads, Apache 100 fields of 8 KiB, Node 16 KiB in all.
MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
# Apache's mod_reqtimeout gives a head 20 to 40 s.
HEAD_SECONDS = 20.0
# How long a client that was refused may still send before it has to have noticed; nginx allows 5 s.
LINGER_SECONDS = 2.0
# What a client may send before it knows whether its connection is switched; one large read.
MAX_EARLY_BYTES = 262_144
# How long a request is held back for its small body; most come with the head or right behind it. After that
# it goes the ordinary way, which has the patience for slow ones.
HELD_SECONDS = 1.0


class HostlerProtocol(HttpToolsProtocol):
    """One client connection."""

    edge_type = ServerEdge

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edges: list[ServerEdge] = []
        self._at_once: frozenset[bytes] = getattr(self.app, "at_once", frozenset())
        self._call: Call | None = None  # the request that is being served at once
        self._held = self._whole = False  # a request waits for its body; all of it is here
        self._given: Mapping[bytes, bytes] = {}
        self._held_body = b""
        self._held_timer: asyncio.TimerHandle | None = None
        self._keep_alive = True
        self._idle_since = 0.0
        self.drained: Callable[[], None] | None = None  # whoever writes an answer waits to be told so
        self._in_head = False
        self._head_began = False
        self._head_bytes = 0  # of the head that is coming in, without the read in which it began
        self._read_bytes = 0
        self._barren = 0  # bytes since the body last grew: trailers, or chunk extensions
        self._deaf = False  # something was refused; nothing after it can be understood
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._bodiless = False  # the parser overlooks the body of this request
        self._resuming = False  # the parser reads a head of ours
        # The request behind which the connection may be switched, and what has come behind it.
        self._switching: RequestResponseCycle | None = None
        self._early = b""

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        keep_alive(transport.get_extra_info("socket"))
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_holding()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)
        # uvicorn lets it tick on when the connection ended with an error.
        self._unset_keepalive_if_required()
        call, self._call = self._call, None
        if call is not None:
            call.disconnected = True
            if call.owner is not None:
                call.owner.lost()
        edges, self._edges = self._edges, []
        for edge in edges:
            edge.lost()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.drained is not None:
            self.drained()

    def data_received(self, data: bytes) -> None:
        parser: httptools.HttpRequestParser | None = self.parser  # None once the connection is lost
        if parser is None or self._deaf or self.transport.is_closing():
            return
        if self._switching is not None:
            self._wait_to_switch(data)
            return
        was_in_head, self._head_began = self._in_head, False
        self._read_bytes = len(data)
        try:
            try:
                parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                self._stopped(data[stopped.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(ClientError(f"this is not a valid HTTP request ({error})"))
            return
        if self._held:
            self._settle()
            return
        if not self._in_head or self._deaf:
            self._count_barren(len(data))
            return
        if was_in_head and not self._head_began:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"the request head is larger than {MAX_HEAD_BYTES} bytes"))
        elif self._head_timer is None:
            self._start_head_timer()

    # -- httptools callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._resuming:
            return
        if self._held:
            self._open_held()  # another request follows: the ordinary way knows of those
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = self._head_began = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come this way too. They would be taken for headers, which are what requests are judged by.
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        self._in_head = False
        if self._head_timer is not None:
            self._stop_head_timer()
        if self._deaf:
            return
        headers = self.headers
        large = self._head_bytes + self._read_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES
        if large or len(headers) > MAX_HEADERS:
            self._refuse(
                HeadTooLarge(
                    f"the request head is larger than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} fields"
                )
            )
            return
        version = self.parser.get_http_version()
        given = first_values(headers)
        if wrong := wrong_head(version, headers, given):
            self._refuse(ClientError(f"this is not a valid HTTP request ({wrong})"))
            return
        # HTTP/1.0 knows no interim answers (RFC 9110, section 10.1.1).
        expect = version != "1.0" and given.get(b"expect", b"").lower() == b"100-continue"
        self.expect_100_continue = expect
        self._keep_alive = version != "1.0" and self.parser.should_keep_alive()
        upgrade = self.parser.should_upgrade()
        length = given.get(b"content-length", b"")
        self._held = (
            version == "1.1"
            and self.url in self._at_once
            and not (upgrade or expect)
            and 0 < len(length) < 6  # digits: below a hundred thousand
            and int(length) <= SMALL_BODY
            and self._is_free()
            and self.parser.get_method() == b"POST"
        )
        if self._held:
            self._given = given
            self._whole = False
            self._held_body = b""
        else:
            self._open(self.parser.get_method(), version, upgrade=upgrade)

    def on_body(self, body: bytes) -> None:
        self._barren = -self._read_bytes  # this read does not count
        if self._held:
            self._held_body = self._held_body + body if self._held_body else body
        # What follows a refusal is nobody's.
        elif not self._deaf and self._cycle() is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._held:
            self._whole = True
        elif not self._deaf and not self._bodiless and self._cycle() is not None:
            self._complete()

    def on_response_complete(self) -> None:
        if self._call is not None and self._call.response_complete:
            self._call = None
        elif self._edges:
            self._forget_answered()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            # One timer for a connection, not one for each request: it sleeps on when it fires too early.
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._sleep(self.timeout_keep_alive)
        if self._switching is not None and self._switching.response_complete:
            self._did_not_switch()

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._in_head or self._held or not self._is_free():
            return  # it begins to count anew when the answer is complete
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._sleep(left)
        elif not self.transport.is_closing():
            self.transport.close()

    # -- requests that may be served at once ------------------------------------------------------------

    def _settle(self) -> None:
        """Offer what was held back, once all of it has come."""
        if not self._whole:
            if self._held_timer is None:
                self._held_timer = self.loop.call_later(HELD_SECONDS, self._open_held)
            return
        self._held = False
        if self._held_timer is not None:
            self._stop_holding()
        call = Call(self, b"POST", self.url, self.headers, self._given, self._held_body, self._keep_alive)
        self._held_body = b""
        before, self.cycle, self._call = self.cycle, call, call  # type: ignore[assignment]  # all that is used
        serve_now: Callable[[Call], bool] = self.app.serve_now  # it has `at_once`
        if not serve_now(call):
            self.cycle, self._call = before, None
            self._held_body, self._whole = call.body, True
            self._open_held()

    def _open_held(self) -> None:
        """Serve what was held back in the ordinary way, with as much of its body as there is."""
        body, whole = self._held_body, self._whole
        self._stop_holding()
        self._held_body = b""
        self._open(b"POST", "1.1", upgrade=False)
        if body:
            super().on_body(body)
        if whole:
            self._complete()

    def _stop_holding(self) -> None:
        self._held = False
        timer, self._held_timer = self._held_timer, None
        if timer is not None:
            timer.cancel()

    # -- inner ------------------------------------------------------------------------------------------

    def _open(self, method: bytes, version: str, *, upgrade: bool) -> None:
        """Begin to serve the request whose head was read, or put it behind the one before it."""
        headers, free = self.headers, self._is_free()
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

    def _is_free(self) -> bool:
        """Whether the request before is answered."""
        cycle = self._cycle()
        return cycle is None or cycle.response_complete

    def _sleep(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _count_barren(self, size: int) -> None:
        """A body that does not grow must end: the parser keeps what it reads of a trailer."""
        cycle = self._cycle()
        if self._deaf or cycle is None or not cycle.more_body:
            self._barren = 0
            return
        self._barren += size
        if self._barren > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"the request's trailers are larger than {MAX_HEAD_BYTES} bytes"))

    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn declares it never None, and starts with None

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(RequestTimeout(f"the request head did not arrive within {HEAD_SECONDS:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: ClientError) -> None:
        """Answer what cannot be a request, and close: nothing after it can be understood."""
        if self._deaf:
            return  # the parser went on behind a head that was refused
        cycle = self._cycle()
        self._deaf = True
        self._in_head = False
        self._stop_head_timer()
        if self.transport.is_closing():
            return
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            self._say(error)
        elif cycle.response_complete:
            self.transport.close()  # it was answered before its body went wrong
        elif not cycle.more_body:
            # The requests before this one are in order: their answers still go out.
            cycle.keep_alive = False
        elif self.pipeline:
            # It was not begun yet, and never will be; those before it are answered.
            self.pipeline.popleft()
            self._edges.pop()
            before = self._edges[-1].cycle if self._edges else self._call
            assert before is not None
            before.keep_alive = False
            self.cycle = before  # type: ignore[assignment]  # a call is all that is used of one
        else:
            # The request that is being served goes wrong in its body.
            if not cycle.response_started:
                self._say(error)
            else:
                self.transport.close()
            cycle.disconnected = True
            cycle.message_event.set()

    def _say(self, error: ClientError) -> None:
        """Write an answer of our own, and close once the client has seen it."""
        status, headers, body = error_answer(error)
        lines = [f"HTTP/1.1 {status} {type(error).__name__}\r\n".encode()]
        lines += [name + b": " + value + b"\r\n" for name, value in headers if name != b"connection"]
        self.transport.write(b"".join(lines) + b"connection: close\r\n\r\n" + body)
        if self.transport.can_write_eof():
            # To close while the client still sends would reset the connection, answer and all.
            self.flow.resume_reading()
            self.transport.write_eof()
            self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        else:
            self.transport.close()

    def _stopped(self, data: bytes) -> None:
        """The parser has read a request that wishes to switch, and leaves us `data`, which is behind it."""
        while True:
            if self._may_switch():
                self._switching = self.cycle
                self._wait_to_switch(data)
                return
            # No protocol to switch to: the request is answered as if it had not asked, and what comes after
            # it is its body, which the parser overlooks, or the next one.
            parser = self._resume() if self._bodiless else self.parser
            if not data:
                return
            try:
                parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                data = data[stopped.args[0] :]
            else:
                return

    def _resume(self) -> httptools.HttpRequestParser:
        """A parser that stands before the body of the request in hand.

        llhttp knows no request with a body and a wish to switch, though Java's client sends each of its first
        requests with one (for HTTP/2): it takes the body for the new protocol, or for the next request.
        """
        self._bodiless = False
        parser = self.parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        framing = [name + b": " + value + b"\r\n" for name, value in self.headers if name in FRAMING]
        self._resuming = True
        parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n")
        self._resuming = False
        return parser

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
