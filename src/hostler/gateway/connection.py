"""One HTTP/1.1 connection to an engine, as thin as correctness allows.

A `Connection` speaks one request at a time and hands the answer to a `Sink` as it comes: head, data, end or
failure, each exactly once and in that order, synchronously from the socket's callback. There is no buffer
here; a sink that cannot keep up pauses the connection.

What is checked: the response parser is llhttp in its strict mode, so an answer with both a length and
chunks, or two lengths, is refused; heads are bounded; a connection that carried anything unexpected is
never used again. Trailers are dropped knowingly (nothing we serve reads them); 1xx answers are skipped.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

import httptools

from hostler.errors import UpstreamFailed
from hostler.gateway.headers import Headers, first_values
from hostler.gateway.known_answers import KnownAnswer, KnownAnswers
from hostler.gateway.origin import Origin
from hostler.gateway.outbox import Outbox
from hostler.gateway.sinks import NO_BODY, ConnectionLost, Keeper, KnownSink, ResponseHead, Sink
from hostler.gateway.wire import COPIED_BYTES, Wire

# Go's net/http allows an engine 10 MiB of response head, nginx 4 to 8 KiB; engines send well under 2 KiB.
MAX_HEAD_BYTES = 262_144
# Of the line with the size of a chunk that is passed on as it is: nobody sends larger ones one by one.
MAX_SIZE = 9
PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class Connection(Wire):
    """One connection to an engine; owned by its pool while idle and by one request while busy."""

    def __init__(self, origin: Origin, pool: Keeper | None = None) -> None:
        self.origin = origin
        super().__init__()
        self.used = 0
        self._pool = pool
        # Pieces of the body that came in one read; `_own` of them are of the answer that was asked for. The
        # parser appends them itself: of all its callbacks this is the one that comes with every read.
        self._pieces: list[bytes] = []
        self._own = 0
        self.on_body = self._pieces.append
        # Not empty while the parser is within a chunk; these are told by it for each, and so are plain C.
        self._chunk: list[None] = []
        self.on_chunk_header = partial(self._chunk.append, None)
        self.on_chunk_complete = self._chunk.pop
        self._between = False  # it stands between two chunks of an answer
        self._parser = httptools.HttpResponseParser(self)
        self._sink: Sink | None = None
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._got_bytes = self._chunked = False
        self._is_head_request = False
        self._known: KnownAnswers | None = None  # for a sink that takes them
        self._left = 0  # of a body whose head was known: the parser sees neither
        self._may_switch = False
        self._switched: ResponseHead | None = None
        self._barren = 0  # bytes since the head, or since the body last grew: trailers, or chunk extensions
        self._early = b""  # what came behind a 101, in the same read
        self._until_close = False
        self._complete = False
        self._pending_headers: Headers = []

    def __repr__(self) -> str:
        state = "closed" if self.closed else "busy" if self._sink is not None else "idle"
        return f"<Connection {self.origin} {state}, {self.used} used>"

    # -- requests ---------------------------------------------------------------------------------------

    def send(self, head: bytes, body: bytes, sink: Sink, *, method: str, upgrade: bool = False) -> None:
        """Write a request and let `sink` have the answer; the connection must be idle.

        With `upgrade` a 101 is an answer too; after it, reading is paused until `detach` is called.
        """
        self._begin_request(sink, method)
        self._may_switch = upgrade
        assert self.transport is not None
        if len(body) > COPIED_BYTES:
            self.transport.write(head)
            self.transport.write(body)
        else:
            self.transport.write(head + body)

    def _begin_request(self, sink: Sink, method: str) -> None:
        assert self._sink is None
        self.used += 1
        self._sink = sink
        self._head = None
        self._head_bytes = 0
        self._got_bytes = self._until_close = self._complete = self._chunked = self._between = False
        self._barren = 0
        self._is_head_request = method == "HEAD"
        self._may_switch = False
        self._known = None

    def send_known(
        self, head: bytes, body: bytes, sink: KnownSink, known: KnownAnswers, outbox: Outbox | None
    ) -> None:
        """`send` of a POST whose answer may be one of `known`; one that is not becomes one.

        With an `outbox`, a small request waits there.
        """
        if outbox is not None and len(body) <= COPIED_BYTES:
            self._begin_request(sink, "POST")
            outbox.write(self.transport, head + body)  # type: ignore[arg-type]  # it is there while idle
        else:
            self.send(head, body, sink, method="POST")
        self._known = known

    def redirect(self, sink: Sink) -> None:
        """Let `sink` have the rest of the answer that is coming in."""
        assert self._sink is not None
        self._sink = sink

    def serves(self, sink: object) -> bool:
        """Whether the answer that is coming in is `sink`'s."""
        return self._sink is sink

    def detach(self, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """Give the connection to `protocol`, after a 101; also returns what has come behind that already.

        Reading stays paused. Raises UpstreamFailed when the connection is gone.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise UpstreamFailed(f"the engine at {self.origin} closed the connection it had switched")
        self._sink = self.transport = None
        if self._pool is not None:
            self._pool.forget(self)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        early, self._early = self._early, b""
        return transport, early

    def abandon(self) -> None:
        """Give up on the answer: the engine sees the connection go, which is how it learns to stop."""
        self._sink = None
        self._reusable = False
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:
            # An engine that speaks without being asked; whatever it meant, it is not an answer to anyone.
            self._close()
            return
        if self._left:
            self._pass_on(data)
            return
        in_head = self._head is None
        if in_head:
            if self._is_done_with(data):
                return
        elif self._between:
            # A chunk that comes alone, as those of events do, is passed on as it is: taken apart and put
            # together again it would be the same. The parser is left where it stands.
            place = data.find(b"\r\n", 1, MAX_SIZE)
            size = len(data) - place - 4
            if size > 0 and data.startswith(b"%x\r\n" % size) and data.endswith(b"\r\n"):
                self._barren = 0
                sink.on_chunk(data, place + 2)
                return
        try:
            self._parser.feed_data(data)
        except PARSER_ERRORS as error:
            if self._stopped(error, data):
                return
        # A line of a size that is not all here would end with something else.
        self._between = self._chunked and not self._chunk and data.endswith(b"\r\n")
        pieces = self._pieces
        if in_head:
            self._after_head(data)
        elif pieces and not (self._complete or pieces[1:]):
            self._barren = 0
            sink.on_data(pieces.pop())  # nearly always: one piece, in the middle of an answer
        else:
            self._after_pieces(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._pool is not None:
            self._pool.forget(self)
        if self._sink is None:
            return
        if self._until_close and exc is None:
            self._complete = True
            self._finish()
        elif self._got_bytes:
            self._fail("it closed the connection in the middle of its answer")
        else:
            sink, self._sink = self._sink, None
            sink.on_failure(
                ConnectionLost(f"the engine at {self.origin} closed the connection without answering")
            )

    # -- httptools callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._reusable = False
        self._pending_headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            self._pending_headers.append((name.lower(), value or b""))

    def on_headers_complete(self) -> None:
        if self._complete:
            return  # there is one head
        status = self._parser.get_status_code()
        if not 100 <= status <= 599:
            raise ValueError(f"no such status: {status}")
        if status < 200:
            if status == 101 and self._may_switch:
                headers = self._pending_headers
                self._switched = ResponseHead(status, headers, first_values(headers))
            return  # the parser stops by itself after a 101
        headers = self._pending_headers
        given = first_values(headers)
        length, coding = given.get(b"content-length"), given.get(b"transfer-encoding")
        chunked = coding is not None
        if coding is not None and (
            coding.strip().lower() != b"chunked"
            or sum(name == b"transfer-encoding" for name, _ in headers) > 1
        ):
            raise ValueError(f"unknown transfer encoding {coding!r}")
        events = b"text/event-stream" in given.get(b"content-type", b"").lower()
        head = ResponseHead(status, headers, given, int(length) if length is not None else None, events)
        no_body = self._is_head_request or status in NO_BODY
        self._chunked = chunked and not no_body
        self._until_close = not no_body and not chunked and head.length is None
        if self._until_close or not self._parser.should_keep_alive():
            self._reusable = False
        self._head = head
        assert self._sink is not None
        self._sink.on_head(head)
        if self._is_head_request and (chunked or head.length != 0):
            # llhttp does not know that this answers a HEAD and would wait for the body; the answer is
            # complete here, and the connection is given up with the confused parser.
            self._complete = True
            self._own = 0
            self._reusable = False

    def on_message_complete(self) -> None:
        if self._head is not None and not self._complete:
            self._complete = True
            self._own = len(self._pieces)

    # -- the beginning of an answer ---------------------------------------------------------------------

    def _is_done_with(self, data: bytes) -> bool:
        """Whether the first bytes of an answer, or more of its head, are not for the parser."""
        if self._known is not None and not self._got_bytes:
            found = self._known.read(data)
            if found is not None:
                self._begin_known(*found, data)
                return True
        self._got_bytes = True
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail("its response head is too large")
            return True
        return False

    def _after_head(self, data: bytes) -> None:
        """The parser has read `data`, which began within the head."""
        if self._known is not None and self._head_bytes == len(data):  # all there is of it
            self._learn(self._known, data)
        self._flush()
        if self._complete:
            self._finish()
        elif self._head is not None and self._sink is not None:
            self._sink.on_settled()

    # -- answers that are known -------------------------------------------------------------------------

    def _begin_known(
        self, known: KnownAnswer, values: list[bytes], length: int, place: int, data: bytes
    ) -> None:
        self._got_bytes = True
        self._head = known.head
        body = data[place:]
        sink = cast("KnownSink", self._sink)
        if len(body) >= length:
            self._complete = True
            if len(body) > length:
                self._reusable = False  # what comes behind the answer is nobody's, but spoils the connection
                body = body[:length]
            self._release()
            sink.on_whole(known, values, body)
            return
        self._left = length - len(body)
        sink.on_known(known, values, length)
        if body and self._sink is not None:
            self._sink.on_data(body)
        if self._sink is not None:
            self._sink.on_settled()

    def _pass_on(self, data: bytes) -> None:
        """More of a body whose head was known."""
        assert self._sink is not None
        left = self._left = self._left - len(data)
        if left > 0:
            self._sink.on_data(data)
            return
        self._left = 0
        self._complete = True
        if left:
            self._reusable = False
            data = data[:left]
        self._sink.on_data(data)
        self._finish()

    def _learn(self, known: KnownAnswers, data: bytes) -> None:
        """Know the head that the parser found in the first bytes of an answer, if it is worth it."""
        if self._head is not None and self._reusable:
            known.learn(self._head, data, sum(map(len, self._pieces)))

    # -- inner ------------------------------------------------------------------------------------------

    def _stopped(self, error: Exception, data: bytes) -> bool:
        """The parser did not get to the end of `data`; whether there is nothing more to be done about it."""
        if self._complete:
            # The answer is whole. What came behind it is nobody's, but spoils the connection.
            self._reusable = False
            return False
        if isinstance(error, httptools.HttpParserUpgrade):
            self._switch(data[error.args[0] :])
        else:
            self._flush()
            self._fail(f"its answer is not valid HTTP ({error})")
        return True

    def _after_pieces(self, size: int) -> None:
        """So many bytes were read in the middle of an answer: several pieces, none, or the end."""
        if self._pieces:
            self._barren = 0
            self._flush()
        else:
            self._barren += size
        if self._complete:
            self._finish()
        elif self._barren > MAX_HEAD_BYTES:
            self._fail("its trailers are too large")

    def _switch(self, early: bytes) -> None:
        head, sink = self._switched, self._sink
        if head is None or sink is None or self._head is not None:
            self._fail("it switched protocols without being asked")
            return
        self._reusable = False
        self._early = early
        self.pause()
        sink.on_head(head)

    def _flush(self) -> None:
        pieces = self._pieces
        if self._complete:
            del pieces[self._own :]  # what came behind the answer is nobody's
        if not pieces:
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._sink is not None:
            self._sink.on_data(data)

    def _finish(self) -> None:
        sink = self._sink
        self._release()
        if sink is not None:
            sink.on_end()

    def _release(self) -> None:
        """The answer is complete: nobody's connection any more."""
        self._sink = None
        if self._paused:
            # The last bytes may have filled the sink up; the next request must not find a deaf connection.
            self.resume()
        if self._reusable and not self.closed and self._pool is not None:
            self._pool.give_back(self)
        else:
            self._close()

    def _fail(self, why: str) -> None:
        sink, self._sink = self._sink, None
        self._close()
        if sink is not None:
            sink.on_failure(UpstreamFailed(f"the engine at {self.origin} failed: {why}"))
