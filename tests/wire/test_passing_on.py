"""What goes through: headers, paths and bodies, unchanged but for what ends at a proxy."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from hostler.config.schema import ApiKey

from .client import Answer, Client, request
from .server import Front, config, in_process, raw_engine, running, stub

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Recorder:
    """An engine that notes each request as its bytes came and answers with the same bytes each time."""

    answer: bytes = OK
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            length = self.header("content-length")
            self.bodies.append(await reader.readexactly(int(length[0]) if length else 0))
            writer.write(self.answer)
            if b"length" not in self.answer.lower() and b"chunked" not in self.answer.lower():
                return

    @property
    def line(self) -> bytes:
        return self.heads[-1].split(b"\r\n")[0]

    def header(self, name: str) -> list[str]:
        pairs = [line.partition(b":") for line in self.heads[-1].split(b"\r\n")[1:]]
        return [value.strip().decode("latin-1") for key, _, value in pairs if key.decode().lower() == name]


Make = Callable[..., AsyncIterator[tuple[Front, Recorder]]]


@asynccontextmanager
async def recorded(
    answer: bytes = OK, *, name: str = "a", keys: tuple[str, ...] = (), **fields: object
) -> AsyncIterator[tuple[Front, Recorder]]:
    engine = Recorder(answer)
    async with raw_engine(engine.serve) as port:
        model = in_process(name, port, **fields)
        async with running(config(model, api_keys=tuple(ApiKey(key) for key in keys))) as front:
            yield front, engine


# -- requests ----------------------------------------------------------------------------------------------


async def test_hop_by_hop_headers_end_here() -> None:
    async with recorded() as (front, engine):
        headers = [
            ("connection", "keep-alive, x-secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-mine", "2"),
        ]
        await front.ask("POST", "/upstream/a/x", b"body", headers)

        for name, _ in headers[:-1]:
            assert engine.header(name) == [], name
        assert engine.header("x-mine") == ["2"]
        assert engine.header("content-length") == ["4"]
        assert engine.bodies == [b"body"]


async def test_a_body_in_chunks_arrives_whole_with_its_length() -> None:
    async with recorded() as (front, engine):
        client = await front.connect()
        await client.send(
            b"POST /upstream/a/x HTTP/1.1\r\nhost: front\r\ntransfer-encoding: chunked\r\n\r\n"
            b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n"
        )

        assert (await client.read()).body == b"ok"
        assert engine.bodies == [b"hello world"]
        assert engine.header("content-length") == ["11"]
        assert engine.header("x-trailer") == []


async def test_the_client_is_told_and_the_host_passed_on() -> None:
    async with recorded() as (front, engine):
        await front.get("/upstream/a/x", [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-for", "10.0.0.8")])

        assert engine.header("x-forwarded-for") == ["10.0.0.9, 10.0.0.8, 127.0.0.1"]
        assert engine.header("host") == ["front"]


async def test_headers_of_one_name_stay_apart_and_in_order() -> None:
    async with recorded() as (front, engine):
        await front.get(
            "/upstream/a/x", [("x-many", "1"), ("cookie", "a=b"), ("x-many", "2"), ("x-odd", "é")]
        )

        assert engine.header("x-many") == ["1", "2"]
        assert engine.header("x-odd") == ["é"]


async def test_a_request_without_a_host_gets_the_engines() -> None:
    async with recorded() as (front, engine):
        client = await front.connect()
        await client.send(b"GET /upstream/a/x HTTP/1.0\r\n\r\n")
        await client.read()

        assert engine.header("host")[0].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/upstream/a/", b"/"),
        ("/upstream/a/x?a=1&b=%20&&c", b"/x?a=1&b=%20&&c"),
        ("/upstream/a/x?", b"/x"),
        ("/upstream/a/%2e%2e/%2F%252F/%C3%A9?x=%00", b"/%2e%2e/%2F%252F/%C3%A9?x=%00"),
        ("/upstream/a//x//y/", b"//x//y/"),
        ("/upstream/a/../b", b"/../b"),
        ("/upstream/a/x;p=1/!$&'()*+,=:@~", b"/x;p=1/!$&'()*+,=:@~"),
        ("/upstream/a/%0d%0aevil: 1", None),
        ("/upstream/a/%0d%0aevil:1", b"/%0d%0aevil:1"),
    ],
)
async def test_the_rest_of_the_path_is_not_touched(target: str, arrives: bytes | None) -> None:
    async with recorded() as (front, engine):
        answer = await front.get(target)

        if arrives is None:
            assert answer.status == 400
        else:
            assert engine.line == b"GET " + arrives + b" HTTP/1.1"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_every_method_is_passed_on(method: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    async with recorded(answer) as (front, engine):
        assert (await front.ask(method, "/upstream/a/x")).status == 200

        assert engine.line == f"{method} /x HTTP/1.1".encode()
        needs_length = method in ("POST", "PUT", "PATCH", "PROPFIND")
        assert engine.header("content-length") == (["0"] if needs_length else [])


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/v1/chat/completions", b"/v1/chat/completions"),
        ("/v/chat/completions", b"/chat/completions"),
        ("/audioapi/v1/tasks/run", b"/v1/tasks/run"),
        ("/rerank?x=1", b"/rerank?x=1"),
    ],
)
async def test_paths_lose_what_is_only_for_us(path: str, arrives: bytes) -> None:
    async with recorded() as (front, engine):
        await front.ask("POST", path, {"model": "a"})

        assert engine.line == b"POST " + arrives + b" HTTP/1.1"


async def test_a_path_below_the_engines_address_is_kept() -> None:
    engine = Recorder()
    async with raw_engine(engine.serve) as port:
        model = in_process("a", port, proxy=f"http://127.0.0.1:{port}/base/")
        async with running(config(model)) as front:
            await front.get("/upstream/a/x?y=1")

            assert engine.line == b"GET /base/x?y=1 HTTP/1.1"


async def test_a_body_is_not_changed() -> None:
    """Neither its order nor its spaces, nor what is not JSON at all."""
    async with recorded() as (front, engine):
        json = b' {"z":1, "model" : "a","a":1e400, "u":"\\u00e9\xc3\xa9"}\n'
        await front.ask("POST", "/v1/completions", json)
        await front.ask("PUT", "/upstream/a/x", bytes(range(256)) * 1000)

        assert engine.bodies == [json, bytes(range(256)) * 1000]


@pytest.mark.parametrize("model", ["a", "an alias", "org/model:tag"])
async def test_forms_name_their_model(model: str) -> None:
    name = "org/model:tag" if "/" in model else "a"
    async with recorded(name=name, aliases=("an alias",)) as (front, engine):
        form = (
            b'--b0\r\ncontent-disposition: form-data; name="file"; filename="name=model"\r\n\r\n'
            b'RIFF\r\n\r\nname="model"\r\n\r\nwrong\r\n'
            b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"
            b"--b0--\r\n"
        )
        kind = [("content-type", "multipart/form-data; boundary=b0")]
        answer = await front.ask("POST", "/v1/audio/transcriptions", form, kind)

        assert answer.status == 200
        assert engine.bodies == [form]


async def test_queries_name_their_model() -> None:
    async with recorded() as (front, engine):
        assert (await front.get("/props?model=a&x=1")).status == 200
        assert engine.line == b"GET /props?model=a&x=1 HTTP/1.1"
        kind = [("content-type", "application/x-www-form-urlencoded")]
        assert (await front.ask("POST", "/v1/audio/speech", b"x=1&model=a", kind)).status == 200
        assert (await front.get("/props")).status == 400


@pytest.mark.parametrize(
    "shown",
    [
        ("authorization", "Bearer s3cret"),
        ("authorization", "bEaReR  s3cret"),
        ("authorization", "Basic eDpzM2NyZXQ="),
        ("x-api-key", "s3cret"),
    ],
)
async def test_the_key_for_us_is_not_shown_to_the_engine(shown: tuple[str, str]) -> None:
    async with recorded(keys=("s3cret",)) as (front, engine):
        assert (await front.get("/upstream/a/x", [shown, ("cookie", "mine")])).status == 200

        assert b"s3cret" not in engine.heads[0]
        assert b"eDpzM2NyZXQ" not in engine.heads[0]
        assert engine.header("cookie") == ["mine"]


async def test_without_keys_of_ours_a_key_is_the_engines() -> None:
    async with recorded() as (front, engine):
        await front.get("/upstream/a/x", [("authorization", "Bearer theirs")])

        assert engine.header("authorization") == ["Bearer theirs"]


# -- answers -----------------------------------------------------------------------------------------------


async def ask(front: Front, method: str = "GET") -> Answer:
    """Two requests on one connection: the second shows that the first answer was understood."""
    client: Client = await front.connect()
    answer = await client.ask(method, "/upstream/a/x")
    assert (await client.ask("GET", "/health")).body == b"OK"
    return answer


async def test_headers_of_an_answer_come_through_but_for_those_of_the_hop() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: engine\r\nSet-Cookie: a=1\r\n"
        b"set-cookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"X-Odd: \xe9\r\nContent-Length: 2\r\n\r\nok"
    )
    async with recorded(raw) as (front, _):
        answer = await ask(front)

        assert answer.get("date") == "Mon, 01 Jan 2024 00:00:00 GMT"
        assert answer.get("server") == "engine"
        assert answer.all("set-cookie") == ["a=1", "b=2"]
        assert answer.get("x-odd") == "é"
        for name in ("x-hop", "keep-alive", "connection", "transfer-encoding"):
            assert answer.get(name) is None
        assert answer.body == b"ok"


async def test_an_answer_without_a_date_gets_one() -> None:
    async with recorded() as (front, _):
        assert (await ask(front)).get("date")


async def test_a_compressed_answer_is_not_touched() -> None:
    data = gzip.compress(b"hello" * 100)
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    async with recorded(raw) as (front, engine):
        answer = await front.get("/upstream/a/x", [("accept-encoding", "br, gzip")])

        assert answer.body == data
        assert answer.get("content-encoding") == "gzip"
        assert engine.header("accept-encoding") == ["br, gzip"]


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("extra", [b"", b"content-length: 5\r\n"])
async def test_answers_that_have_no_body(status: int, extra: bytes) -> None:
    raw = b"HTTP/1.1 %d X\r\netag: e\r\n" % status + extra + b"\r\n"
    async with recorded(raw) as (front, _):
        answer = await ask(front)

        assert (answer.status, answer.body, answer.complete) == (status, b"", True)
        assert answer.get("etag") == "e"
        assert answer.get("transfer-encoding") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_the_answer_to_a_head_request(raw: bytes) -> None:
    async with recorded(raw) as (front, _):
        answer = await ask(front, "HEAD")

        assert (answer.status, answer.body) == (200, b"")
        assert answer.get("content-length") == ("5" if b"length" in raw else None)


async def test_redirects_are_the_clients_to_follow() -> None:
    raw = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n"
    async with recorded(raw) as (front, engine):
        answer = await ask(front)

        assert (answer.status, answer.get("location")) == (307, "/else")
        assert len(engine.heads) == 1


async def test_trailers_are_dropped_and_interim_answers_passed_over() -> None:
    raw = (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3;ext\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"
    )
    async with recorded(raw) as (front, _):
        answer = await ask(front)

        assert answer.body == b"abc"
        assert answer.get("x-sum") is None
        assert answer.get("trailer") is None
        assert answer.get("link") is None


async def test_an_answer_that_ends_with_its_connection() -> None:
    async with recorded(b"HTTP/1.0 200 OK\r\n\r\nold engine") as (front, _):
        answer = await ask(front)

        assert (answer.body, answer.complete) == (b"old engine", True)


@pytest.mark.parametrize("status", [400, 404, 418, 429, 500, 503])
async def test_errors_of_the_engine_are_its_own(status: int) -> None:
    raw = b"HTTP/1.1 %d Oh\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nmine" % status
    async with recorded(raw) as (front, _):
        answer = await ask(front)

        assert (answer.status, answer.body, answer.get("retry-after")) == (status, b"mine", "3")


async def test_event_streams_ask_not_to_be_held_back() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata: 1\n\n"
    async with recorded(raw) as (front, _):
        assert (await ask(front)).get("x-accel-buffering") == "no"


async def test_pieces_are_passed_on_as_they_come() -> None:
    """Each byte before the next one is written: nobody waits for a buffer to fill."""
    go = asyncio.Event()

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for letter in b"hello":
            await go.wait()
            go.clear()
            writer.write(b"1\r\n%c\r\n" % letter)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/x"))
        await client.head()  # comes before any of the body
        for letter in (b"h", b"e", b"l", b"l", b"o"):
            go.set()
            assert await client.piece() == letter
        assert await client.piece() == b""


# -- /upstream/{model} -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model", "rest"),
    [
        ("/upstream/a/x", "a", "/x"),
        ("/upstream/a/b/x", "a/b", "/x"),
        ("/upstream/a%2Fb/x", "a/b", "/x"),
        ("/upstream/a%2fb/c/d", "a/b", "/c/d"),
        ("/upstream/nick/x", "a/b", "/x"),
        ("/upstream/a/bb/x", "a", "/bb/x"),
        ("/upstream/caf%C3%A9/x", "café", "/x"),
    ],
)
async def test_the_longest_prefix_that_is_a_model_wins(path: str, model: str, rest: str) -> None:
    engines = {name: Recorder() for name in ("a", "a/b", "café")}
    async with (
        raw_engine(engines["a"].serve) as one,
        raw_engine(engines["a/b"].serve) as two,
        raw_engine(engines["café"].serve) as three,
    ):
        models = config(
            in_process("a", one), in_process("a/b", two, aliases=("nick",)), in_process("café", three)
        )
        async with running(models) as front:
            assert (await front.get(path)).status == 200

            assert engines[model].line == f"GET {rest} HTTP/1.1".encode()
            assert sum(len(engine.heads) for engine in engines.values()) == 1


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308)])
async def test_a_missing_slash_is_added(method: str, status: int) -> None:
    async with running(config(stub("a/b"))) as front:
        answer = await front.ask(method, "/upstream/a%2Fb?x=%2F&y", b"{}" if status == 308 else None)

        assert answer.status == status
        assert answer.get("location") == "/upstream/a%2Fb/?x=%2F&y"
        assert front.states() == {}


@pytest.mark.parametrize("path", ["/upstream/nobody/x", "/upstream/", "/upstream//a/x", "/upstream/A/x"])
async def test_a_model_that_is_not_there(path: str) -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.get(path)

        assert answer.status == 404
        assert answer.error["message"] == "model not found"
