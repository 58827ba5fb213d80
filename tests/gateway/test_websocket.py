"""What must hold: a websocket's handshake is known by its lists, whatever their case and number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.gateway.headers import Headers
from hostler.gateway.sinks import ResponseHead
from hostler.gateway.websocket import EXTENSION, is_websocket_route, switching_head, wants_websocket

ASKED: Headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


@given(
    st.lists(st.sampled_from(["keep-alive", "close", "te", ""])),
    st.sampled_from(["upgrade", "Upgrade", "UPGRADE", " upgrade\t"]),
    st.sampled_from(["websocket", "WebSocket", "h2c, websocket", "websocket,h2c"]),
    st.booleans(),
)
def test_lists_may_be_long_and_repeated(others: list[str], upgrade: str, kind: str, repeated: bool) -> None:
    names = [*others, upgrade]
    headers: Headers = [(b"upgrade", kind.encode())]
    if repeated:
        headers += [(b"connection", name.encode()) for name in names]
    else:
        headers.append((b"connection", ",".join(names).encode()))

    assert wants_websocket("GET", "1.1", headers)
    assert not wants_websocket("POST", "1.1", headers)
    assert not wants_websocket("GET", "1.0", headers)
    assert not wants_websocket("GET", "1.1", headers[:1])


@pytest.mark.parametrize(
    "more", [(b"content-length", b"1"), (b"transfer-encoding", b"chunked"), (b"content-length", b"00")]
)
def test_a_handshake_has_no_body(more: tuple[bytes, bytes]) -> None:
    assert wants_websocket("GET", "1.1", ASKED)
    assert not wants_websocket("GET", "1.1", [*ASKED, more])


def test_a_route_is_one_only_for_a_connection_that_can_switch() -> None:
    able = {"extensions": {EXTENSION: object()}}
    assert is_websocket_route("/v1/realtime", able)
    assert is_websocket_route("/v1/chat/completions", able)
    assert not is_websocket_route("/v1/models", able)
    assert not is_websocket_route("/v1/realtime", {})


def test_the_101_is_the_engines_but_for_its_hop() -> None:
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade, X-Hop"),
        (b"x-hop", b"1"),
        (b"content-length", b"0"),
        (b"sec-websocket-accept", b"abc"),
    ]
    head = ResponseHead(101, headers, dict(headers))
    assert switching_head(head) == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-accept: abc\r\n\r\n"
    )
