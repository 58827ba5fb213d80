"""Another configuration while everything runs: what need not change goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hostler.config.schema import ApiKey, Config, Group, Model, Routing
from hostler.core import ModelId, State

from .server import CHAT, Front, config, question, running, stub, until

A, B = ModelId("a"), ModelId("b")
TOGETHER = Routing(groups={"all": Group("all", (A, B), swap=False)})


def changed(front: Front, model: str, **fields: Any) -> Config:
    """The running configuration with other fields of one model."""
    models = dict(front.hostler.config.models)
    models[ModelId(model)] = replace(models[ModelId(model)], **fields)
    aliases = {alias: one.id for one in models.values() for alias in one.aliases}
    return replace(front.hostler.config, models=models, aliases=aliases)


def other_process(model: Model) -> Model:
    """The same model on another port, as another command would be."""
    fresh = stub(str(model.id))
    return replace(model, cmd=fresh.cmd, port=fresh.port, proxy=fresh.proxy)


async def test_what_needs_no_other_process_counts_at_once() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        pid = front.status("a").pid

        front.hostler.replace(
            changed(front, "a", aliases=("nick",), name="A model", metadata={"x": 1}, ttl=3600)
        )

        assert (await front.chat("nick")).status == 200
        (row,) = (await front.get("/v1/models")).json()["data"]
        assert (row["name"], row["meta"]["llamaswap"]["x"]) == ("A model", 1)
        assert (await front.get("/running")).json()["running"][0]["ttl"] == 3600
        assert front.status("a").pid == pid


async def test_a_shorter_ttl_counts_from_the_last_use() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")

        front.hostler.replace(changed(front, "a", ttl=1))

        await front.until("a", State.STOPPED)
        assert "a: stopped (idle)" in front.log("proxy").history().decode()


async def test_a_model_with_another_command_ends_what_it_has_begun() -> None:
    """The stream comes to its end on the old process; who comes later is served by the new one."""
    async with running(config(stub("a"))) as front:
        stream = await front.stream("a", tokens=30, chunk_delay=0.01)
        old = front.status("a").pid
        new = other_process(front.hostler.config.models[A])

        front.hostler.replace(changed(front, "a", cmd=new.cmd, port=new.port, proxy=new.proxy))
        later = asyncio.create_task(front.chat("a"))
        await front.until_waiting("a", 1)
        assert front.status("a").pid == old

        body, complete = await stream.rest()
        assert complete
        assert body.endswith(b"data: [DONE]\n\n")
        assert (await later).status == 200
        assert front.status("a").pid != old
        assert front.status("a").run == 2
        stream.leave()


async def test_a_model_with_another_command_that_is_idle_is_not_started_before_it_is_needed() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        new = other_process(front.hostler.config.models[A])

        front.hostler.replace(changed(front, "a", cmd=new.cmd, port=new.port, proxy=new.proxy))

        await front.until("a", State.STOPPED)
        assert (await front.chat("a")).status == 200
        assert front.status("a").base_url == new.proxy


async def test_a_load_under_way_begins_anew_for_those_who_wait() -> None:
    """The old command hangs; with the repaired one everybody who waited is served."""
    async with running(config(stub("a", stub_options={"ready_after": 600}))) as front:
        waiting = [asyncio.create_task(front.chat("a")) for _ in range(3)]
        await front.until_waiting("a", 3)
        await front.until_process("a")
        new = other_process(front.hostler.config.models[A])

        front.hostler.replace(changed(front, "a", cmd=new.cmd, port=new.port, proxy=new.proxy))

        assert [(await one).status for one in waiting] == [200, 200, 200]


async def test_a_removed_model_serves_what_it_has_and_goes() -> None:
    async with running(config(stub("a", concurrency_limit=1), stub("b"), routing=TOGETHER)) as front:
        await front.chat("b")
        pid = front.status("b").pid
        stream = await front.stream("a", tokens=20, chunk_delay=0.01)
        queued = asyncio.create_task(front.chat("a"))
        await front.until_waiting("a", 1)

        models = {B: front.hostler.config.models[B]}
        front.hostler.replace(replace(front.hostler.config, models=models))

        assert (await front.chat("a")).status == 404
        _, complete = await stream.rest()
        assert complete
        assert (await queued).status == 200
        await until(lambda: [row.id for row in front.hostler.fleet.status()] == [B], "a to be gone")
        assert front.status("b").pid == pid
        assert (await front.get("/logs/a")).status == 200, "its log stays"
        stream.leave()


async def test_a_removed_model_that_comes_back_in_time_was_never_gone() -> None:
    async with running(config(stub("a"), stub("b"), routing=TOGETHER)) as front:
        stream = await front.stream("a", tokens=20, chunk_delay=0.01)
        before = front.hostler.config
        pid = front.status("a").pid

        front.hostler.replace(replace(before, models={B: before.models[B]}))
        front.hostler.replace(before)

        _, complete = await stream.rest()
        assert complete
        assert (await front.chat("a")).status == 200
        assert front.status("a").pid == pid
        stream.leave()


async def test_limits_count_at_once() -> None:
    async with running(config(stub("a", concurrency_limit=1))) as front:
        stream = await front.stream("a", tokens=2000, chunk_delay=0.01)
        queued = asyncio.create_task(front.chat("a"))
        await front.until_waiting("a", 1)

        front.hostler.replace(changed(front, "a", concurrency_limit=2, queue_limit=1))

        assert (await queued).status == 200
        stream.leave()


async def test_keys_count_at_once() -> None:
    async with running(config(stub("a"))) as front:
        assert (await front.chat("a")).status == 200

        front.hostler.replace(replace(front.hostler.config, api_keys=(ApiKey("s3cret"),)))

        assert (await front.chat("a")).status == 401
        assert (await front.get("/running")).status == 401
        key = [("authorization", "Bearer s3cret")]
        assert (await front.ask("POST", CHAT, question("a"), key)).status == 200
        assert (await front.get("/running", key)).status == 200


async def test_the_size_of_bodies_counts_at_once() -> None:
    async with running(config(stub("a"), max_body_mb=1)) as front:
        body = question("a") | {"padding": "x" * 1_100_000}
        assert (await front.ask("POST", CHAT, body)).status == 413

        front.hostler.replace(replace(front.hostler.config, max_body_mb=2))

        assert (await front.ask("POST", CHAT, body)).status == 200


@pytest.mark.parametrize("path", ["/api/config/plan", "/api/config/reload"])
async def test_without_a_file_there_is_nothing_to_read_again(path: str) -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.ask("POST", path)

    assert answer.status == 409
    assert "without a configuration file" in answer.json()["error"]["message"]


async def test_secrets_are_in_no_log_and_no_answer_before_and_after() -> None:
    """An engine's command line may hold a key; what Hostler says of it does not."""
    model = stub("a")
    first, second = "f1rst-key", "sec0nd-key"
    with_key = replace(model, cmd=f"{model.cmd} --startup-log {first}")
    async with running(config(with_key, secrets=frozenset({first}))) as front:
        await front.chat("a")
        assert "--startup-log ***" in (await front.get("/running")).json()["running"][0]["cmd"]

        # Now as a command that cannot be started, which is told with its words.
        broken = replace(model, cmd=f"/no/such/{second} --port 1")
        front.hostler.replace(
            config(broken, secrets=frozenset({second})),
        )
        await front.until("a", State.STOPPED)
        assert (await front.chat("a")).status == 502
        assert (await front.get("/api/models")).json()["models"][0]["last_error"] != ""

        said = front.log("proxy").history().decode()
        shown = (await front.get("/api/models")).body + (await front.get("/ui/")).body
        assert "no/such" in said
        for secret in (first, second):
            assert secret not in said
            assert secret.encode() not in shown
