"""Unloading by hand and shutting down: what is cut, what may end, and that it never takes for ever."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from hostler import aio
from hostler.app import Hostler
from hostler.config.schema import Group, Routing
from hostler.core import ModelId, State
from hostler.web.server import make_server, open_sockets

from .client import Client, TruncatedError, request
from .server import CHAT, config, question, running, stub, until, until_logged

A, B = ModelId("a"), ModelId("b")
PAIR = Routing(groups={"pair": Group("pair", (A, B), swap=False)})


# -- unload ------------------------------------------------------------------------------------------------


async def test_unloading_cuts_a_stream_visibly() -> None:
    async with running(config(stub("a"))) as front:
        stream = await front.stream("a", tokens=100_000, chunk_delay=0.005)
        await stream.piece()

        assert (await front.ask("POST", "/api/models/unload/a")).body == b"OK"

        _, complete = await stream.rest()
        assert not complete
        assert front.states() == {}


async def test_unloading_refuses_who_waits() -> None:
    async with running(config(stub("a", stub_options={"ready_after": 30}))) as front:
        waiting = asyncio.create_task(front.chat("a"))
        await front.until("a", State.STARTING)

        await front.ask("POST", "/api/models/unload/a")

        answer = await waiting
        assert answer.status == 503
        assert answer.error["message"] == "the model was unloaded while the request waited for it"
        assert answer.get("retry-after") == "1"
        assert front.states() == {}
        assert front.status(A).last_error == ""  # nobody is to blame


async def test_unloading_who_waits_for_room_leaves_the_other_alone() -> None:
    async with running(config(stub("a"), stub("b"))) as front:
        stream = await front.stream("a", tokens=30, chunk_delay=0.01)
        waiting = asyncio.create_task(front.chat("b"))
        await front.until_waiting("b", 1)

        await front.ask("POST", "/api/models/unload/b")

        assert (await waiting).status == 503
        _, complete = await stream.rest()
        assert complete
        assert front.states() == {"a": "ready"}


@pytest.mark.parametrize("options", [{"slow_exit": 30}, {"ignore_term": True}], ids=["slow", "deaf"])
async def test_a_slow_stop_delays_nobody_who_may_run_beside_it(options: dict[str, object]) -> None:
    models = config(stub("a", stub_options=options, unload_timeout=2), stub("b"), routing=PAIR)
    async with running(models) as front:
        await front.chat("a")
        unloading = asyncio.create_task(front.ask("POST", "/api/models/unload/a"))
        await front.until("a", State.STOPPING)

        assert (await front.chat("b")).status == 200  # cold
        assert (await front.chat("b")).status == 200  # warm

        assert front.states() == {"a": "stopping", "b": "ready"}
        assert not unloading.done()
        assert (await unloading).status == 200
        assert front.status(A).last_exit == "killed by SIGKILL"


async def test_who_asks_for_a_model_that_is_stopping_gets_its_next_run() -> None:
    async with running(config(stub("a", stub_options={"slow_exit": 0.3}))) as front:
        await front.chat("a")
        unloading = asyncio.create_task(front.ask("POST", "/api/models/unload/a"))
        await front.until("a", State.STOPPING)

        answer = await front.chat("a")

        assert answer.status == 200
        assert front.status(A).run == 2
        assert (await unloading).status == 200


async def test_a_stop_command_is_used_and_its_output_logged() -> None:
    model = stub("a", cmd_stop="sh -c 'echo stopping ${PID} by hand; kill ${PID}'")
    async with running(config(model)) as front:
        await front.chat("a")
        pid = front.status(A).pid

        await front.ask("POST", "/api/models/unload/a")

        await until_logged(front.log("a"), f"stopping {pid} by hand")


# -- shutdown ----------------------------------------------------------------------------------------------


async def test_closing_refuses_who_waits_and_lets_a_stream_end() -> None:
    """Waiting: 503 at once. Running: to its end, within the drain. New: 503. Then the engine is gone."""
    async with running(config(stub("a"), stub("b"))) as front:
        stream = await front.stream("a", tokens=60, chunk_delay=0.02)
        pid = front.status(A).pid
        assert pid is not None
        waiting = asyncio.create_task(front.chat("b"))
        await front.until_waiting("b", 1)

        closing = asyncio.create_task(front.hostler.close(drain=30))
        refused = await waiting
        late = await front.chat("a")

        for answer in (refused, late):
            assert answer.status == 503
            assert answer.get("retry-after") == "5"
            assert answer.error["message"] == "Hostler is shutting down"
        assert not closing.done()
        body, complete = await stream.rest()
        assert complete
        assert body.endswith(b"data: [DONE]\n\n")
        await closing
        assert not psutil.pid_exists(pid)
        assert front.states() == {"a": "shutdown", "b": "shutdown"}


async def test_the_drain_has_an_end() -> None:
    async with running(config(stub("a"))) as front:
        stream = await front.stream("a", tokens=100_000, chunk_delay=0.005)

        await front.hostler.close(drain=0.2)

        _, complete = await stream.rest()
        assert not complete
        assert "did not end in time" in front.log("proxy").history().decode()


async def test_a_request_that_was_just_let_in_is_not_overlooked() -> None:
    """The grant and the shutdown fall into the same moment."""
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        lease = front.hostler.fleet.lease(A)
        entering = asyncio.ensure_future(lease.__aenter__())
        await asyncio.sleep(0)
        assert "1 leases" in front.fleet

        closing = asyncio.create_task(front.hostler.close(drain=30))
        await entering
        for _ in range(5):
            await asyncio.sleep(0)

        assert not closing.done()
        assert front.states() == {"a": "ready"}
        await lease.__aexit__(None, None, None)
        await closing


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.STOPPING])
async def test_closing_does_not_wait_for_the_patience_of_a_model(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may be given ten minutes to end; a shutdown does not take that long."""
    monkeypatch.setattr("hostler.fleet.lives.SHUTDOWN_GRACE", 0.3)
    options = {"ignore_term": True, "ready_after": 30 if state is State.STARTING else 0}
    async with running(config(stub("a", stub_options=options, unload_timeout=600))) as front:
        asked = asyncio.create_task(front.chat("a"))
        await front.until("a", State.STARTING if state is State.STARTING else State.READY)
        pid = await front.until_process("a")
        if state is State.STARTING:
            await until_logged(front.log("a"), "listening")
        else:
            await asked
        if state is State.STOPPING:
            stopping = asyncio.create_task(front.ask("POST", "/api/models/unload/a"))
            await front.until("a", State.STOPPING)

        await asyncio.wait_for(front.hostler.close(drain=0), 10)

        assert not psutil.pid_exists(pid)
        if state is State.STOPPING:
            assert (await stopping).status == 200
        await asked


async def test_the_server_stops_in_order() -> None:
    """As `hostler serve` does it: no new connections, the running stream ends, then everything is gone."""
    tasks = aio.alive()
    hostler = Hostler(config(stub("a")))
    server = make_server(hostler.app, log=hostler.hub.proxy, tls=None)
    sockets = open_sockets("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    async with hostler:
        serving = aio.spawn(server.serve(sockets=sockets), name="server")
        await server.listening.wait()
        stream, idle, log = [await Client.connect(port) for _ in range(3)]
        await stream.ask_stream(question("a", stream=True, tokens=30, chunk_delay=0.02))
        assert (await idle.ask("GET", "/health")).status == 200
        await log.send(request("GET", "/logs/stream"))
        await log.head()

        server.stop_listening()
        closing = asyncio.create_task(hostler.close(drain=30))
        with pytest.raises((OSError, TruncatedError)):
            await (await Client.connect(port)).ask("GET", "/health")
        assert (await idle.ask("POST", CHAT, question("a"))).status == 503
        assert (await stream.rest())[1]
        await closing
        assert (await log.rest())[1]
        server.should_exit = True
        await asyncio.wait_for(serving, 10)

        assert await idle.end() == b""
        for client in (stream, idle, log):
            client.leave()
    await until(lambda: aio.alive() == tasks, "every task to end")
