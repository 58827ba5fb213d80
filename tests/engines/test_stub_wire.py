"""The stub's HTTP: connections, bodies in chunks, clients that leave, answers that break off."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engines.conftest import fetch_json
from hostler.testing import StubEngine, wait_until

pytestmark = pytest.mark.wire
Start = Callable[..., StubEngine]

STREAM: dict[str, Any] = {"messages": [{"role": "user", "content": "go"}], "stream": True}


@pytest.fixture
def client(hostler_stub: Start) -> Iterator[http.client.HTTPConnection]:
    """A kept connection to a fresh stub."""
    engine = hostler_stub()
    engine.wait_ready()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)) as connection:
        yield connection


def exchange(client: http.client.HTTPConnection, method: str, path: str, **more: Any) -> tuple[int, bytes]:
    client.request(method, path, **more)
    with client.getresponse() as answer:
        return answer.status, answer.read()


def test_connection_is_kept(client: http.client.HTTPConnection) -> None:
    exchange(client, "GET", "/health")
    before = client.sock
    exchange(client, "POST", "/v1/chat/completions", body=json.dumps(STREAM))
    exchange(client, "GET", "/nowhere")

    assert client.sock is before is not None


def test_connection_is_closed_when_asked(client: http.client.HTTPConnection) -> None:
    exchange(client, "GET", "/health", headers={"connection": "close"})

    assert client.sock is None


def test_old_clients_get_the_end_of_the_connection(client: http.client.HTTPConnection) -> None:
    body = json.dumps(STREAM).encode()
    with socket.create_connection((client.host, client.port), timeout=10) as old:
        old.sendall(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        with old.makefile("rb") as stream:
            answer = stream.read()

    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")


def test_head_has_a_length_and_no_body(client: http.client.HTTPConnection) -> None:
    client.request("HEAD", "/health")
    with client.getresponse() as answer:
        assert (answer.status, answer.getheader("content-length"), answer.read()) == (200, "16", b"")

    assert exchange(client, "GET", "/health") == (200, b'{"status": "ok"}')


def test_body_in_chunks(client: http.client.HTTPConnection) -> None:
    pieces = [os.urandom(size) for size in (1, 70_000, 3)]
    status, answer = exchange(client, "PUT", "/echo", body=iter(pieces), encode_chunked=True)

    assert status == 200
    seen = json.loads(answer)
    assert seen["headers"]["transfer-encoding"] == "chunked"
    assert seen["body_sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_large_body(client: http.client.HTTPConnection) -> None:
    body = os.urandom(5_000_000)
    _, answer = exchange(client, "POST", "/echo", body=body)

    assert json.loads(answer)["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_client_that_waits_to_be_asked(client: http.client.HTTPConnection) -> None:
    with socket.create_connection((client.host, client.port), timeout=10) as waiting:
        waiting.sendall(b"POST /echo HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert waiting.recv(100).startswith(b"HTTP/1.1 100 ")
        waiting.sendall(b"hi")
        assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http(client: http.client.HTTPConnection, data: bytes) -> None:
    stranger = socket.create_connection((client.host, client.port), timeout=10)
    with stranger, contextlib.suppress(ConnectionError):  # it may hang up before all is sent
        stranger.sendall(data)
        assert stranger.recv(100).startswith(b"HTTP/1.1 400 ")

    assert exchange(client, "GET", "/health")[0] == 200


def test_breaks_off_in_mid_stream(hostler_stub: Start) -> None:
    engine = hostler_stub(die_in_stream=3)
    engine.wait_ready()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)) as client:
        client.request("POST", "/v1/chat/completions", json.dumps(STREAM))
        with client.getresponse() as answer, pytest.raises((http.client.IncompleteRead, OSError)) as broken:
            answer.read()

    if isinstance(broken.value, http.client.IncompleteRead):
        assert broken.value.partial.count(b"data: ") == 3
    assert engine.wait_exit() == 1
    assert "dying after 3 chunks" in engine.stderr


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("slow", [{"chunk_delay": 60}, {"first_delay": 60}])
def test_notices_that_the_client_left(hostler_stub: Start, slow: dict[str, Any], stream: bool) -> None:
    engine = hostler_stub()
    engine.wait_ready()
    body = STREAM | {"stub": slow, "stream": stream}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)) as client:
        client.request("POST", "/v1/chat/completions", json.dumps(body))
        wait_until(lambda: stats(engine)["active"] == 1, "the answer to begin")

    engine.wait_for_output("client gone")
    after = stats(engine)
    assert (after["active"], after["gone"]) == (0, 1)


def test_notices_that_the_client_left_while_it_was_writing(hostler_stub: Start) -> None:
    engine = hostler_stub(tokens=200_000)
    engine.wait_ready()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)) as client:
        client.request("POST", "/v1/chat/completions", json.dumps(STREAM))
        with client.getresponse() as answer:
            answer.read(100)

    engine.wait_for_output("client gone")


def stats(engine: StubEngine) -> dict[str, int]:
    answer: dict[str, int] = fetch_json(engine.url + "/stub/stats")[1]
    return answer


def test_counts_requests(hostler_stub: Start) -> None:
    engine = hostler_stub()
    engine.wait_ready()
    before = stats(engine)
    fetch_json(engine.url + "/health")

    # The question itself was one more.
    assert stats(engine) == before | {"requests": before["requests"] + 2}


def test_delay_before_the_answer(hostler_stub: Start) -> None:
    engine = hostler_stub(first_delay=0.02)
    engine.wait_ready()

    assert fetch_json(engine.url + "/v1/embeddings", {"input": "a"})[0] == 200


def frame(first: int, payload: bytes, mask: bytes = b"") -> bytes:
    """A WebSocket frame; clients must mask theirs, servers must not."""
    length, masked = len(payload), 0x80 if mask else 0
    if length < 126:
        size = bytes((masked | length,))
    elif length < 65536:
        size = bytes((masked | 126,)) + length.to_bytes(2, "big")
    else:
        size = bytes((masked | 127,)) + length.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes((first,)) + size + mask + payload


def test_websocket_echo(client: http.client.HTTPConnection) -> None:
    key = base64.b64encode(b"sixteen bytes ok")
    with socket.create_connection((client.host, client.port), timeout=10) as peer:
        peer.sendall(b"GET /ws HTTP/1.1\r\nupgrade: websocket\r\nsec-websocket-key: " + key + b"\r\n\r\n")
        with peer.makefile("rb") as stream:
            assert stream.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
            head = dict(line.rstrip().split(b": ", 1) for line in iter(stream.readline, b"\r\n"))
            digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            assert head[b"sec-websocket-accept"] == base64.b64encode(digest)

            for first, back, payload in (
                (0x81, 0x81, b"hello"),
                (0x82, 0x82, bytes(300)),
                (0x02, 0x02, b"x" * 70_000),  # a fragment
                (0x89, 0x8A, b"ping"),
                (0x88, 0x88, b"\x03\xe8"),
            ):
                peer.sendall(frame(first, payload, b"mask"))
                expected = frame(back, payload)
                assert stream.read(len(expected)) == expected
            assert stream.read() == b""


def test_websocket_needs_an_upgrade(client: http.client.HTTPConnection) -> None:
    assert exchange(client, "GET", "/ws")[0] == 426
