"""The keys of a model, and what peers share with models."""

from __future__ import annotations

from typing import Any

from hostler.config.kinds import (
    Anything,
    Flag,
    Key,
    ListOf,
    Macros,
    MapOf,
    Nullable,
    OneOf,
    Section,
    Text,
    Whole,
)
from hostler.config.ports import LAST_PORT


def _timeouts(response_header: int) -> Section:
    return Section((
        Key("connect", Whole(), "Until the connection is made.", 30),
        Key("keepalive", Whole(), "Between probes of an idle connection by the system.", 30),
        Key("responseHeader", Whole(), "Until the answer begins.", response_header),
        Key("tlsHandshake", Whole(), "Until TLS is agreed on.", 10),
        Key("expectContinue", Whole(), "Until `100 Continue`.", 1),
        Key("idleConn", Whole(), "That an unused connection is kept.", 90),
    ))  # fmt: skip


TIMEOUTS = _timeouts(0)
PEER_TIMEOUTS = _timeouts(60)

_FILTER_KEYS = (
    Key("stripParams", OneOf((Text(), ListOf(Text()))), "Parameters to remove, with commas between; never "
        "`model`. A list instead of a text is ours.", ""),
    Key("setParams", MapOf(Anything(), "parameter"), "Parameters to set, whatever the client sent; never "
        "`model`. `a.b` addresses `b` in `a`; `a\\.b` is a name with a dot.", {}),
    Key("setParamsByID", MapOf(MapOf(Anything(), "parameter"), "id"), "Parameters to set when the model was "
        "asked for by this name; each name becomes an alias. Macros work in the names, too.", {}),
)  # fmt: skip

PEER_FILTERS = Section(_FILTER_KEYS)
FILTERS = Section((
    *_FILTER_KEYS,
    Key("strip_params", Text(), "Older spelling of `stripParams`.", "", hidden=True),
))  # fmt: skip

_MODALITIES = Text(filled=True, pattern="^(text|audio|image)$")

CAPABILITIES = Section((
    Key("in", ListOf(_MODALITIES), "What it takes: `text`, `audio`, `image`.", ()),
    Key("out", ListOf(_MODALITIES), "What it makes: `text`, `audio`, `image`.", ()),
    Key("tools", Flag(), "It can call tools.", False),
    Key("reranker", Flag(), "It ranks documents.", False),
    Key("context", Whole(minimum=0), "Tokens of context; 0 says nothing.", 0),
))  # fmt: skip

_COMMAND = {"not": {"type": "null"}, "pattern": r"(?:^|\n)[ \t]*[^#\s]"}
_RUNS: dict[str, Any] = {
    "type": "object",
    "anyOf": [
        {"required": ["cmd"], "properties": {"cmd": _COMMAND}},
        {"required": ["model"], "properties": {"model": {"not": {"type": "null"}, "minLength": 1}}},
    ],
}
_ANSWERS: dict[str, Any] = {
    "if": {
        "required": ["cmd"],
        "properties": {"cmd": {**_COMMAND, "not": {"pattern": r"\$\{"}}, "port": {"type": "null"}},
    },
    "then": {"required": ["proxy"], "properties": {"proxy": {"not": {"type": "null"}}}},
}

_QUEUE = "must be >= 1: requests wait in the queue while the model is loaded, so without one it never is"

MODEL = Section((
    Key("cmd", Text(), "The command that serves the model. No shell is involved; lines that start with `#` "
        "are dropped.", ""),
    Key("model", Text(), "Instead of `cmd`: a GGUF file for the engine that comes with Hostler.", "",
        ours=True),
    Key("args", OneOf((ListOf(Text()), Text())), "Flags for that engine, as a list or as one text.", (), "",
        ours=True),
    Key("cmdStop", Text(), "Command that stops the model, with `${PID}` for its process; without it, it is "
        "asked to terminate.", "", "empty; on Windows `taskkill /f /t /pid ${PID}`"),
    Key("cwd", Text(), "Directory to start it in.", "", "Hostler's own", ours=True),
    Key("port", Nullable(Whole(minimum=1, maximum=LAST_PORT)),
        "What `${PORT}` is for this model, instead of the next free number.", None, "assigned", ours=True),
    Key("proxy", Text(), "Where the model answers. A path is put in front of every request's.", "",
        "`http://localhost:${PORT}`; with `model`, `http://127.0.0.1:${PORT}`"),
    Key("aliases", ListOf(Text()), "Further names for it.", ()),
    Key("env", ListOf(Text()), "Environment variables, each `NAME=value`, on top of Hostler's own.", ()),
    Key("checkEndpoint", Text(), "Path that answers 200 when the model is ready; `none` asks nothing.",
        "/health"),
    Key("healthCheckTimeout", Nullable(Whole(floor=15)), "Seconds it may take until it is ready.", None,
        "the top-level value", ours=True),
    Key("startupGrace", Whole(minimum=0), "Seconds after the start before `healthCheckTimeout` begins to "
        "count. Until both are over, a check that fails is repeated and nothing is said about it.", 0,
        ours=True),
    Key("ttl", Whole(minimum=-1, below="invalid TTL value: must be >= -1"), "Seconds without requests after "
        "which it is unloaded; 0 never, -1 `globalTTL`.", -1),
    Key("unloadTimeout", Whole(minimum=0, below="invalid unloadTimeout value: must be >= 0"), "Seconds it "
        "may take to stop; 0 means the top-level value.", 0),
    Key("unlisted", Flag(), "Leave it and its aliases out of the model list.", False),
    Key("useModelName", Text(), "Name of the model in requests sent to it.", "", "the client's"),
    Key("name", Text(), "Display name.", ""),
    Key("description", Text(), "Shown in the model list.", ""),
    Key("concurrencyLimit", Whole(), "Requests it serves at a time; 0 does not limit them.", 0),
    Key("queueLimit", Whole(minimum=1, below=_QUEUE), "Requests that may wait for it, until it is loaded or "
        "has a free place; more are refused.", 1000, ours=True),
    Key("filters", FILTERS, "Changes to request bodies."),
    Key("macros", Macros(), "Macros for this model; they replace top-level ones of the same name.", {}),
    Key("metadata", MapOf(Anything(), "name"), "Passed on in the model list under `meta.llamaswap`.", {}),
    Key("sendLoadingState", Nullable(Flag()), "As at the top level.", None, "the top-level value"),
    Key("timeouts", TIMEOUTS, "Limits of connections to it, in seconds; 0 means none."),
    Key("compat", Section((
        Key("ignoreWebsockets", Flag(), "Do not count open websockets as requests.", False),
    )), "For clients and engines with habits of their own."),
    Key("capabilities", CAPABILITIES, "What it can do, for the model list."),
    Key("logs", Section((
        Key("bufferBytes", Nullable(Whole(minimum=1024)), "Bytes of its log kept in memory.", None,
            "`logs.bufferBytes` of the top level", ours=True),
        Key("maxRate", Nullable(Whole(minimum=0)), "Bytes a second it may log; 0 does not limit.", None,
            "`logs.maxRate` of the top level", ours=True),
    )), "Its log.", ours=True),
), rules=(_RUNS, _ANSWERS))  # fmt: skip
