"""What must hold: §13 – a plan says which models keep running, which change in place, which start anew."""

from __future__ import annotations

import json

import pytest

from hostler.config.diff import Plan, plan
from hostler.core import ModelId

from .cases import M, read

M1 = ModelId("m")


def change(old: str, new: str) -> Plan:
    before = read(old)
    return plan(before.config, read(new, previous_ports=before.ports).config)


def model(rest: str, cmd: str = "x --port ${PORT} -m a.gguf") -> str:
    return f"models:\n  m:\n    cmd: {cmd}\n    {rest}\n"


def test_nothing() -> None:
    found = change(M, M)

    assert found.empty
    assert found.unchanged == (M1,)
    assert str(found) == "nothing changes"


@pytest.mark.parametrize(
    "cmd",
    [
        "x   --port ${PORT}\n      -m a.gguf",
        "|\n      x --port ${PORT} \\\n      # c\n      -m 'a.gguf'",
        "'x --port 5800 -m a.gguf'",
    ],
)
def test_the_way_a_command_is_written_is_no_change(cmd: str) -> None:
    assert change(model(""), model("port: 5800", cmd)).empty


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("ttl: 5", "ttl"),
        ("aliases: [a]", "aliases"),
        ("filters: {setParams: {a: 1}}", "filters"),
        ("concurrencyLimit: 3", "concurrencyLimit"),
        ("queueLimit: 3", "queueLimit"),
        ("metadata: {a: 1}", "metadata"),
        ("name: n", "name"),
        ("unlisted: true", "unlisted"),
        ("checkEndpoint: /", "checkEndpoint"),
        ("cmdStop: kill ${PID}", "cmdStop"),
        ("timeouts: {connect: 5}", "timeouts"),
        ("useModelName: n", "useModelName"),
        ("healthCheckTimeout: 60", "healthCheckTimeout"),
        ("logs: {bufferBytes: 2048}", "logs"),
        ("logs: {maxRate: 2048}", "logs"),
        ("startupGrace: 5", "startupGrace"),
        ("filters: {stripParams: [a]}", "filters"),
    ],
)
def test_in_place(line: str, key: str) -> None:
    found = change(model(""), model(line))

    assert found.updated == {M1: (key,)}
    assert found.restart == {}
    assert f"m: {key} (applied at once)" in str(found)


@pytest.mark.parametrize(
    ("new", "keys"),
    [
        (model("", "x --port ${PORT} -m b.gguf"), ("cmd",)),
        (model("env: [A=b]"), ("env",)),
        (model("cwd: /w"), ("cwd",)),
        (model("port: 9000"), ("cmd", "port", "proxy")),
        (model("proxy: http://h"), ("proxy",)),
        (model("ttl: 5\n    env: [A=b]"), ("env", "ttl")),
        ("models: {m: {model: a.gguf}}", ("cmd", "model", "proxy")),
    ],
)
def test_anew(new: str, keys: tuple[str, ...]) -> None:
    found = change(model(""), new)

    assert {k: set(v) for k, v in found.restart.items()} == {M1: set(keys)}
    assert found.updated == {}


def test_args_of_our_engine() -> None:
    assert change("models: {m: {model: a, args: '-c 1'}}", "models: {m: {model: a, args: [-c, 1]}}").empty
    found = change("models: {m: {model: a, args: '-c 1'}}", "models: {m: {model: a, args: '-c 2'}}")
    assert found.restart == {M1: ("args",)}


def test_models_come_and_go() -> None:
    found = change(M, "models: {a: {cmd: 'x ${PORT}'}}")

    assert (found.added, found.removed) == ((ModelId("a"),), (M1,))
    assert "+ a (new)" in str(found)
    assert "- m (drained and stopped)" in str(found)


def test_a_new_model_does_not_touch_the_others() -> None:
    found = change(M, "models: {a: {cmd: 'x ${PORT}'}, m: {cmd: 'x ${PORT}'}}")

    assert (found.added, found.unchanged, found.restart) == ((ModelId("a"),), (M1,), {})


def test_a_global_value_shows_in_the_models_it_reaches() -> None:
    found = change(M, "globalTTL: 5\n" + M)

    assert found.updated == {M1: ("ttl",)}
    assert found.settings == ("globalTTL",)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("logLevel: warn", "logLevel"),
        ("apiKeys: [sesame]", "apiKeys"),
        ("peers: {p: {proxy: 'http://h', models: [x]}}", "peers"),
        ("groups: {g: {members: [m]}}", "routing.router.settings.groups"),
        ("routing: {scheduler: {settings: {fifo: {maxWait: 5}}}}", "routing.scheduler.settings.fifo"),
        ("hooks: {on_startup: {preload: [m]}}", "hooks.on_startup.preload"),
        ("store: {path: a.db}", "store.path"),
        ("maxBodyMB: 5", "maxBodyMB"),
        ("logs: {maxRate: 1}", "logs.maxRate"),
        ("logs: {segmentBytes: 65536}", "logs.segmentBytes"),
        ("logs: {files: false}", "logs.files"),
        ("logs: {causes: [{name: n, pattern: p, message: sesame}]}", "logs.causes"),
        ("telemetry: {headers: {a: sesame}}", "telemetry"),
        ("telemetry: {endpoint: 'http://h/'}", "telemetry"),
        ("peers: {p: {proxy: 'https://h', models: [x], tls: {verify: false}}}", "peers"),
    ],
)
def test_settings(text: str, key: str) -> None:
    found = change(M, f"{M}{text}\n")

    assert found.settings == (key,)
    assert found.unchanged == (M1,)
    assert "sesame" not in str(found)


def test_the_order_of_sets_is_a_change() -> None:
    one = M + "matrix: {sets: {a: m, b: m}}"
    other = M + "matrix: {sets: {b: m, a: m}}"

    assert change(one, other).settings == ("routing.router.settings.matrix",)
    assert change(M, one).settings[0] == "routing.router.use"


def test_what_needs_a_restart_is_said() -> None:
    found = change(M, M + "logToStdout: both\n")

    assert (found.settings, found.needs_restart) == ((), ("logToStdout",))
    assert "logToStdout (need a restart of Hostler)" in str(found)


def test_each_key_of_logs_and_store_is_told_by_itself() -> None:
    stored = M + "store: {path: a.db}\n"
    found = change(stored, M + "store: {path: a.db, retentionDays: 3, maxRows: 9}\n")
    assert found.settings == ("store.retentionDays", "store.maxRows")

    found = change(M, M + "logs: {dir: /var/log/x, keepRuns: 9, maxBytes: 1}\n")
    assert (found.settings, found.needs_restart) == (("logs.keepRuns", "logs.maxBytes"), ("logs.dir",))


def test_as_dict_is_json() -> None:
    found = change(M, model("ttl: 5") + "logLevel: warn")

    assert json.loads(json.dumps(found.as_dict()))["restart"] == {"m": ["cmd"]} or found.restart
