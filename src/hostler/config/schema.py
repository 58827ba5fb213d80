"""The configuration as frozen dataclasses: what every key means once it was parsed.

A field's name is the Python spelling of its key; `key(field)` gives the spelling in the file, which is also
what messages, documentation and the JSON schema use. Durations are seconds. A default here is the default.
Keys that llama-swap does not have are marked "ours".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from hostler.core import ModelId

EMPTY: Mapping[str, Any] = MappingProxyType({})


def _empty() -> Mapping[str, Any]:
    # A factory only because dataclasses of Python 3.11 take an unhashable default for a mutable one.
    return EMPTY


DEFAULT_IGNORE_PATHS = (r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",)
DEFAULT_SESSION_HEADERS = ("X-Session-ID", "X-Litellm-Session-Id")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of a connection to an upstream, in seconds; 0 means none."""

    connect: int = 30
    keepalive: int = 30
    response_header: int = 0
    tls_handshake: int = 10
    expect_continue: int = 1
    idle_conn: int = 90


@dataclass(frozen=True, slots=True)
class Filters:
    """Changes made to a JSON request body on its way to the engine.

    `strip_params` is sorted and without doubles. `set_params_by_id` maps a requested name to parameters.
    """

    strip_params: tuple[str, ...] = ()
    set_params: Mapping[str, Any] = field(default_factory=_empty)
    set_params_by_id: Mapping[str, Mapping[str, Any]] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do, as shown in the model list."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tools: bool = False
    reranker: bool = False
    context: int = 0


@dataclass(frozen=True, slots=True)
class Compat:
    """Switches for clients and engines with habits of their own."""

    ignore_websockets: bool = False


@dataclass(frozen=True, slots=True)
class ModelLogs:
    """Log settings of one model (ours); None takes the global value."""

    buffer_bytes: int | None = None
    max_rate: int | None = None  # bytes a second; 0 does not limit


@dataclass(frozen=True, slots=True)
class Model:
    """One model: a command line, or a GGUF file for the engine that comes with Hostler.

    `cmd` and `cmd_stop` are expanded (macros, port) but not split. Exactly one of `cmd` and `model` is
    set. `port` is the number that stands for `${PORT}`, None when the command does not use it.
    """

    id: ModelId
    cmd: str = ""
    cmd_stop: str = ""
    model: str = ""  # ours: path of a GGUF file
    args: tuple[str, ...] = ()  # ours: further flags for the engine of `model`
    cwd: str = ""  # ours: working directory
    port: int | None = None
    proxy: str = ""
    aliases: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    check_endpoint: str = "/health"
    health_check_timeout: int = 120  # per model is ours
    startup_grace: int = 0  # ours: seconds before health_check_timeout begins to count
    ttl: int = 0
    unload_timeout: int = 10
    unlisted: bool = False
    use_model_name: str = ""
    name: str = ""
    description: str = ""
    concurrency_limit: int = 0
    queue_limit: int = 1000  # ours
    filters: Filters = Filters()
    metadata: Mapping[str, Any] = field(default_factory=_empty)
    send_loading_state: bool = False
    timeouts: Timeouts = Timeouts()
    compat: Compat = Compat()
    capabilities: Capabilities = Capabilities()
    logs: ModelLogs = ModelLogs()


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server elsewhere proves who it is (ours). `ca` is a file with certificates, "" the system's."""

    verify: bool = True
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server whose models are offered here too."""

    id: str
    proxy: str
    models: tuple[str, ...]
    api_key: str = field(default="", repr=False)
    filters: Filters = Filters()
    timeouts: Timeouts = Timeouts(response_header=60)
    tls: Tls = Tls()


@dataclass(frozen=True, slots=True)
class Group:
    """Models and how they share the machine; see `hostler.scheduler.groups`."""

    id: str
    members: tuple[ModelId, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class Matrix:
    """Sets of models that may run together, in a small language; see `hostler.scheduler.matrix`."""

    vars: Mapping[str, ModelId]
    evict_costs: Mapping[str, int]
    sets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fifo:
    """Settings of the scheduler.

    `priority` is by model id (aliases resolved). `max_wait` (ours) bounds, in seconds, how long requests
    for a loaded model may pass one that waits for room.
    """

    priority: Mapping[ModelId, int] = field(default_factory=dict)
    max_wait: float = 60.0


@dataclass(frozen=True, slots=True)
class Routing:
    """Who may run with whom: `groups` when `use` is "group" (with the default group), else `matrix`."""

    use: Literal["group", "matrix"] = "group"
    groups: Mapping[str, Group] = field(default_factory=dict)
    matrix: Matrix | None = None
    fifo: Fifo = Fifo()


@dataclass(frozen=True, slots=True)
class Profile:
    """Pins: requested name → another name, None where the name is switched off."""

    id: str
    description: str
    pins: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Selector:
    """A name that stands for one of several targets, chosen per request."""

    id: str
    strategy: Literal["warm", "pin", "spillover"]
    targets: tuple[str, ...]
    spillover: int = 1
    name: str = ""
    description: str = ""
    unlisted: bool = False
    metadata: Mapping[str, Any] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key a client may show. `name`, `models` and `scopes` are ours; empty means unrestricted."""

    key: str = field(repr=False)
    name: str = ""
    models: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogCause:
    """What a line at the end of a failed run's log means (ours).

    `pattern` is a regular expression in Python's syntax, as `texts.compile_cause` takes it. `engines` are the
    engines it is for, all when empty.
    """

    name: str
    pattern: str
    message: str
    advice: str = ""
    engines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Logs:
    """Where log bytes are kept and how many (ours). `dir` is "" for the system's place for state."""

    buffer_bytes: int = 102_400
    keep_runs: int = 3
    files: bool = True
    dir: str = ""
    max_bytes: int = 268_435_456  # 0 does not limit
    segment_bytes: int = 4_194_304
    max_rate: int = 0  # bytes a second of each model; 0 does not limit
    causes: tuple[LogCause, ...] = ()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where traces are sent (ours); nowhere when `endpoint` is empty. Values of `headers` are secrets."""

    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=_empty, repr=False)
    service_name: str = "hostler"


@dataclass(frozen=True, slots=True)
class Performance:
    """The sampler of CPU, memory and GPU figures; `every` in seconds."""

    disabled: bool = False
    every: float = 5.0


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, checked and expanded."""

    models: Mapping[ModelId, Model] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    routing: Routing = Routing()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    selectors: Mapping[str, Selector] = field(default_factory=dict)
    aliases: Mapping[str, ModelId] = field(default_factory=dict)  # alias → model, automatic ones included
    health_check_timeout: int = 120
    log_level: Literal["debug", "info", "warn", "error"] = "info"
    log_time_format: str = ""
    log_to_stdout: Literal["proxy", "upstream", "both", "none"] = "proxy"
    metrics_max_in_memory: int = 1000
    capture_buffer: int = 5  # MB
    store_path: str | None = None
    store_retention_days: int = 0  # ours; 0 keeps everything
    store_max_rows: int = 0  # ours; 0 does not limit
    session_headers: tuple[str, ...] = DEFAULT_SESSION_HEADERS
    performance: Performance = Performance()
    start_port: int = 5800
    send_loading_state: bool = False
    include_aliases_in_list: bool = False
    global_ttl: int = 0
    unload_timeout: int = 10
    max_body_mb: int = 512  # ours
    api_keys: tuple[ApiKey, ...] = ()
    ignore_paths: tuple[str, ...] = DEFAULT_IGNORE_PATHS
    preload: tuple[ModelId, ...] = ()
    logs: Logs = Logs()
    telemetry: Telemetry = Telemetry()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  # values to mask wherever shown

    def resolve(self, name: str) -> ModelId | None:
        """The model that `name` (an id or an alias) stands for."""
        model_id = ModelId(name)
        if model_id in self.models:
            return model_id
        return self.aliases.get(name)


_SPELLINGS = {
    "max_body_mb": "maxBodyMB",
    "global_ttl": "globalTTL",
    "session_headers": "ui.activity.session_id",
    "store_path": "store.path",
    "store_retention_days": "store.retentionDays",
    "store_max_rows": "store.maxRows",
    "ignore_paths": "upstream.ignorePaths",
    "preload": "hooks.on_startup.preload",
}


def key(field_name: str) -> str:
    """How a field is spelled in the file."""
    if field_name in _SPELLINGS:
        return _SPELLINGS[field_name]
    first, *rest = field_name.split("_")
    return first + "".join(word.capitalize() for word in rest)
