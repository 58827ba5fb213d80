"""The HTTP edge against requests gone wrong: every connection ends in time, and no answer is another's.

What is understood is compared with h11, which reads the same bytes by itself: what our server takes for a
request, h11 must take for the same one. That our server refuses more is its right.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import pytest

from hostler.errors import HostlerError
from hostler.gateway import body as body_module
from hostler.gateway.body import BodyBudget, read_body
from hostler.gateway.edge import ClientGone, Receive, Scope, Send
from hostler.logs.monitor import LogMonitor
from hostler.web import protocol
from hostler.web.server import Server, make_server, open_sockets

from .client import Answer, Client, TruncatedError
from .fuzzing import CASES, EVIL, Case, case
from .server import config, in_process, raw_engine, running, until

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.timeout(max(60, CASES // 20))]

AT_ONCE = 64
Seen = tuple[bytes, bytes, bytes]  # method, target, body


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the rest of a request is cut off soon; the rule itself is tested elsewhere."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.3)


class Listening:
    """Our server with an application that notes what it was asked, by connection."""

    def __init__(self) -> None:
        self.seen: dict[int, list[Seen]] = {}
        self.budget = BodyBudget(1 << 30)
        self.log = LogMonitor("proxy", epoch="e")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, number = 200, b"-"
        try:
            body = await read_body(receive, scope["headers"], 1 << 20, self.budget)
            self.budget.give(len(body))
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            self.seen.setdefault(scope["client"][1], []).append((scope["method"].encode(), target, body))
            number = id_of(target)
        except ClientGone:
            return
        except HostlerError as error:
            status = error.status
        headers = [(b"x-id", number), (b"content-length", b"%d" % len(number))]
        if status != 200:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": number})


def id_of(target: bytes) -> bytes:
    found = re.search(rb"[?&]id=(\d+)", target)
    return found[1] if found else b"-"


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Listening, int]]:
    state = Listening()
    server: Server = make_server(state, log=state.log, tls=None)
    server.config.timeout_keep_alive = 0.3  # type: ignore[assignment]  # whole seconds are too long here
    sockets = open_sockets("127.0.0.1", 0)
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=sockets)
    try:
        yield state, sockets[0].getsockname()[1]
        await until(lambda: not server.server_state.connections, "every connection to end")
        await until(lambda: not server.server_state.tasks, "every request to end")
        assert state.budget.held == 0
    finally:
        server.stop_listening()
        for connection in list(server.server_state.connections):
            connection.transport.abort()


async def talk(port: int, what: Case) -> tuple[int, list[Answer]]:
    """Send a case; our port, and every answer until the server has closed."""
    client = await Client.connect(port)
    ours: int = client.writer.get_extra_info("sockname")[1]
    answers: list[Answer] = []
    try:
        for packet in what.packets:
            if client.writer.is_closing():
                break  # it has been refused already
            client.writer.write(packet)
            await asyncio.sleep(0)
        while True:
            try:
                answers.append(await client.head())
                answers[-1].body, answers[-1].complete = await client.rest()
            except TruncatedError:
                return ours, answers
    except TimeoutError:
        raise AssertionError(f"case {what.number} hangs: {what.whole!r}") from None
    finally:
        client.leave()


async def in_batches(count: int, one: Callable[[int], Awaitable[None]]) -> None:
    """`one` for each number, AT_ONCE at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def understood_by_h11(data: bytes) -> list[Seen]:
    """The whole requests that h11 finds in `data`, blank lines between them passed over."""
    found: list[Seen] = []
    while data := data.lstrip(b"\r\n"):
        one, data = first_by_h11(data)
        if one is None:
            break
        found.append(one)
    return found


def first_by_h11(data: bytes) -> tuple[Seen | None, bytes]:
    """The first request, and what follows if anything may; None when there is no whole one."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    # More than one space within the request line is allowed (RFC 9112, section 3), though h11 takes one only.
    connection.receive_data(re.sub(rb"^([A-Z]+) +([^ \r\n]+) +(?=HTTP/)", rb"\1 \2 ", data))
    method = target = body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target = bytes(event.method), bytes(event.target)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                last = connection.their_state is h11.MUST_CLOSE
                return (method, target, body), b"" if last else connection.trailing_data[0]
            else:
                return None, b""
    except h11.ProtocolError:
        return None, b""


def normal(seen: Seen) -> Seen:
    """An absolute target, or one with a fragment, names the same as its path and query."""
    method, target, body = seen
    target = re.sub(rb"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*", b"", target).partition(b"#")[0]
    return method, target.removesuffix(b"?"), body


async def test_what_is_understood_is_what_was_said() -> None:
    async with listening() as (state, port):

        async def one(number: int) -> None:
            what = case(number)
            ours, answers = await talk(port, what)
            seen = [normal(each) for each in state.seen.pop(ours, [])]
            about = f"case {number}: {what.whole!r}\nwe: {seen}\nlog: {state.log.tail(3)}"
            ids = [answer.get("x-id") for answer in answers if answer.status == 200]
            assert ids == [id_of(target).decode() for _, target, _ in seen][: len(ids)], about
            for answer in answers:
                assert answer.status in (200, 100, 400, 408, 413, 431, 503), about
                assert answer.complete, about
            expected = [normal(each) for each in understood_by_h11(what.whole)]
            assert seen == expected[: len(seen)], f"{about}\nh11: {expected}"

        await in_batches(CASES, one)


async def test_nothing_is_mixed_up_on_the_way_to_an_engine_and_back() -> None:
    """The same with everything in between: each answer is to the request in whose place it stands."""

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            await reader.readexactly(int(length[1]) if length else 0)
            number = id_of(head.split(b" ")[1])
            writer.write(b"HTTP/1.1 200 OK\r\nx-id: %b\r\ntransfer-encoding: chunked\r\n\r\n" % number)
            if not head.startswith(b"HEAD"):
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(number), number))

    async with raw_engine(engine) as engine_port, running(config(in_process("a", engine_port))) as front:
        front.server.config.timeout_keep_alive = 0.3  # type: ignore[assignment]  # as above

        async def one(number: int) -> None:
            what = case(number, "/upstream/a/x")
            _, answers = await talk(front.port, what)
            ids = [answer.get("x-id") for answer in answers if answer.status == 200 and answer.get("x-id")]
            about = f"case {number}: {what.whole!r}\n{[(a.status, a.get('x-id')) for a in answers]}"
            assert ids[:1] == ["1"], about
            known = [identity for identity in ids if identity in ("1", "2", "3")]
            assert known == sorted(known), about
            for answer in answers:
                assert answer.get("x-id") in (None, answer.body.decode()) or not answer.body, about

        await in_batches(max(200, CASES // 5), one)


HEAD = b"POST /x?id=1 HTTP/1.1\r\nhost: x\r\n"
HUGE = b"f" * 16


@pytest.mark.parametrize(
    "shape",
    [
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        HEAD + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        HEAD + b"content-length: 5, 5\r\n\r\nhello",
        HEAD + b"content-length: 5 5\r\n\r\nhello",
        HEAD + b"content-length: +5\r\n\r\nhello",
        HEAD + b"content-length: -5\r\n\r\nhello",
        HEAD + b"content-length: 0x5\r\n\r\nhello",
        HEAD + b"content-length: 5.0\r\n\r\nhello",
        HEAD + b"content-length: \r\n\r\n",
        HEAD + b"content-length: " + b"9" * 30 + b"\r\n\r\n",
        HEAD + b"content-length : 5\r\n\r\nhello",
        HEAD + b"content-length\t: 5\r\n\r\nhello",
        HEAD + b" content-length: 5\r\n\r\nhello",
        HEAD + b"content-length\0: 5\r\n\r\nhello",
        HEAD + b"content length: 5\r\n\r\nhello",
        HEAD + b"x: y\r\n folded: 5\r\n\r\n",
        HEAD + b"x: y\r\n\tcontent-length: 5\r\n\r\nhello",
        HEAD + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"x: y\rcontent-length: 5\r\n\r\nhello",
        HEAD + b"x: y\r\rcontent-length: 5\r\n\r\nhello",
        HEAD + b"x: y\ncontent-length: 5\r\n\r\nhello",
        HEAD + b"x: y\n\n",
        HEAD + b"x: a\0b\r\n\r\n",
        HEAD + b": y\r\n\r\n",
        HEAD + b"x\r\n\r\n",
        HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunkedx\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: gzip\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + HUGE + b"f\r\nhello",
        HEAD + b"transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\rXhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n;\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"\r\n", b"\n") + b"\n",
        HEAD + b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"host: y\r\n\r\n",
        HEAD.replace(b"host: x\r\n", b"") + b"\r\n",
        HEAD.replace(b" HTTP/1.1", b"") + b"\r\n",
        HEAD.replace(b" HTTP/1.1", b" HTTP/1.2") + b"\r\n",
        HEAD.replace(b" HTTP/1.1", b" HTTP/0.9") + b"\r\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.1 x") + b"\r\n",
        HEAD.replace(b"POST ", b"POST\t") + b"\r\n",
        HEAD.replace(b"/x", b"/x\r"),
        HEAD.replace(b"/x", b"/x\n"),
        HEAD.replace(b"/x", b"/x\x7f") + b"\r\n",
    ],
)  # fmt: skip
async def test_what_two_servers_could_read_differently_is_refused(shape: bytes) -> None:
    """With 400, once, and whatever comes behind it is nobody's."""
    async with listening() as (state, port):
        for packets in ((shape + EVIL,), tuple(bytes((byte,)) for byte in shape + EVIL)):
            ours, answers = await talk(port, Case(-1, packets))
            assert [answer.status for answer in answers] == [400], answers
            assert answers[0].get("connection") == "close"
            assert b"666" not in b"".join(target for _, target, _ in state.seen.pop(ours, []))


async def test_a_huge_chunk_that_does_not_come_is_not_waited_for() -> None:
    async with listening() as (_, port):
        _, answers = await talk(port, Case(-1, (HEAD + b"transfer-encoding: chunked\r\n\r\n7fffffff\r\nx",)))
        assert [answer.status for answer in answers] == [408]


@pytest.mark.parametrize("endless", [b"x: y\r\n", b"y" * 1000])
@pytest.mark.parametrize("before", [b"0\r\nx: ", b"5\r\nhello\r\n5;x="])
async def test_trailers_that_never_end_are_refused(endless: bytes, before: bytes) -> None:
    if before.endswith(b"=") and b"\r" in endless:
        endless = b"z" * 10
    async with listening() as (_, port):
        packets = (endless * (200_000 // len(endless)),) * 5
        _, answers = await talk(
            port, Case(-1, (HEAD + b"transfer-encoding: chunked\r\n\r\n" + before, *packets))
        )
        assert [answer.status for answer in answers] == [431]


async def test_large_bodies_of_small_chunks_are_not_taken_for_trailers() -> None:
    async with listening() as (state, port):
        chunks = b"1;" + b"x" * 100 + b"\r\ny\r\n"
        whole = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks * 5000 + b"0\r\nx: y\r\n\r\n"
        packets = tuple(whole[start : start + 5000] for start in range(0, len(whole), 5000))
        ours, answers = await talk(port, Case(-1, packets))
        assert [answer.status for answer in answers] == [200]
        assert state.seen[ours][0][2] == b"y" * 5000
