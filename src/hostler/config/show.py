"""The configuration as it is in force: macros replaced, defaults of the top level applied, ports assigned.

The result has the shape of a configuration file and can be read again: that gives an equal configuration
(unless secrets were masked).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import fields as fields_of
from decimal import Decimal
from typing import Any

import yaml

from hostler.config.compose import LITERAL_TAG
from hostler.config.keys import walk
from hostler.config.scalars import bool_word, resolve
from hostler.config.schema import (
    ApiKey,
    Config,
    Filters,
    Logs,
    Matrix,
    Model,
    Peer,
    Routing,
    Selector,
    Telemetry,
    Timeouts,
    Tls,
    key,
)
from hostler.config.secrets import MASK
from hostler.config.secrets import mask as hide

_REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_.-]+)\}")
"""What a reader would take for a macro or a variable. All of those were replaced; what is left is text."""

_KEYS = frozenset(one.name for _, section in walk() for one in section.keys)
"""Names that say nothing about anybody's secrets, even where a short one is part of them."""

_ALWAYS = frozenset({"proxy", "ttl", "unload_timeout", "health_check_timeout", "send_loading_state"})
"""Shown even when they are the default, because the top level could say otherwise."""

_DEFAULT_MODEL = {
    f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields_of(Model)
}


def to_dict(config: Config, mask: bool = True) -> dict[str, Any]:
    """A configuration in the shape of a file."""
    result: dict[str, Any] = {
        **_globals(config, mask),
        "apiKeys": [_api_key(api_key, mask) for api_key in config.api_keys],
        "models": {model.id: _model(model) for model in config.models.values()},
        "peers": {peer.id: _peer(peer, mask) for peer in config.peers.values()},
        "routing": _routing(config.routing),
        "selectors": {s.id: _selector(s) for s in config.selectors.values()},
        "profiles": {
            p.id: {"description": p.description, "pins": dict(p.pins)} for p in config.profiles.values()
        },
        "hooks": {"on_startup": {"preload": list(config.preload)}},
    }
    if not mask:
        return result
    shown: dict[str, Any] = masked(result, config.secrets)
    return shown


def dump_yaml(config: Config, mask: bool = True) -> str:
    """The same as YAML."""
    document = to_dict(config, mask)
    for model in document["models"].values():
        if "cmdStop" in model:
            model["cmdStop"] = _StopCommand(model["cmdStop"])
    text: str = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=2**31,
    )
    return text


def _globals(config: Config, mask: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "healthCheckTimeout": config.health_check_timeout,
        "logLevel": config.log_level,
        "logTimeFormat": config.log_time_format,
        "logToStdout": config.log_to_stdout,
        "metricsMaxInMemory": config.metrics_max_in_memory,
        "captureBuffer": config.capture_buffer,
        "ui": {"activity": {"session_id": list(config.session_headers)}},
        "performance": {
            "disabled": config.performance.disabled,
            "every": f"{_decimal(config.performance.every)}s",
        },
        "startPort": config.start_port,
        "sendLoadingState": config.send_loading_state,
        "includeAliasesInList": config.include_aliases_in_list,
        "globalTTL": config.global_ttl,
        "unloadTimeout": config.unload_timeout,
        "maxBodyMB": config.max_body_mb,
        "upstream": {"ignorePaths": list(config.ignore_paths)},
        "logs": _logs(config.logs),
        "telemetry": _telemetry(config.telemetry, mask),
    }
    if config.store_path is not None:
        result["store"] = {
            "path": config.store_path,
            "retentionDays": config.store_retention_days,
            "maxRows": config.store_max_rows,
        }
    return result


def _logs(logs: Logs) -> dict[str, Any]:
    result = {key(f.name): getattr(logs, f.name) for f in fields_of(logs)}
    result["causes"] = [
        {
            "name": cause.name,
            "pattern": cause.pattern,
            "message": cause.message,
            "advice": cause.advice,
            "engines": list(cause.engines),
        }
        for cause in logs.causes
    ]
    return result


def _telemetry(telemetry: Telemetry, mask: bool) -> dict[str, Any]:
    headers = {name: MASK if mask else value for name, value in telemetry.headers.items()}
    return {"endpoint": telemetry.endpoint, "headers": headers, "serviceName": telemetry.service_name}


def _model(model: Model) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, default in _DEFAULT_MODEL.items():
        value = getattr(model, name)
        if name == "id" or (value == default and name not in _ALWAYS):
            continue
        match name:
            case "filters":
                result["filters"] = _filters(model.filters)
            case "timeouts":
                result["timeouts"] = _timeouts(model.timeouts)
            case "compat":
                result["compat"] = {"ignoreWebsockets": model.compat.ignore_websockets}
            case "capabilities":
                capable = model.capabilities
                result["capabilities"] = {
                    "in": list(capable.inputs),
                    "out": list(capable.outputs),
                    "tools": capable.tools,
                    "reranker": capable.reranker,
                    "context": capable.context,
                }
            case "logs":
                own = model.logs
                result["logs"] = {"bufferBytes": own.buffer_bytes, "maxRate": own.max_rate}
            case _:
                result[key(name)] = list(value) if isinstance(value, tuple) else _plain(value)
    return result


def _peer(peer: Peer, mask: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"proxy": peer.proxy, "models": list(peer.models)}
    if peer.api_key:
        result["apiKey"] = MASK if mask else peer.api_key
    if peer.filters != Filters():
        result["filters"] = _filters(peer.filters)
    result["timeouts"] = _timeouts(peer.timeouts)
    if peer.tls != Tls():
        result["tls"] = {"verify": peer.tls.verify, "ca": peer.tls.ca}
    return result


def _filters(filters: Filters) -> dict[str, Any]:
    names = filters.strip_params
    return {
        "stripParams": list(names) if any("," in name for name in names) else ", ".join(names),
        "setParams": _plain(filters.set_params),
        "setParamsByID": _plain(filters.set_params_by_id),
    }


def _timeouts(timeouts: Timeouts) -> dict[str, int]:
    return {key(f.name): getattr(timeouts, f.name) for f in fields_of(timeouts)}


def _routing(routing: Routing) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if routing.use == "group":
        settings["groups"] = {
            group.id: {
                "swap": group.swap,
                "exclusive": group.exclusive,
                "persistent": group.persistent,
                "members": list(group.members),
            }
            for group in routing.groups.values()
        }
    elif routing.matrix is not None:
        settings["matrix"] = _matrix(routing.matrix)
    wait = routing.fifo.max_wait
    fifo = {"priority": dict(routing.fifo.priority), "maxWait": int(wait) if wait == int(wait) else wait}
    return {
        "router": {"use": routing.use, "settings": settings},
        "scheduler": {"use": "fifo", "settings": {"fifo": fifo}},
    }


def _matrix(matrix: Matrix) -> dict[str, Any]:
    return {
        "vars": dict(matrix.vars),
        "evict_costs": dict(matrix.evict_costs),
        "sets": dict(matrix.sets),
    }


def _selector(selector: Selector) -> dict[str, Any]:
    result: dict[str, Any] = {"strategy": selector.strategy, "targets": list(selector.targets)}
    result["settings"] = {"spillover": selector.spillover}
    for name in ("name", "description", "unlisted", "metadata"):
        if value := getattr(selector, name):
            result[name] = _plain(value)
    return result


def _api_key(api_key: ApiKey, mask: bool) -> Any:
    shown = MASK if mask else api_key.key
    if not (api_key.name or api_key.models or api_key.scopes):
        return shown
    lists = {"models": list(api_key.models), "scopes": list(api_key.scopes)}
    return {"key": shown, "name": api_key.name, **lists}


def _plain(value: Any) -> Any:
    """Copies made of what YAML and JSON know."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def masked(value: Any, secrets: frozenset[str]) -> Any:
    """A tree without secrets: in texts, in names of the user's choice, and numbers that are one."""
    if isinstance(value, str):
        return hide(value, secrets)
    if isinstance(value, dict):
        result: dict[str, Any] = {}
        for name, item in value.items():
            shown = name if name in _KEYS else _unused(hide(name, secrets), result)
            result[shown] = masked(item, secrets)
        return result
    if isinstance(value, list):
        return [masked(item, secrets) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        return value if hide(text, secrets) == text else MASK
    return value


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """Two names may look the same once their secrets are hidden."""
    shown, number = name, 1
    while shown in taken:
        number += 1
        shown = f"{name} ({number})"
    return shown


def _decimal(value: float) -> str:
    return format(Decimal(repr(value)), "f").removesuffix(".0")


class _Dumper(yaml.SafeDumper):
    """Writes texts so that our reader takes them for texts."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _StopCommand(str):
    """The one text in which `${PID}` stands for something."""

    __slots__ = ()


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None = None
    known = {"PID"} if isinstance(text, _StopCommand) else set()
    if "${" in text and set(_REFERENCE.findall(text)) - known:
        return dumper.represent_scalar(LITERAL_TAG, str(text), style='"')
    if not isinstance(resolve(text), str) or bool_word(text) is not None:
        style = '"'
    elif "\n" in text and _fits_block(text):
        style = "|"
    elif not text.isprintable() or text != text.strip():
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


def _fits_block(text: str) -> bool:
    """Whether a literal block says the text exactly: nothing invisible, no spaces that get lost."""
    lines = text.removesuffix("\n").split("\n")
    edges = lines[0].strip() and not lines[0].startswith(" ") and lines[-1].strip()
    return bool(edges) and all(line.isprintable() and line == line.rstrip() for line in lines)


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(str, _text)
