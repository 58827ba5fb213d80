"""What a server can offer the gateway beyond plain ASGI, and what stands in where it does not.

A server that puts an object of this shape into `scope["extensions"]["hostler.edge"]` tells of a client
that left without anybody having to wait for it, can break a connection off visibly, and takes an answer
without a message for each piece of it. With any other server a small task awaits the disconnect message, an
exception makes the server close the connection, and `send` is awaited for each piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from hostler import aio
from hostler.gateway.headers import Headers

if TYPE_CHECKING:
    from hostler.gateway.known_answers import KnownAnswer
    from hostler.gateway.outbox import Outbox
    from hostler.gateway.sender import Sender

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EXTENSION = "hostler.edge"

# In the scope, once an answer went to the client by another way than `send`: its (status, bytes).
PAST_SEND = "hostler.past_send"


class Flow(Protocol):
    """How far a client is behind."""

    write_paused: bool


class Answering(Protocol):
    """How it stands with an answer."""

    disconnected: bool
    """The client is gone: nothing can be written any more."""


class Writer(Protocol):
    """Takes one answer, piece by piece, and never waits: whoever writes looks at `flow` after each."""

    state: Answering
    through: Callable[[bytes], None] | None
    """Takes the next piece as one chunk (RFC 9112, section 7.1), while the client is there; None while the
    answer is not in chunks, or has not begun."""
    flow: Flow
    """Whether the client is behind, as `write_paused`; `on_drain` is told when it has caught up."""

    def begin(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        """The head of the answer, whose body has `length` bytes (None: unknown); it waits for a piece."""
        ...

    def write(self, data: bytes) -> bool:
        """A piece of the body, not empty; together not more than `length`. Returns `flow.write_paused`."""
        ...

    def flush(self) -> None:
        """Send the head, if it still waits for a first piece."""
        ...

    def end(self) -> None:
        """The answer is complete."""
        ...

    def on_drain(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` each time the client has caught up; None withdraws it."""
        ...


class Edge(Protocol):
    """One request's connection, as the server sees it."""

    task: asyncio.Task[Any] | None
    """The task that serves the request, where the server knows it."""

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the client goes away before the answer is complete; None withdraws it."""
        ...

    def abort(self) -> None:
        """Close the connection so that the client can tell that its answer is not complete."""
        ...

    def body_now(self) -> bytes | None:
        """The whole body, where all of it is here already; it is then never received. None otherwise."""
        ...

    def writer(self) -> Writer | None:
        """What takes the answer to this request, instead of `send`; None where only `send` will do."""
        ...


class CallOwner(Protocol):
    """Whoever serves a call."""

    def lost(self) -> None:
        """The client's connection is gone."""
        ...


class Call(Protocol):
    """One request that has come whole, before there is a scope or a task for it.

    A server that has one asks the application (`serve_now`) whether it can be served at once. Whoever says so
    becomes its `owner` and answers it by `writer`; else it is served as any other.
    """

    owner: CallOwner | None
    body: bytes

    size: int
    """Of the body, as it came."""

    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes:
        """What the request line has behind the method."""
        ...

    @property
    def headers(self) -> Headers:
        """With names in lower case."""
        ...

    @property
    def given(self) -> Mapping[bytes, bytes]:
        """Their first values, but for the content length."""
        ...

    @property
    def sender(self) -> Sender:
        """What the client says on this connection with each request."""
        ...

    @property
    def client(self) -> tuple[str, int] | None: ...
    @property
    def scheme(self) -> str: ...

    def writer(self) -> Writer:
        """What takes the answer."""
        ...

    def answer(
        self,
        known: KnownAnswer,
        values: list[bytes],
        request_id: bytes,
        body: bytes,
        outbox: Outbox | None,
    ) -> None:
        """All of the answer, the head of `known` with `values`, and its body; by `outbox`, if given."""
        ...

    def abort(self) -> None:
        """Close the connection so that the client can tell that its answer is not complete."""
        ...


class Truncated(Exception):
    """Raised out of the application where only that makes the server close the connection."""


class ClientGone(Exception):
    """The client closed its connection before its answer was complete; nobody is left to tell."""


class PlainEdge:
    """An edge made of nothing but ASGI's `receive`."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.task: asyncio.Task[Any] | None = None
        self._watch: asyncio.Task[None] | None = None

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if callback is not None:
            self._watch = aio.spawn(self._wait(callback), name="wait for the client to leave")

    async def _wait(self, callback: Callable[[], None]) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
        callback()

    def abort(self) -> None:
        raise Truncated

    def body_now(self) -> bytes | None:
        return None

    def writer(self) -> Writer | None:
        return None


def edge_of(scope: Scope, receive: Receive) -> Edge:
    """The server's own edge where it has one."""
    edge: Edge | None = scope.get("extensions", {}).get(EXTENSION)
    return edge if edge is not None else PlainEdge(receive)


@contextmanager
def cancelled_when_gone(edge: Edge) -> Iterator[None]:
    """Cancel what the block awaits when the client goes; the block then ends with `ClientGone`."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    edge.on_disconnect(leave)
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        # Ours: what was to be undone was undone on the way up.
        task.uncancel()
        raise ClientGone from None
    finally:
        edge.on_disconnect(None)
