"""The routes that are Hostler's own: shapes that clients rely on, keys, and what a browser may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hostler.config.schema import ApiKey, Capabilities, Group, Routing
from hostler.core import ModelId, State

from .client import Answer, request
from .server import CHAT, config, question, running, stub, until

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

A = ModelId("a")
KEY = "s3cret-key"
PROTECTED = (
    ("GET", "/v1/models"),
    ("GET", "/models"),
    ("GET", "/running"),
    ("GET", "/unload"),
    ("GET", "/logs"),
    ("GET", "/logs/a"),
    ("GET", "/logs/stream"),
    ("GET", "/logs/stream/a"),
    ("GET", "/api/models"),
    ("GET", "/api/version"),
    ("POST", "/api/models/load/a"),
    ("POST", "/api/models/unload"),
    ("POST", "/api/models/unload/a"),
    ("GET", "/ui/"),
    ("GET", "/ui"),
    ("GET", "/props?model=a"),
    ("GET", "/upstream/a/x"),
    ("GET", "/upstream/a"),
    ("GET", "/upstream/nobody/x"),
    ("POST", CHAT),
    ("GET", CHAT),
    ("GET", "/nowhere"),
    ("POST", "/health/../running"),
)
OPEN = ("/health", "/wol-health", "/", "/favicon.ico", "/upstream")


# -- the model list ----------------------------------------------------------------------------------------


async def test_the_model_list_has_the_shape_that_clients_know() -> None:
    described = Capabilities(inputs=("text", "image"), outputs=("text",), tools=True, context=4096)
    models = config(
        stub(
            "b/two",
            name=" Two ",
            description=" The second ",
            aliases=("second", "two"),
            metadata={"x": [1], "type": "overwritten", "architecture": "dropped"},
            capabilities=described,
        ),
        stub("a"),
        stub("hidden", aliases=("unseen",), unlisted=True),
        include_aliases_in_list=True,
    )
    async with running(models) as front:
        await front.ask("POST", "/api/models/load/a")
        answer = await front.get("/v1/models", [("origin", "http://page")])

        assert answer.get("access-control-allow-origin") == "http://page"
        value = answer.json()
        assert value["object"] == "list"
        assert [row["id"] for row in value["data"]] == ["a", "b/two", "second", "two"]
        first, second, alias, _ = value["data"]
        created = first.pop("created")
        assert created > 1_700_000_000
        assert first == {
            "id": "a",
            "object": "model",
            "owned_by": "hostler",
            "meta": {"llamaswap": {"type": "model"}},
            "status": {"value": "loaded"},
        }
        assert second == {
            "id": "b/two",
            "object": "model",
            "created": created,
            "owned_by": "hostler",
            "name": "Two",
            "description": "The second",
            "architecture": {
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "modality": "text+image->text",
            },
            "capabilities": {"vision": True, "function_calling": True},
            "supported_parameters": ["tools", "tool_choice"],
            "context_length": 4096,
            "meta": {
                "llamaswap": {"x": [1], "type": "model", "aliases": ["second", "two"]},
                "n_ctx": 4096,
            },
            "status": {"value": "unloaded"},
        }
        assert alias["meta"]["llamaswap"]["type"] == "alias"
        assert alias["meta"]["llamaswap"]["modelID"] == "b/two"
        assert (await front.get("/models")).json()["data"][0]["id"] == "a"


async def test_aliases_are_not_listed_unless_wanted() -> None:
    async with running(config(stub("a", aliases=("b",)))) as front:
        answer = await front.get("/v1/models")

        assert [row["id"] for row in answer.json()["data"]] == ["a"]
        assert answer.get("access-control-allow-origin") is None


# -- models and processes ----------------------------------------------------------------------------------


async def test_what_runs_is_told() -> None:
    async with running(config(stub("a", ttl=60, name="A", description="D"), stub("b"))) as front:
        await front.ask("POST", "/api/models/load/a")

        (row,) = (await front.get("/running")).json()["running"]
        assert row["model"] == "a"
        assert row["state"] == "ready"
        assert (row["ttl"], row["name"], row["description"], row["run"]) == (60, "A", "D", 1)
        assert row["proxy"] == f"http://127.0.0.1:{row['port']}"
        assert "hostler.engines.stub" in row["cmd"]
        assert row["pid"] == front.status(A).pid
        assert 0 <= row["uptime"] < 60
        assert (row["active"], row["waiting"]) == (0, 0)
        ready, down = (await front.get("/api/models")).json()["models"]
        assert (ready["id"], ready["state"], down["id"], down["state"]) == ("a", "ready", "b", "stopped")
        assert 0 < ready["ttl_left"] <= 60
        assert set(down) == set(ready)


async def test_secrets_are_not_shown() -> None:
    model = stub("a", argv=["sh", "-c", "exec sleep 600", "hush"], check_endpoint="none")
    async with running(config(model, secrets=frozenset(("hush",)))) as front:
        await front.ask("POST", "/api/models/load/a")
        (row,) = (await front.get("/running")).json()["running"]

        assert row["cmd"] == "sh -c 'exec sleep 600' ***"


async def test_a_model_is_loaded_and_unloaded_by_hand() -> None:
    async with running(config(stub("org/a", aliases=("nick",)))) as front:
        loaded = await front.ask("POST", "/api/models/load/org/a")
        assert loaded.status == 200
        assert loaded.json()["model"] == "org/a"
        assert loaded.json()["state"] == "ready"
        assert loaded.json()["seconds"] > 0
        again = await front.ask("POST", "/api/models/load/nick")
        assert again.json()["seconds"] < 1
        assert front.status("org/a").run == 1

        unloaded = await front.ask("POST", "/api/models/unload/org%2Fa")

        assert (unloaded.status, unloaded.body) == (200, b"OK")
        assert front.states() == {}
        assert (await front.ask("POST", "/api/models/unload/nick")).body == b"OK"  # of one that is down


async def test_all_are_unloaded_side_by_side() -> None:
    group = Group("pair", (ModelId("a"), ModelId("b")), swap=False)
    slow = {"slow_exit": 0.3}
    models = config(
        stub("a", stub_options=slow),
        stub("b", stub_options=slow),
        routing=Routing(groups={"pair": group}),
    )
    async with running(models) as front:
        for method, path, body in (
            ("GET", "/unload", b"OK"),
            ("POST", "/api/models/unload", b'{"msg":"ok"}'),
        ):
            await asyncio.gather(front.chat("a"), front.chat("b"))
            answer = await front.ask(method, path)

            assert (answer.status, answer.body) == (200, body)
            assert front.states() == {}


@pytest.mark.parametrize("path", ["/api/models/load/nobody", "/api/models/unload/nobody"])
async def test_a_model_that_is_not_there(path: str) -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.ask("POST", path)

        assert answer.status == 404
        assert answer.error == {
            "message": "model not found",
            "type": "invalid_request_error",
            "param": "model",
            "code": "not_found",
        }


# -- small things ------------------------------------------------------------------------------------------


async def test_small_routes() -> None:
    async with running(config(stub("a", description="<b>&"))) as front:
        for path in ("/health", "/wol-health"):
            answer = await front.get(path)
            assert (answer.status, answer.body) == (200, b"OK")
            assert answer.get("content-type") == "text/plain; charset=utf-8"
        assert set((await front.get("/api/version")).json()) == {"version", "commit", "build_date"}
        for path, status in (("/", 302), ("/upstream", 302), ("/ui", 301)):
            answer = await front.get(path)
            assert (answer.status, answer.get("location")) == (status, "/ui/")
        page = await front.get("/ui/")
        assert b"&lt;b&gt;&amp;" in page.body
        assert b'href="/logs/stream/a"' in page.body
        assert (await front.get("/ui/some/where")).status == 200
        assert (await front.get("/favicon.ico")).get("content-type") == "image/svg+xml"


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/", "/v1/models/", "/api/models/", "/HEALTH"])
async def test_a_path_that_is_not_there(path: str) -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.get(path)

        assert answer.status == 404
        assert answer.error["code"] == "not_found"
        assert path in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/models/unload/a", {"POST"}),
        ("DELETE", "/health", {"GET", "HEAD"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("GET", "/v1/chat/completions", {"POST"}),
        ("PUT", "/v1/audio/voices", {"GET", "HEAD", "POST"}),
        ("POST", "/props", {"GET", "HEAD"}),
    ],
)
async def test_a_path_that_takes_other_methods(method: str, path: str, allowed: set[str]) -> None:
    async with running(config(stub("a"))) as front:
        answer = await front.ask(method, path)

        assert answer.status == 405
        assert set((answer.get("allow") or "").split(", ")) == allowed
        assert answer.error["code"] == "invalid_request"


async def test_a_mistake_of_ours_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the usual shape, without its inner life; that is in the log."""
    async with running(config(stub("a"))) as front:
        monkeypatch.setattr(front.hostler.fleet, "status", lambda: 1 / 0)
        monkeypatch.setattr(front.hostler.fleet, "lease", lambda model, **_: 1 / 0)
        for answer in (await front.get("/running"), await front.chat("a")):
            assert answer.status == 500
            assert answer.error["code"] == "internal_error"
            assert "division" not in answer.body.decode()
        assert front.log("proxy").history().decode().count("ZeroDivisionError") == 2


# -- CORS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/upstream/a/x", "/nowhere", "/running"])
@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (None, "Content-Type, Authorization, Accept, X-Requested-With"),
        ("x-one,  X-Two", "x-one, X-Two"),
        ("x-one, bad name, b(d, x-two,", "x-one, x-two"),
    ],
)
async def test_browsers_may_ask(path: str, asked: str | None, allowed: str) -> None:
    async with running(config(stub("a"), api_keys=(ApiKey(KEY),))) as front:
        headers = [("access-control-request-headers", asked)] if asked else []
        answer = await front.ask("OPTIONS", path, None, [("origin", "http://page"), *headers])

        assert (answer.status, answer.body) == (204, b"")
        assert answer.get("access-control-allow-origin") == "*"
        assert answer.get("access-control-allow-methods") == "GET, POST, PUT, PATCH, DELETE, OPTIONS"
        assert answer.get("access-control-allow-headers") == allowed
        assert answer.get("access-control-max-age") == "86400"
        assert front.states() == {}


# -- keys --------------------------------------------------------------------------------------------------


def refused(answer: Answer) -> None:
    assert answer.status == 401
    assert answer.get("www-authenticate") == 'Basic realm="hostler"'
    assert answer.error == {
        "message": "unauthorized: invalid or missing API key",
        "type": "authentication_error",
        "param": None,
        "code": "unauthorized",
    }


async def test_a_key_is_asked_for_wherever_something_is_to_be_had() -> None:
    async with running(config(stub("a"), api_keys=(ApiKey(KEY),))) as front:
        for method, path in PROTECTED:
            for shown in ([], [("authorization", "Bearer wrong")], [("x-api-key", KEY + "x")]):
                refused(await front.ask(method, path, None, shown))
        assert front.states() == {}
        assert front.status(A).run == 0


async def test_some_doors_are_open() -> None:
    async with running(config(stub("a"), api_keys=(ApiKey(KEY),))) as front:
        for path in OPEN:
            assert (await front.get(path)).status in (200, 302)


@pytest.mark.parametrize(
    "shown",
    [
        ("authorization", f"Bearer {KEY}"),
        ("authorization", f"BEARER {KEY}"),
        ("authorization", "Basic YW55Ym9keTpzM2NyZXQta2V5"),
        ("x-api-key", KEY),
    ],
)
async def test_a_key_opens_the_doors(shown: tuple[str, str]) -> None:
    keys = (ApiKey("another"), ApiKey(KEY))
    async with running(config(stub("a"), api_keys=keys)) as front:
        assert (await front.get("/v1/models", [shown])).status == 200
        assert (await front.ask("POST", CHAT, question("a"), [shown])).status == 200


@pytest.mark.parametrize(
    ("key", "allowed", "forbidden"),
    [
        (ApiKey(KEY, models=("b",)), [CHAT + " b"], [CHAT + " a", "/upstream/a/x"]),
        (
            ApiKey(KEY, scopes=("logs",)),
            ["/logs/stream/proxy?no-history"],
            [CHAT + " b", "/v1/models", "/running"],
        ),
        (
            ApiKey(KEY, models=("b",), scopes=("logs",)),
            ["/logs/b", "/logs/runs/b", "/logs/stream/b?format=ndjson&no-history", "/logs?model=b"],
            [
                "/logs",
                "/logs/a",
                "/logs/proxy",
                "/logs/upstream",
                "/logs/stream",
                "/logs/stream/a",
                "/logs?model=b&model=a",
                "/logs/b?model=a",
                "/logs?model=upstream",
                "/logs/runs/a",
            ],
        ),
        (ApiKey(KEY, scopes=("inference",)), [CHAT + " b", "/v1/models"], ["/logs", "/unload", "/ui/"]),
        (ApiKey(KEY, scopes=("admin",)), ["/running", "/ui/"], ["/logs", CHAT + " b"]),
    ],
)
async def test_a_key_may_be_for_some_things_only(
    key: ApiKey, allowed: list[str], forbidden: list[str]
) -> None:
    async with running(config(stub("a"), stub("b"), api_keys=(key,))) as front:
        for wish in allowed + forbidden:
            path, _, model = wish.partition(" ")
            async with await front.connect() as client:
                body: Any = question(model) if model else None
                shown = [("x-api-key", KEY)]
                await client.send(request("POST" if model else "GET", path, body, shown))
                answer = await client.head()

            assert answer.status == (200 if wish in allowed else 403), wish
        assert front.status(A).run == 0


# -- the access line ---------------------------------------------------------------------------------------


async def test_every_request_leaves_one_line() -> None:
    async with running(config(stub("a"))) as front:
        await front.get("/api/version?key=value", [("user-agent", "test/1")])
        await front.get("/nowhere", [("x-forwarded-for", "10.1.2.3, 10.9.9.9")])
        await front.get("/health")

        front.hostler.app.write_lines()
        lines = front.log("proxy").history().decode().splitlines()
        assert len(lines) == 2
        assert 'Request 127.0.0.1 "GET /api/version HTTP/1.1" 200 ' in lines[0]
        assert '"test/1"' in lines[0]
        assert 'Request 10.1.2.3 "GET /nowhere HTTP/1.1" 404 ' in lines[1]
        assert "value" not in lines[0]


async def test_a_request_that_nobody_waited_for_leaves_a_line_without_status() -> None:
    async with running(config(stub("a", stub_options={"ready_after": 30}))) as front:
        client = await front.connect()
        await client.send(request("POST", CHAT, question("a"), []))
        await front.until("a", State.STARTING)
        client.leave()

        await until(
            lambda: f'"POST {CHAT} HTTP/1.1" - 0' in front.log("proxy").history().decode(), "the access line"
        )
