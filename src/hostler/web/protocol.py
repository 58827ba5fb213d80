"""uvicorn's HTTP protocol with the bounds and signals it lacks.

Added: a bound on the size and the age of a request head (uvicorn's httptools protocol has neither), TCP
keep-alive so that dead peers of idle streams are noticed, refusals in JSON, the `hostler.edge` extension of
`hostler.gateway.edge`, and its calls (`web/held.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools

from hostler.errors import ClientError, HeadTooLarge, RequestTimeout
from hostler.gateway.answers import error_answer
from hostler.gateway.headers import first_values
from hostler.gateway.sender import Sender
from hostler.gateway.tunnel import keep_alive
from hostler.web.heads import FRAMING, wrong_head
from hostler.web.held import HeldProtocol

# nginx allows four buffers of 8 KiB for large heads, Apache 100 fields of 8 KiB, Node 16 KiB in all.
MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
# Apache's mod_reqtimeout gives a head 20 to 40 s.
HEAD_SECONDS = 20.0
# How long a client that was refused may still send before it has to have noticed; nginx allows 5 s.
LINGER_SECONDS = 2.0


class HostlerProtocol(HeldProtocol):
    """One client connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_began = False
        self._head_bytes = 0  # of the head that is coming in, without the read in which it began
        self._read_bytes = 0
        self._barren = 0  # bytes since the body last grew: trailers, or chunk extensions
        self._deaf = False  # something was refused; nothing after it can be understood
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._resuming = False  # the parser reads a head of ours

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        keep_alive(transport.get_extra_info("socket"))
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._held:
            self._open_held()  # what has been asked leaves its line in the log
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
            if edge.cycle is not None:
                # uvicorn tells the newest one only.
                edge.cycle.disconnected = True
                edge.cycle.message_event.set()
            edge.lost()
        # They refer to each other: only a collector could free them.
        self.cycle = None  # type: ignore[assignment]
        self.pipeline.clear()
        self._behind = False

    def eof_received(self) -> None:
        # A client that sends no more may still read, but with this the connection is closed.
        self._flush()
        super().eof_received()

    def shutdown(self) -> None:
        self._flush()
        if self._held:
            self._open_held()  # its head was here before the end began
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        parser: httptools.HttpRequestParser | None = self.parser  # None once the connection is lost
        if parser is None or self._deaf or self.transport.is_closing():
            return
        if self._switching is not None:
            self._wait_to_switch(data)
            return
        sender, between = self._sender, self._is_between()
        if between and sender is not None and sender.learnt and self._serve_again(sender, data):
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
            self._settle(data if between else b"")
            return
        self._declined = False
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
        if self.url in self._at_once and self._hold_again(headers):
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
        if (
            version == "1.1"
            and self.url in self._at_once
            and not (upgrade or expect)
            and self._may_hold(given.get(b"content-length", b""))
        ):
            self._again = False
            self._sender = Sender(headers, given)
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

    # -- inner ------------------------------------------------------------------------------------------

    def _count_barren(self, size: int) -> None:
        """A body that does not grow must end: the parser keeps what it reads of a trailer."""
        cycle = self._cycle()
        if self._deaf or cycle is None or not cycle.more_body:
            self._barren = 0
            return
        self._barren += size
        if self._barren > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"the request's trailers are larger than {MAX_HEAD_BYTES} bytes"))

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
            self.cycle = before  # type: ignore[assignment]  # a call is all that is used of one
            if before is None:
                self._behind = False  # it waited for its client alone
                self._say(error)
            else:
                before.keep_alive = False
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
        self._flush()
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
