"""Names and what they stand for: http.md sections 4.2 to 4.5, 5, 6 and 7, over real sockets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hostler.config.schema import (
    ApiKey,
    Filters,
    Group,
    Peer,
    Profile,
    Routing,
    Selector,
)
from hostler.core import ModelId, State
from hostler.testing.serving import serving

from .client import Client
from .mirror import mirror, seen
from .server import CHAT, Front, config, in_process, question, running, stub, until

# What is close to sockets is tested on both loops elsewhere.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

A, B = ModelId("a"), ModelId("b")
TOGETHER = Routing(groups={"all": Group("all", (A, B), swap=False)})
FORM = [("content-type", "multipart/form-data; boundary=b")]


def form(model: str, **fields: str) -> bytes:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"model": model, **fields}.items()
    )
    audio = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\xff\r\n'
    return parts.encode() + audio + b"--b--\r\n"


def peer(name: str, port: int, *models: str, **fields: Any) -> Peer:
    return Peer(name, f"http://127.0.0.1:{port}/base", models, **fields)


async def post(front: Front, model: str, path: str = CHAT, **more: Any) -> Any:
    return await front.ask("POST", path, {"model": model, "messages": [], **more})


# -- 4.3 filters ---------------------------------------------------------------------------------------------


async def test_4_3_filters_change_the_body_on_its_way() -> None:
    async with mirror() as port:
        filters = Filters(strip_params=("top_k",), set_params={"temperature": 0.5})
        model = in_process("a", port, filters=filters, use_model_name="real/name")
        async with running(config(model)) as front:
            got = seen(await post(front, "a", top_k=1, keep=1.10))

    assert got.json == {"model": "real/name", "messages": [], "keep": 1.1, "temperature": 0.5}
    assert int(got.headers["content-length"]) == len(got.body)


async def test_4_3_a_body_that_needs_no_change_arrives_as_it_was_sent() -> None:
    body = b'{ "model":"a",\n\t"x": 1.0 ,"u":"\\u00e9"}'
    async with mirror() as port, running(config(in_process("a", port))) as front:
        got = seen(await front.ask("POST", CHAT, body, [("content-type", "application/json")]))

    assert got.body == body


async def test_4_3_set_params_by_id_is_an_alias_with_settings() -> None:
    async with mirror() as port:
        filters = Filters(set_params_by_id={"a:high": {"reasoning_effort": "high"}})
        model = in_process("a", port, filters=filters, aliases=("a:high",))
        async with running(config(model)) as front:
            high, plain = seen(await post(front, "a:high")), seen(await post(front, "a"))

    assert high.json["reasoning_effort"] == "high"
    assert "reasoning_effort" not in plain.json


async def test_4_3_forms() -> None:
    async with mirror() as port:
        model = in_process("a", port, use_model_name="whisper-large")
        async with running(config(model)) as front:
            got = seen(await front.ask("POST", "/v1/audio/transcriptions", form("a", language="en"), FORM))

    assert got.body == form("whisper-large", language="en")


async def test_4_3_upstream_is_never_filtered() -> None:
    async with mirror() as port:
        model = in_process("a", port, filters=Filters(set_params={"x": 1}), use_model_name="real")
        async with running(config(model)) as front:
            got = seen(await post(front, "a", f"/upstream/a{CHAT}"))

    assert got.json == {"model": "a", "messages": []}
    assert got.target == CHAT


# -- 4.4 profiles --------------------------------------------------------------------------------------------


def profile(**pins: str | None) -> dict[str, Profile]:
    return {"night": Profile("night", "smaller ones", pins)}


async def activate(front: Front, name: str | None) -> Any:
    return await front.ask("PUT", "/api/profiles/active", {"name": name})


async def test_4_4_pins_stand_in_front_of_names() -> None:
    async with mirror() as port:
        profiles = profile(big="a", a=None, fresh="a")
        models = config(in_process("a", port), in_process("big", port), profiles=profiles)
        async with running(models) as front:
            assert seen(await post(front, "big")).json["model"] == "big"
            assert (await activate(front, "night")).json() == {"active": "night"}

            assert seen(await post(front, "big")).json["model"] == "a"
            assert seen(await post(front, "fresh")).json["model"] == "a"
            assert (await post(front, "a")).status == 404
            asked = seen(await front.get("/props?x=1&model=big&y=2"))
            assert asked.target == "/props?x=1&model=a&y=2"
            got = seen(await front.ask("POST", "/v1/audio/transcriptions", form("big"), FORM))
            assert got.body == form("a")
            kind = [("content-type", "application/x-www-form-urlencoded")]
            assert seen(await front.ask("POST", CHAT, b"model=big&n=1", kind)).body == b"model=a&n=1"

            assert (await activate(front, None)).json() == {"active": None}
            assert seen(await post(front, "big")).json["model"] == "big"
            assert (await post(front, "fresh")).status == 404


async def test_4_4_pins_on_upstream() -> None:
    async with mirror() as port:
        profiles = {"p": Profile("p", "", {"org/x": "a", "org": "b", "off": None})}
        async with running(config(in_process("a", port), in_process("b", port), profiles=profiles)) as front:
            await activate(front, "p")

            assert seen(await front.get("/upstream/org/x/v1/y%2Fz")).target == "/v1/y%2Fz"
            assert front.states() == {"a": "ready"}
            assert seen(await front.get("/upstream/org/v1")).target == "/v1"
            assert front.states() == {"b": "ready"}
            assert (await front.get("/upstream/off/v1")).status == 404


async def test_5_profiles_are_shown_and_chosen() -> None:
    profiles = {"z": Profile("z", "last", {"m": None}), "b": Profile("b", "first", {"m": "a"})}
    async with running(config(stub("a"), profiles=profiles)) as front:
        assert (await front.get("/api/profiles")).json() == {
            "active": None,
            "profiles": [
                {"id": "b", "description": "first", "pins": {"m": "a"}},
                {"id": "z", "description": "last", "pins": {"m": ""}},
            ],
        }
        for body, words in (
            (b"{", "invalid profile request"),
            (b"[]", "invalid profile request"),
            (b"{}", "profile name is required"),
            (b'{"name":5}', "string or null"),
        ):
            answer = await front.ask("PUT", "/api/profiles/active", body)
            assert (answer.status, words in answer.error["message"]) == (400, True)
        answer = await activate(front, "nobody")
        assert (answer.status, answer.error["message"]) == (404, 'profile "nobody" not found')
        await activate(front, "b")
        front.hostler.replace(front.hostler.config)
        assert (await front.get("/api/profiles")).json()["active"] == "b", "a reload keeps it"
        front.hostler.replace(replace(front.hostler.config, profiles={}))
        assert (await front.get("/api/profiles")).json() == {"active": None, "profiles": []}


# -- 4.5 selectors -------------------------------------------------------------------------------------------


def selector(strategy: Any, *targets: str, **fields: Any) -> dict[str, Selector]:
    return {"auto": Selector("auto", strategy, targets, **fields)}


async def test_4_5_pin_asks_the_first() -> None:
    async with mirror() as port:
        models = config(in_process("a", port), in_process("b", port), selectors=selector("pin", "b", "a"))
        async with running(models) as front:
            assert seen(await post(front, "auto")).json["model"] == "b"
            assert front.states() == {"b": "ready"}


async def test_4_5_warm_asks_the_one_that_is_loaded() -> None:
    async with running(config(stub("a"), stub("b"), selectors=selector("warm", "a", "b"))) as front:
        await front.chat("b")
        answer = await front.chat("auto")

        assert answer.json()["model"] == "b"
        assert front.status("b").run == 1
        assert front.status("a").run == 0


async def test_4_5_spillover_asks_the_next_one_when_one_is_busy() -> None:
    """Direct traffic counts as well."""
    models = config(stub("a"), stub("b"), selectors=selector("spillover", "a", "b"), routing=TOGETHER)
    async with running(models) as front:
        busy = await front.stream("a", tokens=2000, chunk_delay=0.01)

        assert (await front.chat("auto")).json()["model"] == "b"
        busy.leave()
        await front.until_idle()
        assert {(await front.chat("auto")).json()["model"] for _ in range(4)} == {"a", "b"}, "in turns"


async def test_4_5_the_next_target_serves_when_one_fails_to_start() -> None:
    broken = stub("a", stub_options={"exit_before_ready": 3})
    async with running(config(broken, stub("b"), selectors=selector("pin", "a", "b"))) as front:
        answer = await front.chat("auto")

        assert answer.json()["model"] == "b"
        assert (
            "auto: asking the next target: model 'a'"
            in front.log("proxy").history().decode().replace('"', "'")
            or "auto: asking the next target:" in front.log("proxy").history().decode()
        )


async def test_4_5_when_all_targets_fail_the_last_one_says_why() -> None:
    models = [stub(name, stub_options={"exit_before_ready": 3}) for name in (A, B)]
    async with running(config(*models, selectors=selector("warm", "a", "b"))) as front:
        answer = await front.chat("auto")

        assert answer.status == 502
        assert answer.error["details"]["model"] == "b"


# -- peers ---------------------------------------------------------------------------------------------------


async def test_j_peers_by_full_and_by_bare_name() -> None:
    async with mirror() as port, mirror() as other:
        peers = {
            "gpu": peer("gpu", port, "org/big", "both"),
            "nas": peer("nas", other, "both", "small"),
        }
        async with running(config(stub("a"), peers=peers)) as front:
            full = seen(await post(front, "gpu/org/big"))
            assert (full.json["model"], full.target) == ("org/big", f"/base{CHAT}")
            assert seen(await post(front, "org/big")).json["model"] == "org/big"
            assert seen(await post(front, "nas/both")).headers["host"] == f"127.0.0.1:{other}"
            assert seen(await post(front, "gpu/both")).headers["host"] == f"127.0.0.1:{port}"
            assert (await post(front, "both")).status == 404
            asked = seen(await front.get("/props?model=nas/small"))
            assert asked.target == "/base/props?model=small"
            assert front.states() == {}


async def test_4_6_a_peer_sees_our_key_and_nothing_of_the_client() -> None:
    async with mirror() as port:
        peers = {"gpu": peer("gpu", port, "big", api_key="peer-key")}
        headers = [
            ("authorization", "Bearer our-key"),
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-custom", "stays"),
            ("content-type", "application/json"),
        ]
        models = config(stub("a"), peers=peers, api_keys=(ApiKey("our-key"),))
        async with running(models) as front:
            got = seen(await front.ask("POST", CHAT, b'{"model":"big"}', headers))

    assert got.headers["authorization"] == "Bearer peer-key"
    assert got.headers["x-api-key"] == "peer-key"
    assert got.headers["x-custom"] == "stays"
    assert not {"x-forwarded-for", "forwarded"} & got.headers.keys()
    assert "our-key" not in str(got)


async def test_4_3_filters_of_peers() -> None:
    async with mirror() as port:
        filters = Filters(set_params={"n": 1}, set_params_by_id={"gpu/big": {"m": 2}})
        async with running(
            config(stub("a"), peers={"gpu": peer("gpu", port, "big", filters=filters)})
        ) as front:
            assert seen(await post(front, "gpu/big")).json == {
                "model": "big",
                "messages": [],
                "n": 1,
                "m": 2,
            }
            assert seen(await post(front, "big")).json == {"model": "big", "messages": [], "n": 1}


async def test_3_a_peer_that_is_away_is_a_502_that_says_so() -> None:
    async with running(config(stub("a"), peers={"gpu": peer("gpu", 9, "big")})) as front:
        answer = await post(front, "big")

    assert answer.status == 502
    assert answer.error["message"].startswith("peer proxy error: gpu: cannot reach")


async def test_j_a_peer_s_answer_comes_to_its_end_when_hostler_stops() -> None:
    """It takes longer than connections get once everything else has stopped."""
    async with running(config(stub("behind"))) as behind:
        peers = {"p": Peer("p", f"http://127.0.0.1:{behind.port}", ("behind",))}
        async with serving(config(stub("a"), peers=peers), drain=20.0) as (_, port):
            client = await Client.connect(port)
            await client.ask_stream(question("p/behind", stream=True, tokens=350, chunk_delay=0.01))
            reading = asyncio.create_task(client.rest())
        body, complete = await reading
        client.leave()
        await behind.until_idle()

    assert complete
    assert body.endswith(b"data: [DONE]\n\n")


async def test_6_upstream_of_a_peer() -> None:
    async with mirror() as port, running(config(stub("a"), peers={"gpu": peer("gpu", port, "o/b")})) as front:
        assert seen(await front.get("/upstream/gpu/o/b/x?y=1")).target == "/base/x?y=1"
        assert seen(await front.get("/upstream/o%2Fb/x")).target == "/base/x"


# -- 5 comfyui, 6 ignorePaths --------------------------------------------------------------------------------


async def test_5_only_the_page_of_comfyui_loads_it() -> None:
    async with mirror() as port, running(config(in_process("comfyui_auto", port))) as front:
        assert (await front.get("/comfyui")).get("location") == "/comfyui/"
        assert (await front.get("/comfyui?a=1")).status == 301
        assert (await front.ask("POST", "/comfyui")).status == 308
        refused = await front.get("/comfyui/api/queue")
        assert (refused.status, "only /comfyui/ can start it" in refused.error["message"]) == (409, True)
        assert front.states() == {}

        assert seen(await front.get("/comfyui/?x=1")).target == "/?x=1"
        assert seen(await front.get("/comfyui/api/a%2Fb")).target == "/api/a%2Fb"


async def test_5_without_comfyui() -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.get("/comfyui/")

    assert (answer.status, answer.error["message"]) == (404, "local model comfyui_auto not found")


async def test_6_paths_that_are_ignored_do_not_load_a_model() -> None:
    async with running(config(stub("a"))) as front:
        refused = await front.get("/upstream/a/style.css")
        assert (refused.status, "path matches upstream.ignorePaths" in refused.error["message"]) == (
            409,
            True,
        )
        assert front.states() == {}

        await front.chat("a")
        assert (await front.get("/upstream/a/echo/style.css")).status == 200


# -- 7 the model list ----------------------------------------------------------------------------------------


async def test_7_every_kind_of_name_is_listed() -> None:
    models = config(
        stub("a", aliases=("nick",)),
        peers={"gpu": Peer("gpu", "http://h", ("big",))},
        selectors={
            "auto": Selector("auto", "spillover", ("a", "big"), spillover=2, name="Auto", metadata={"k": 1}),
            "hidden": Selector("hidden", "pin", ("a",), unlisted=True),
        },
        profiles={"p": Profile("p", "", {"a": "big", "fresh": "a", "off": None})},
        include_aliases_in_list=True,
    )
    async with running(models) as front:
        await activate(front, "p")
        await front.ask("POST", "/api/models/load/a")
        records = {row["id"]: row for row in (await front.get("/v1/models")).json()["data"]}

    assert list(records) == sorted(records)
    assert records.keys() == {"a", "nick", "gpu/big", "auto", "fresh"}
    inner = {name: row["meta"]["llamaswap"] for name, row in records.items()}
    assert inner["a"] == {"type": "model", "aliases": ["nick"]}
    assert inner["nick"] == {"type": "alias", "modelID": "a"}
    assert inner["gpu/big"] == {"type": "peer", "peerID": "gpu"}
    assert inner["auto"] == {
        "k": 1,
        "type": "selector",
        "strategy": "spillover",
        "targets": ["a", "big"],
        "spillover": 2,
    }
    assert inner["fresh"]["type"] == "profile"
    assert (records["auto"]["name"], records["gpu/big"]["name"]) == ("Auto", "gpu: big")
    status = {name: row["status"]["value"] for name, row in records.items()}
    assert status == {
        "a": "loaded",
        "nick": "loaded",
        "gpu/big": "unloaded",
        "auto": "loaded",
        "fresh": "loaded",
    }


# -- keys ----------------------------------------------------------------------------------------------------


async def test_2_keys_may_be_for_some_names_only() -> None:
    keys = (
        ApiKey("only-b", models=("b",)),
        ApiKey("only-auto", models=("auto",)),
        ApiKey("only-big", models=("gpu/big",)),
        ApiKey("reader", scopes=("logs",)),
    )
    async with mirror() as port:
        models = config(
            in_process("a", port),
            in_process("b", port),
            selectors=selector("pin", "a"),
            peers={"gpu": peer("gpu", port, "big")},
            api_keys=keys,
        )
        async with running(models) as front:

            async def ask(key: str, model: str) -> int:
                headers = [("authorization", f"Bearer {key}"), ("content-type", "application/json")]
                return (await front.ask("POST", CHAT, question(model), headers)).status

            assert await ask("only-b", "b") == 200
            assert await ask("only-b", "a") == 403
            assert await ask("only-b", "auto") == 403
            assert await ask("only-auto", "auto") == 200
            assert await ask("only-auto", "a") == 403
            assert await ask("only-big", "big") == 200
            assert await ask("reader", "b") == 403
            assert (await front.get("/logs", [("x-api-key", "reader")])).status == 200
            assert (await front.get("/running", [("x-api-key", "reader")])).status == 403


# -- preload -------------------------------------------------------------------------------------------------


async def test_k_preload_and_its_outcome() -> None:
    models = config(
        stub("a"), stub("b", stub_options={"exit_before_ready": 3}), preload=(A, B), routing=TOGETHER
    )
    async with running(models) as front:
        await until(lambda: front.hostler.preload.outcomes[1].state == "failed", "the preload to end")
        answer = await front.get("/ready")

        assert answer.status == 503
        first, second = answer.json()["preload"]
        assert first == {"model": "a", "state": "ready"}
        assert second["state"] == "failed"
        assert "exited" in second["error"] or "exit" in second["error"]
        assert "failed to preload b" in front.log("proxy").history().decode()
        assert front.status("a").state is State.READY


async def test_ready_without_preload() -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.get("/ready")

    assert (answer.status, answer.json()) == (200, {"ready": True, "preload": []})


# -- requests in flight --------------------------------------------------------------------------------------


async def test_5_a_waiting_request_is_cancelled_and_told() -> None:
    async with running(config(stub("a", concurrency_limit=1))) as front:
        stream = await front.stream("a", tokens=2000, chunk_delay=0.01)
        waiting = asyncio.create_task(front.chat("a"))
        await front.until_waiting("a", 1)
        rows = (await front.get("/api/inflight")).json()["requests"]
        assert [row["model"] for row in rows] == ["a", "a"]

        assert (await front.ask("POST", f"/api/inflight/{rows[1]['id']}/cancel")).json() == {"msg": "ok"}
        answer = await waiting
        assert (answer.status, answer.error["code"]) == (499, "request_cancelled")

        # One that is being answered breaks off visibly.
        assert (await front.ask("POST", f"/api/inflight/{rows[0]['request_id']}/cancel")).status == 200
        _, complete = await stream.rest()
        assert not complete
        await front.until_idle()
        assert (await front.ask("POST", "/api/inflight/77/cancel")).status == 404
        assert (await front.get("/api/inflight")).json() == {"requests": []}
        front.hostler.app.write_lines()
        assert '"POST /v1/chat/completions HTTP/1.1" 499' in front.log("proxy").history().decode()


async def test_requests_have_ids() -> None:
    async with mirror() as port, running(config(in_process("a", port))) as front:
        chosen = await front.ask("POST", CHAT, question("a"), [("x-request-id", "my-id/7")])
        made = await front.chat("a")
        hostile = await front.ask("POST", CHAT, question("a"), [("x-request-id", "a b\tc")])
        failed = await front.ask("POST", CHAT, question("nobody"), [("x-request-id", "my-id/8")])

    assert chosen.get("x-request-id") == seen(chosen).headers["x-request-id"] == "my-id/7"
    assert made.get("x-request-id") == seen(made).headers["x-request-id"]
    assert hostile.get("x-request-id") not in ("", None, "a b\tc")
    assert failed.get("x-request-id") == "my-id/8"


async def test_where_the_time_went_is_told_on_request() -> None:
    async with running(config(stub("a", stub_options={"ready_after": 0.2}))) as front:
        asked = await front.ask("POST", CHAT, question("a"), [("x-server-timing", "1")])
        plain = await front.chat("a")

    parts = {}
    for part in str(asked.get("server-timing")).split(", "):
        name, _, value = part.partition(";dur=")
        parts[name] = float(value)
    assert parts.keys() == {"queue", "load", "ttfb"}
    assert parts["load"] >= 200
    assert parts["ttfb"] >= parts["load"]
    assert plain.get("server-timing") is None


# -- 1 paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//health", "/health"),
        ("/api/./models", "/api/models"),
        ("/x/../running?a=1", "/running?a=1"),
        ("/ui/.", "/ui/"),
    ],
)
async def test_1_paths_are_cleaned(path: str, location: str) -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.get(path)

    assert (answer.status, answer.get("location")) == (307, location)
