"""An answer written straight to a client's connection, in the state that uvicorn keeps of it.

What `RequestResponseCycle.send` does for a message, this does for a whole answer: one write for the head and
the first piece, one for each piece that follows, and no coroutine. It leans on uvicorn's internals;
tests/web/test_server_contract.py holds them still.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from hostler.clock import SYSTEM, Clock
from hostler.gateway.headers import answer_headers
from hostler.gateway.wire import COPIED_BYTES

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.flow_control import FlowControl

    from hostler.gateway.headers import Headers
    from hostler.gateway.known_answers import KnownAnswer
    from hostler.web.cycles import CycleProtocol


class Date:
    """The `Date` of answers, made once a second (RFC 9110, section 6.6.1)."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._until = 0.0
        self._text = b""

    def now(self) -> bytes:
        """The value of the header."""
        now = self._clock.monotonic()
        if now >= self._until or not self._text:
            seconds = self._clock.wall().timestamp()
            self._until = now + 1 - seconds % 1
            self._text = formatdate(int(seconds), usegmt=True).encode()
        return self._text


DATE = Date()


def known_head(known: KnownAnswer, values: list[bytes], request_id: bytes, *, keep_alive: bool) -> bytes:
    """The head that a client gets of an answer that is known."""
    form = known.form or _learn_form(known)
    dated = b"" if b"date" in known.varying else b"date: %b\r\n" % DATE.now()
    closing = b"" if keep_alive else b"connection: close\r\n"
    return form % (*values, request_id, dated, closing)


def _learn_form(known: KnownAnswer) -> bytes:
    """Make the text of `known.form`: what varies has a place in it, in the order of the engine's head."""
    lines = [STATUS_LINE[known.head.status]]
    for name, value in answer_headers(known.head, b"%"):
        # The request's id comes behind what is the engine's; its place is the last but two.
        varies = name in known.varying or name == b"x-request-id"
        lines.append(b"%b: %b\r\n" % (_literal(name), b"%b" if varies else _literal(value)))
    known.form = b"".join(lines) + b"%b%b\r\n"
    return known.form


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")


class Answer(Protocol):
    """The state of one answer, as uvicorn's `RequestResponseCycle` keeps it."""

    transport: asyncio.Transport
    flow: FlowControl
    disconnected: bool
    keep_alive: bool
    waiting_for_100_continue: bool
    response_started: bool
    response_complete: bool
    chunked_encoding: bool | None
    expected_content_length: int

    @property
    def message_event(self) -> Settable:
        """Wakes whoever awaits a message."""
        ...

    @property
    def on_response(self) -> Callable[[], None]:
        """Called when the answer is complete."""
        ...


class Settable(Protocol):
    """What an event is, here."""

    def set(self) -> None:
        """It has happened."""
        ...


def break_off(answer: Answer, transport: asyncio.Transport, *, until_close: bool = False) -> None:
    """Close the connection so that the client can tell that `answer` is not complete.

    `until_close`: only the end of the connection would have been the end of the answer.
    """
    answer.disconnected = True
    if (answer.chunked_encoding and not until_close) or answer.expected_content_length:
        # The missing last chunk, or the missing bytes, say that this is not all; what was sent arrives.
        transport.close()
    else:
        # Nothing in the framing would tell: the client must see a reset.
        transport.abort()


class AnswerWriter:
    """One answer to an HTTP/1.1 client; see `hostler.gateway.edge.Writer`."""

    __slots__ = ("_chunked", "_head", "_protocol", "_transport", "flow", "state", "through")

    def __init__(self, protocol: CycleProtocol, cycle: Answer) -> None:
        self._protocol = protocol
        self.state = cycle
        self._transport = cycle.transport
        self.flow = cycle.flow
        self.through: Callable[[bytes], None] | None = None
        self._head = b""
        self._chunked = False

    def begin(self, status: int, headers: Headers, length: int | None) -> None:
        cycle = self.state
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        parts = [STATUS_LINE[status], *[b"%b: %b\r\n" % pair for pair in headers]]
        if not cycle.keep_alive:
            parts.append(b"connection: close\r\n")
        self._chunked = cycle.chunked_encoding = length is None
        if length is None:
            parts.append(b"transfer-encoding: chunked\r\n")
        else:
            cycle.expected_content_length = length
        head = b"".join(parts)
        # An engine's date is passed on; what is ours gets one here.
        self._head = head + (b"\r\n" if b"\r\ndate: " in head else b"date: %b\r\n\r\n" % DATE.now())

    def write(self, data: bytes) -> bool:
        if self.state.disconnected:
            return False
        head = self._head
        if head:
            self._head = b""
        if len(data) > COPIED_BYTES:
            self._write_large(head, data)
        elif self._chunked:
            self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
            self.through = self._transport.write
        else:
            self._transport.write(head + data if head else data)
        return self.flow.write_paused

    def _write_large(self, head: bytes, data: bytes) -> None:
        write = self._transport.write
        if self._chunked:
            write(b"%b%x\r\n" % (head, len(data)))
            write(data)
            write(b"\r\n")
        else:
            if head:
                write(head)
            write(data)

    def flush(self) -> None:
        if self._head and not self.state.disconnected:
            self._transport.write(self._head)
        self._head = b""

    def end(self) -> None:
        cycle = self.state
        if cycle.disconnected:
            return
        rest = self._head + b"0\r\n\r\n" if self._chunked else self._head
        self._head = b""
        if rest:
            self._transport.write(rest)
        cycle.expected_content_length = 0
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def on_drain(self, callback: Callable[[], None] | None) -> None:
        self._protocol.drained = callback
