"""The client library against a server that answers what we tell it to."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from fake_api import Answer, FakeApi, Stream, serving
from hostler.client import ApiError, BrokenError, CallError, HostlerClient, NotRunningError, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.wire


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as fake:
        yield fake


@pytest.fixture
def client(api: FakeApi) -> HostlerClient:
    return HostlerClient(api.url, timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_short_questions(api: FakeApi, client: HostlerClient) -> None:
    api.routes |= {
        "GET /health": Answer(b"OK", type="text/plain"),
        "GET /api/version": Answer.of({"version": "1.2", "commit": "", "build_date": ""}),
        "GET /v1/models": Answer.of({"object": "list", "data": [{"id": "a"}]}),
        "GET /api/models": Answer.of({"models": [{"id": "a", "state": "stopped"}]}),
        "GET /running": Answer.of({"running": []}),
        "POST /api/models/unload": Answer.of({"msg": "ok"}),
    }

    assert client.health()
    assert client.version()["version"] == "1.2"
    assert client.models() == [{"id": "a"}]
    assert client.status()[0]["state"] == "stopped"
    assert client.running() == []
    client.unload()


def test_ids_keep_their_slashes_and_nothing_else(api: FakeApi, client: HostlerClient) -> None:
    """A model id is one thing to us and a path to HTTP."""
    api.routes["POST /api/models/load/org/m%20x%3F%25"] = Answer.of({"model": "org/m x?%", "seconds": 0.5})
    api.routes["POST /api/models/unload/org/m"] = Answer(b"OK")

    assert client.load("org/m x?%") == {"model": "org/m x?%", "seconds": 0.5}
    client.unload("org/m")
    assert path_of("a/b#c") == "a/b%23c"


def test_key_is_shown(api: FakeApi) -> None:
    api.routes["GET /health"] = Answer(b"OK")

    HostlerClient(api.url, "secret").health()
    HostlerClient(api.url, "").health()

    assert [seen.headers.get("authorization") for seen in api.seen] == ["Bearer secret", None]


def test_environment_names_the_server(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.routes["GET /base/health"] = Answer(b"OK")
    monkeypatch.setenv("HOSTLER_URL", f"{api.url}/base/")
    monkeypatch.setenv("HOSTLER_API_KEY", "k")

    client = HostlerClient()

    assert client.health()
    assert repr(client) == f"<HostlerClient {api.url}/base with a key>"


def test_error_carries_what_the_server_said(api: FakeApi, client: HostlerClient) -> None:
    api.routes["POST /api/models/load/m"] = Answer.of(
        {
            "src": "hostler",
            "error": {
                "message": "m did not start: exit code 1",
                "type": "server_error",
                "param": None,
                "code": "bad_gateway",
                "details": {"cause": {"kind": "oom", "message": "no memory"}, "log": ["one", "two"]},
            },
        },
        502,
    )

    with pytest.raises(ApiError) as caught:
        client.load("m")

    error = caught.value
    assert (error.status, error.code, str(error)) == (502, "bad_gateway", "m did not start: exit code 1")
    assert error.cause["message"] == "no memory"
    assert error.log_lines == ["one", "two"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"404 page not found\n", "404 page not found"),
        (b"hostler: no such log", "no such log"),
        (b"", "404 Not Found"),
        (b'{"error": "plain"}', "plain"),
        (b'{"error": {}}', "404 Not Found"),
        (b"[1]", "[1]"),
    ],
)
def test_error_of_another_shape(api: FakeApi, client: HostlerClient, body: bytes, message: str) -> None:
    """What is not our error shape is shown as it is."""
    api.routes["GET /running"] = Answer(body, 404)

    with pytest.raises(ApiError) as caught:
        client.running()

    assert str(caught.value) == message
    assert caught.value.cause == {}
    assert caught.value.log_lines == []


def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(NotRunningError, match=rf"^no Hostler at {url}; start one with `hostler serve`$"):
        HostlerClient(url).health()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://h:port", "http://h:99999"])
def test_address_that_is_none(url: str) -> None:
    with pytest.raises(CallError, match="not an address"):
        HostlerClient(url)


def test_scheme_may_be_left_out(api: FakeApi) -> None:
    api.routes["GET /health"] = Answer(b"OK")

    assert HostlerClient(api.url.removeprefix("http://")).health()


def test_somebody_else_answers(api: FakeApi, client: HostlerClient) -> None:
    api.routes["GET /running"] = Answer(b"<html>", type="text/html")

    with pytest.raises(BrokenError, match="does not speak Hostler's API"):
        client.running()


def test_answer_is_cut_short(api: FakeApi, client: HostlerClient) -> None:
    api.routes["GET /running"] = Answer(b'{"running":', claims=100)
    api.routes["GET /logs"] = Answer(b"half", claims=100)

    with pytest.raises(BrokenError):
        client.running()
    with pytest.raises(BrokenError), client.logs() as stream:
        list(stream)


def test_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = HostlerClient(f"127.0.0.1:{mute.getsockname()[1]}", timeout=0.05)

        with pytest.raises(BrokenError, match=r"no answer in 0\.05 s"):
            client.health()


def test_history_is_byte_exact(api: FakeApi, client: HostlerClient) -> None:
    text = bytes(range(256)) * 1000
    api.routes["GET /logs/org/m"] = Answer(text, type="text/plain")

    with client.logs("org/m") as stream:
        assert b"".join(stream) == text

    assert api.seen[0].headers["accept"] == "text/plain"


def test_follow_gives_bytes_as_they_arrive(api: FakeApi, client: HostlerClient) -> None:
    log = Stream(b"history\n")
    api.routes["GET /logs/stream/m"] = log

    with client.logs("m", follow=True) as stream:
        assert next(stream) == b"history\n"
        log.write(b"half a li")
        assert next(stream) == b"half a li"
        log.end()
        assert list(stream) == []


def test_follow_without_history(api: FakeApi, client: HostlerClient) -> None:
    log = Stream()
    log.end()
    api.routes["GET /logs/stream?no-history"] = log

    with client.logs(follow=True, history=False) as stream:
        assert list(stream) == []


def test_follow_notices_a_broken_connection(api: FakeApi, client: HostlerClient) -> None:
    log = Stream(b"x")
    log.breaks()
    api.routes["GET /logs/stream"] = log

    with client.logs(follow=True) as stream:
        assert next(stream) == b"x"
        with pytest.raises(BrokenError):
            next(stream)


def test_close_wakes_a_reader(api: FakeApi, client: HostlerClient) -> None:
    """Any thread may end a stream that another one waits on."""
    log = Stream(b"x")
    api.routes["GET /logs/stream"] = log
    stream = client.logs(follow=True)
    got: list[bytes] = []
    first = threading.Event()

    def read() -> None:
        for chunk in stream:
            got.append(chunk)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(10)
    stream.close()
    reader.join(10)

    assert not reader.is_alive()
    assert got == [b"x"]


def test_unknown_log(api: FakeApi, client: HostlerClient) -> None:
    api.routes["GET /logs/stream/nope"] = Answer.of({"error": {"message": "invalid logger"}}, 400)

    with pytest.raises(ApiError, match="invalid logger"):
        client.logs("nope", follow=True)
