"""What must hold: whoever looks sees every request and no key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from hostler.gateway.headers import Headers
from hostler.gateway.inflight import Entry, InFlight, request_id, shown
from hostler.metrics.capture_parts import shown_headers


@dataclass
class Fake:
    model: str = "m"
    number: int = 0
    request_id: bytes = b"r1"
    began_wall: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    began: float = 10.0
    path: str = "/v1/x"
    method: str = "POST"
    headers: Headers = field(default_factory=list)
    remote: str = "1.2.3.4"
    response_headers: Headers = field(default_factory=list)
    sent: int = 7
    metadata: dict[str, str] = field(default_factory=dict)
    cancelled: int = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_9_the_shape_that_clients_know() -> None:
    entry = Fake(
        headers=[(b"x-session-id", b"s"), (b"authorization", b"Bearer k")], metadata={"selector": "s"}
    )
    table = InFlight()
    table.add(entry)

    assert table.snapshot(10.25) == [
        {
            "id": "1",
            "request_id": "r1",
            "timestamp": "2026-01-02T03:04:05+00:00",
            "model": "m",
            "req_path": "/v1/x",
            "method": "POST",
            "req_headers": {"X-Session-Id": "s", "Authorization": "[REDACTED]"},
            "remote_ip": "1.2.3.4",
            "resp_headers": {},
            "resp_bytes": 7,
            "elapsed_ms": 250,
            "metadata": {"selector": "s"},
        }
    ]
    assert "metadata" not in shown(Fake(), 10.0)


@pytest.mark.parametrize(
    "name", [b"authorization", b"Proxy-Authorization", b"cookie", b"Set-Cookie", b"x-api-key"]
)
def test_keys_are_never_shown(name: bytes) -> None:
    assert list(shown_headers([(name, b"secret")]).values()) == ["[REDACTED]"]


def test_cancelling_by_number_and_by_id() -> None:
    table, one, two = InFlight(), Fake(), Fake(request_id=b"77")
    table.add(one)
    table.add(two)

    assert table.cancel("1")
    assert table.cancel("77")
    assert (one.cancelled, two.cancelled) == (1, 1)
    assert not table.cancel("3")
    assert not table.cancel("9" * 40)
    assert not table.cancel("")


def test_listeners_are_told_once_each() -> None:
    table, entry = InFlight(), Fake()
    told: list[tuple[str, int]] = []

    def listen(what: str, entry: Entry) -> None:
        told.append((what, entry.number))

    table.listeners.append(listen)
    table.add(entry)
    table.changed(entry)
    table.remove(entry)
    table.remove(entry)

    assert told == [("upsert", 1), ("upsert", 1), ("remove", 1)]
    assert len(table) == table.requests_of("m") == 0


@pytest.mark.parametrize("shown", [b"", b"a b", b"x\r\ny", b"\xff", b"a" * 129, b'"'])
def test_a_request_id_that_cannot_be_used_is_replaced(shown: bytes) -> None:
    made = request_id(shown)

    assert made not in (shown, request_id(shown))
    assert request_id(made) == made
