"""What a connection to an engine hands on, to whom, and who keeps it meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hostler.errors import UpstreamFailed
from hostler.gateway.headers import Headers

if TYPE_CHECKING:
    from hostler.gateway.connection import Connection
    from hostler.gateway.known_answers import KnownAnswer

# Answers with these have none, whatever their head says (RFC 9110, section 6.4.1).
NO_BODY = (204, 304)


@dataclass(slots=True)
class ResponseHead:
    """Status and headers of an answer; `length` is None for chunked or close-delimited bodies.

    `given` are the first values of the headers, whose names are lower case; `events` says that they announce
    server-sent events.
    """

    status: int
    headers: Headers = field(default_factory=list)
    given: Mapping[bytes, bytes] = field(default_factory=dict)
    length: int | None = None
    events: bool = False


class Sink(Protocol):
    """What receives an answer."""

    def on_head(self, head: ResponseHead) -> None:
        """The status and headers; called once, before anything else."""
        ...

    def on_settled(self) -> None:
        """What came together with the head was told, and it was not all."""
        ...

    def on_data(self, data: bytes) -> None:
        """A piece of the body, never empty."""
        ...

    def on_chunk(self, chunk: bytes, start: int) -> None:
        """`on_data` of `chunk[start:-2]`, which came as just this chunk (RFC 9112, section 7.1)."""
        ...

    def on_end(self) -> None:
        """The body is complete."""
        ...

    def on_failure(self, error: UpstreamFailed) -> None:
        """The answer will not be completed; called instead of `on_end`."""
        ...


class KnownSink(Sink, Protocol):
    """What also receives answers that are known."""

    def on_known(self, known: KnownAnswer, values: list[bytes], length: int) -> None:
        """Instead of `on_head`: the head is `known`, with `values` for what varies."""
        ...

    def on_whole(self, known: KnownAnswer, values: list[bytes], body: bytes) -> None:
        """Instead of all others: a head that is known, and all of the body."""
        ...


class ConnectionLost(UpstreamFailed):
    """The engine closed the connection before it sent a byte of its answer."""


class Keeper(Protocol):
    """Where a connection goes when its request is done; the pool."""

    def give_back(self, connection: Connection) -> None:
        """The connection may carry another request."""
        ...

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        ...
