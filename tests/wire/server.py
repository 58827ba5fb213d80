"""A real Hostler on a free port, in this process, with real engines, on whatever loop the test runs."""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn

from hostler import aio
from hostler.app import Hostler
from hostler.config.schema import Config, Model
from hostler.core import ModelId, State
from hostler.fleet.slot import ModelStatus
from hostler.logs.files import LogFiles
from hostler.logs.monitor import LogMonitor
from hostler.testing.stub import stub_argv
from hostler.web.edge import ServerEdge
from hostler.web.protocol import HostlerProtocol
from hostler.web.server import Server, make_server, open_sockets

from .client import PATIENCE, Answer, Client, Pairs

CHAT = "/v1/chat/completions"
# Every test here must also hold without the relay; scripts/test runs them a second time so.
ONLY_SEND = bool(os.environ.get("HOSTLER_TEST_ONLY_SEND"))
# Below the range from which clients get their ports, and apart for processes that test side by side.
_ports = itertools.count(12_000 + os.getpid() % 9 * 2_000 + os.getpid() % 19 * 100)


def engine_port() -> int:
    """A port for an engine that is started later."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")


def stub(
    name: str, /, *, stub_options: dict[str, Any] | None = None, argv: list[str] | None = None, **fields: Any
) -> Model:
    """A model served by the stub engine, started with `stub_options` (or by another command line)."""
    port = fields.pop("port", None) or engine_port()
    command = argv or stub_argv(port, model=name, **(stub_options or {}))
    fields.setdefault("proxy", f"http://127.0.0.1:{port}")
    return Model(id=ModelId(name), cmd=shlex.join(command), port=port, **fields)


def config(*models: Model, **fields: Any) -> Config:
    """A configuration of `models`; aliases are taken from them."""
    aliases = {alias: model.id for model in models for alias in model.aliases}
    return Config(models={model.id: model for model in models}, aliases=aliases, **fields)


async def turn(seconds: float) -> None:
    """Let everybody else go on for a moment; what is waited for is looked at again and again."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    handle = loop.call_later(seconds, over.set_result, None)
    try:
        await over
    finally:
        handle.cancel()


async def until(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Look again and again, until `condition()` holds; fails, naming `what`, when it never does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not condition():
        assert loop.time() < deadline, f"waited {timeout:g} s for {what}"
        await turn(0.002)


async def until_logged(monitor: LogMonitor, text: str) -> str:
    """Follow `monitor` from its oldest byte until `text` was written; what was there by then."""
    seen = b""
    async with monitor.follow(history=True) as follower, asyncio.timeout(PATIENCE):
        async for chunk in follower:
            seen += chunk.data
            if text.encode() in seen:
                return seen.decode("utf-8", "replace")
    raise AssertionError(f"the log ended without {text!r}")


class Front:
    """A running Hostler and ways to ask it."""

    def __init__(self, hostler: Hostler, server: Server, port: int) -> None:
        self.hostler = hostler
        self.server = server
        self.port = port
        self.clients: list[Client] = []

    @property
    def fleet(self) -> str:
        return repr(self.hostler.fleet)

    def status(self, model: str) -> ModelStatus:
        return next(row for row in self.hostler.fleet.status() if row.id == model)

    def log(self, name: str) -> LogMonitor:
        monitor = self.hostler.hub.find(name)
        assert monitor is not None
        return monitor

    def states(self) -> dict[str, str]:
        """Every model that is not stopped."""
        rows = self.hostler.fleet.status()
        return {row.id: row.state.value for row in rows if row.state is not State.STOPPED}

    async def until(self, model: str, state: State) -> None:
        await until(lambda: self.status(model).state is state, f"{model} to be {state}")

    async def until_waiting(self, model: str, count: int) -> None:
        await until(lambda: self.status(model).waiting == count, f"{count} to wait for {model}")

    async def until_idle(self) -> None:
        await until(lambda: "| 0 leases, 0 waiting" in self.fleet, "no lease and nobody waiting")

    async def until_idle_but(self, leases: int) -> None:
        await until(lambda: f"| {leases} leases, 0 waiting" in self.fleet, f"{leases} leases")

    async def until_process(self, model: str) -> int:
        """The process id, as soon as there is one."""
        await until(lambda: self.status(model).pid is not None, f"a process of {model}")
        pid = self.status(model).pid
        assert pid is not None
        return pid

    async def kill(self, model: str) -> None:
        """SIGKILL to the engine."""
        os.kill(await self.until_process(model), signal.SIGKILL)

    async def connect(self) -> Client:
        client = await Client.connect(self.port)
        self.clients.append(client)
        return client

    async def ask(self, method: str, target: str, body: Any = None, headers: Pairs = ()) -> Answer:
        """One request on a connection of its own."""
        async with await self.connect() as client:
            return await client.ask(method, target, body, headers)

    async def get(self, target: str, headers: Pairs = ()) -> Answer:
        return await self.ask("GET", target, None, headers)

    async def chat(self, model: str, **behaviour: Any) -> Answer:
        """A chat answer in one piece; `behaviour` is for the stub."""
        return await self.ask("POST", CHAT, question(model, **behaviour))

    async def stream(self, model: str, **behaviour: Any) -> Client:
        """A chat answer as a stream, of which the head was read and found to be good."""
        client = await self.connect()
        await client.ask_stream(question(model, stream=True, **behaviour))
        return client

    async def stats(self, model: str) -> dict[str, int]:
        """What the stub behind `model` has seen, asked behind Hostler's back."""
        configured = self.hostler.config.models[ModelId(model)]
        assert configured.port is not None
        async with await Client.connect(configured.port) as client:
            found: dict[str, int] = (await client.ask("GET", "/stub/stats")).json()
            return found


def question(model: str, *, stream: bool = False, **behaviour: Any) -> dict[str, Any]:
    """The body of a chat request."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    if stream:
        body["stream"] = True
    if behaviour:
        body["stub"] = behaviour
    return body


class SendingEdge(ServerEdge):
    """An edge whose answers take the way of any ASGI server's: one awaited `send` for each piece."""

    def writer(self) -> None:
        return None


class SendingProtocol(HostlerProtocol):
    edge_type = SendingEdge

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at_once = frozenset()


@asynccontextmanager
async def running(
    configuration: Config,
    *,
    plain: bool = False,
    websockets: Literal["none", "websockets-sansio"] = "none",
    tls: tuple[str, str] | None = None,
    files: LogFiles | None = None,
) -> AsyncIterator[Front]:
    """Hostler with `configuration` behind its own server, or behind uvicorn as it comes (`plain`).

    At the end nothing may be left: no lease, no task, no byte of a body.
    """
    tasks = aio.alive()
    hostler = Hostler(configuration, log_files=files)
    server = make_server(hostler.app, log=hostler.hub.proxy, tls=tls)
    if ONLY_SEND:
        server.config.http_protocol_class = SendingProtocol
    if plain:
        server = Server(uvicorn.Config(hostler.app, http="httptools", ws=websockets, log_config=None))
        server.config.load()
    sockets = open_sockets("127.0.0.1", 0)
    # Without uvicorn's main loop, which looks ten times a second whether it is to end.
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=sockets)
    front = Front(hostler, server, sockets[0].getsockname()[1])
    try:
        async with hostler:
            yield front
    finally:
        for client in front.clients:
            client.leave()
        server.stop_listening()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await until(lambda: not server.server_state.tasks, "every request to end")
    assert "| 0 leases, 0 waiting" in front.fleet
    assert hostler.gateway.budget.held == 0
    await until(lambda: aio.alive() == tasks, "every task to end")


@asynccontextmanager
async def raw_engine(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """An engine in this process, on the port that is given: each connection is `handler`'s."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


def in_process(name: str, port: int, /, **fields: Any) -> Model:
    """A model whose engine is a server of the test; its process only sleeps."""
    return stub(name, argv=["sleep", "600"], port=port, check_endpoint="none", **fields)
