"""Several models behind one port: who runs, who waits, who goes."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice

import pytest

from hostler.config.schema import Fifo, Group, Routing
from hostler.core import ModelId, State

from .client import Answer
from .server import Front, config, question, running, stub, until

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")


def group(name: str, *members: ModelId, **fields: bool) -> dict[str, Group]:
    return {name: Group(name, members, **fields)}


async def test_a_model_makes_room_for_the_next_one() -> None:
    """A, B, A again: one process at a time, each life a run of its own."""
    async with running(config(stub("a"), stub("b"))) as front:
        pids = []
        for model, run in ((A, 1), (B, 1), (A, 2)):
            answer = await front.chat(model)

            assert answer.status == 200
            assert answer.json()["model"] == model
            assert front.states() == {model: "ready"}
            status = front.status(model)
            assert status.run == run
            assert status.pid is not None
            pids.append(status.pid)
        assert len(set(pids)) == 3


async def test_a_swap_never_cuts_a_running_stream() -> None:
    """Who waits for B is served once the stream of A has come to its end."""
    async with running(config(stub("a"), stub("b"))) as front:
        stream = await front.stream("a", tokens=40, chunk_delay=0.01)
        waiting = asyncio.create_task(front.chat("b"))
        await front.until_waiting("b", 1)
        assert front.states() == {"a": "ready"}

        body, complete = await stream.rest()

        assert complete
        assert body.endswith(b"data: [DONE]\n\n")
        assert (await waiting).json()["model"] == "b"
        assert front.states() == {"b": "ready"}
        stream.leave()


async def test_mixed_requests_are_all_answered() -> None:
    """Thirty at once for three models: batched, so that a model is started once each."""
    models = [stub(name) for name in (A, B, C)]
    async with running(config(*models)) as front:
        wanted = list(islice(cycle((A, B, C)), 30))

        answers = await asyncio.gather(*(front.chat(model) for model in wanted))

        assert [answer.status for answer in answers] == [200] * 30
        assert [answer.json()["model"] for answer in answers] == wanted
        assert [front.status(model).run for model in (A, B, C)] == [1, 1, 1]


async def test_members_of_a_group_without_swap_run_together() -> None:
    routing = Routing(groups=group("pair", A, B, swap=False))
    async with running(config(stub("a"), stub("b"), stub("c"), routing=routing)) as front:
        await asyncio.gather(front.chat("a"), front.chat("b"))
        assert front.states() == {"a": "ready", "b": "ready"}

        await front.chat("c")
        assert front.states() == {"c": "ready"}

        await front.chat("b")
        assert front.states() == {"b": "ready"}


async def test_a_persistent_group_stays() -> None:
    routing = Routing(groups=group("forever", A, persistent=True, exclusive=False))
    async with running(config(stub("a"), stub("b"), stub("c"), routing=routing)) as front:
        for model in ("a", "b", "c"):
            await front.chat(model)

        assert front.states() == {"a": "ready", "c": "ready"}
        assert front.status(A).run == 1


async def test_a_group_that_is_not_exclusive_lets_others_run() -> None:
    routing = Routing(groups=group("beside", B, exclusive=False))
    async with running(config(stub("a"), stub("b"), routing=routing)) as front:
        await front.chat("a")
        await front.chat("b")
        assert front.states() == {"a": "ready", "b": "ready"}

        await front.chat("a")
        assert front.states() == {"a": "ready", "b": "ready"}


async def _keep_busy(front: Front, model: str, stop: asyncio.Event) -> list[Answer]:
    answers = []
    while not stop.is_set():
        answers.append(await front.chat(model, first_delay=0.02))
    return answers


async def test_a_busy_model_cannot_starve_another() -> None:
    """Three clients never leave A idle; after maxWait it makes room all the same."""
    routing = Routing(fifo=Fifo(max_wait=0.2))
    async with running(config(stub("a"), stub("b"), routing=routing)) as front:
        await front.chat("a")
        stop = asyncio.Event()
        busy = [asyncio.create_task(_keep_busy(front, "a", stop)) for _ in range(3)]
        await until(lambda: front.status(A).active > 0, "A to be busy")

        answer = await front.chat("b")

        assert answer.status == 200
        stop.set()
        answers = [answer for task in busy for answer in await task]
        assert {answer.status for answer in answers} == {200}


async def test_the_old_process_is_gone_before_the_new_one_comes() -> None:
    """A grandchild that outlives the engine counts as the engine: it may hold the memory."""
    import psutil

    slow = stub("a", stub_options={"grandchild": True})
    async with running(config(slow, stub("b"))) as front:
        await front.chat("a")
        pid = front.status(A).pid
        assert pid is not None
        left = psutil.Process(pid).children()
        assert left

        await front.chat("b")

        assert not [child for child in left if child.is_running() and child.status() != "zombie"]


async def test_a_new_run_is_not_taken_for_stopped_when_the_old_ones_remains_go() -> None:
    """The end of run 1 is complete after run 2 was asked for; its state is not that of run 2."""
    model = stub("a", stub_options={"grandchild": True}, ttl=1)
    async with running(config(model)) as front:
        await front.chat("a")
        changes: list[State] = []
        front.hostler.fleet.listeners.append(lambda _, state: changes.append(state))

        unloading = asyncio.create_task(front.ask("POST", "/api/models/unload/a"))
        await front.until("a", State.STOPPING)
        again = asyncio.create_task(front.chat("a"))
        assert (await unloading).body == b"OK"
        assert (await again).status == 200

        assert changes == [State.STOPPING, State.STOPPED, State.STARTING, State.READY]
        assert front.states() == {"a": "ready"}
        await front.until("a", State.STOPPED)  # by its ttl, which needs the right state


@pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
async def test_a_waiter_that_leaves_is_forgotten(plain: bool) -> None:
    """B is not loaded for somebody who is gone."""
    async with running(config(stub("a"), stub("b")), plain=plain) as front:
        stream = await front.stream("a", tokens=1000, chunk_delay=0.01)
        client = await front.connect()
        waiting = asyncio.create_task(client.ask("POST", "/v1/chat/completions", question("b")))
        await front.until_waiting("b", 1)

        client.leave()
        await front.until_waiting("b", 0)

        with pytest.raises(Exception, match="no answer"):
            await waiting
        assert front.fleet == "<Fleet 1 ready, 0 loading | 1 leases, 0 waiting>"
        stream.leave()
        await front.until_idle()
        assert front.states() == {"a": "ready"}
        assert front.status(B).run == 0
