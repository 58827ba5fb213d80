"""Decoded fields → `Model` and `Peer`, with what must be right about one of them on its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hostler.config.commands import split_command
from hostler.config.decode import Fields
from hostler.config.problems import Report
from hostler.config.schema import (
    EMPTY,
    Capabilities,
    Compat,
    Filters,
    Model,
    ModelLogs,
    Peer,
    Timeouts,
    Tls,
)
from hostler.config.texts import url_problem
from hostler.core import ModelId

MODALITIES = ("text", "audio", "image")
COMFYUI = "comfyui_auto"
COMFYUI_REQUESTS = 50

_WORD = re.compile(r"\w")


class Builder:
    """Makes models and peers from decoded fields. One per parse."""

    __slots__ = ("_ports", "_report", "_root", "_windows")

    def __init__(self, root: Fields, ports: Mapping[ModelId, int], report: Report, windows: bool) -> None:
        self._root = root
        self._ports = ports
        self._report = report
        self._windows = windows

    def model(self, model_id: ModelId, f: Fields) -> Model:
        """One model, with the values of the top level where it has none of its own."""
        cmd, gguf, args = self._command(f)
        comfyui = model_id == COMFYUI
        limit = max(f["concurrencyLimit"], 0)
        ttl: int = f["ttl"]
        loading: bool | None = f["sendLoadingState"]
        return Model(
            id=model_id,
            cmd=cmd,
            cmd_stop=f["cmdStop"],
            model=gguf,
            args=args,
            cwd=f["cwd"],
            port=self._ports.get(model_id),
            proxy=self._proxy(f),
            aliases=f["aliases"],
            env=self._env(f),
            check_endpoint=f["checkEndpoint"],
            health_check_timeout=f["healthCheckTimeout"] or self._root["healthCheckTimeout"],
            startup_grace=f["startupGrace"],
            ttl=self._root["globalTTL"] if ttl == -1 else ttl,
            unload_timeout=f["unloadTimeout"] or self._root["unloadTimeout"] or 10,
            unlisted=f["unlisted"],
            use_model_name=f["useModelName"],
            name=f["name"],
            description=f["description"],
            concurrency_limit=max(limit, COMFYUI_REQUESTS) if comfyui and limit else limit,
            queue_limit=f["queueLimit"],
            filters=filters(f["filters"]),
            metadata=f["metadata"] or EMPTY,
            send_loading_state=self._root["sendLoadingState"] if loading is None else loading,
            timeouts=self._timeouts(f),
            compat=Compat(ignore_websockets=comfyui or f["compat"]["ignoreWebsockets"]),
            capabilities=self._capabilities(f["capabilities"]),
            logs=ModelLogs(buffer_bytes=f["logs"]["bufferBytes"], max_rate=f["logs"]["maxRate"]),
        )

    def peer(self, peer_id: str, f: Fields) -> Peer:
        """One peer."""
        if not f["proxy"] and "proxy" not in f.failed:
            self._report.error(
                f.mark("proxy"), f.at("proxy"), "proxy is required", "the address of the other server"
            )
        elif problem := url_problem(f["proxy"]):
            self._report.error(f.mark("proxy"), f.at("proxy"), f"invalid peer proxy URL: {problem}")
        if not f["models"] and "models" not in f.failed:
            self._report.error(f.mark("models"), f.at("models"), "peer models can not be empty", "list them")
        return Peer(
            id=peer_id,
            proxy=f["proxy"],
            models=f["models"],
            api_key=f["apiKey"],
            filters=filters(f["filters"]),
            timeouts=self._timeouts(f),
            tls=self._tls(f),
        )

    def _tls(self, f: Fields) -> Tls:
        tls: Fields = f["tls"]
        if tls["ca"] and not tls["verify"]:
            hint = "remove it, or verify"
            self._report.warn(tls.mark("ca"), tls.at("ca"), "not used, because verify is false", hint)
        elif (tls["ca"] or not tls["verify"]) and f["proxy"].lower().startswith("http://"):
            what = "not used, because proxy is not an https URL"
            self._report.warn(f.mark("tls"), f.at("tls"), what, "write https:// in proxy, or remove it")
        return Tls(verify=tls["verify"], ca=tls["ca"])

    def _command(self, f: Fields) -> tuple[str, str, tuple[str, ...]]:
        cmd: str = f["cmd"]
        given = bool(_WORD.search(cmd)) or any(split_command(cmd, windows=self._windows))
        if given:
            for key in ("model", "args"):
                if f.given(key):
                    hint = f"remove either cmd or {key}"
                    self._report.warn(f.mark(key), f.at(key), "not used, because the model has a cmd", hint)
            return cmd, "", ()
        if not f["model"] and not f.failed & {"cmd", "model"}:
            what = "empty command" if f.given("cmd") else "there is neither cmd nor model"
            hint = "set cmd to the command that serves the model, or model to a GGUF file"
            self._report.error(f.mark("cmd"), f.at("cmd") if f.given("cmd") else f.path, what, hint)
        raw = f["args"]
        args = tuple(split_command(raw, windows=self._windows)) if isinstance(raw, str) else tuple(raw)
        return "", f["model"], args

    def _proxy(self, f: Fields) -> str:
        proxy: str = f["proxy"]
        mark, path = f.mark("proxy"), f.at("proxy")
        if "${" in proxy:
            return proxy  # what is wrong with it has been said
        if problem := url_problem(proxy):
            self._report.error(mark, path, f"invalid proxy URL: {problem}")
        elif not proxy.lower().startswith(("http://", "https://")):
            self._report.warn(
                mark, path, "the URL should begin with http:// or https://", "requests will fail"
            )
        return proxy

    def _env(self, f: Fields) -> tuple[str, ...]:
        for index, item in enumerate(f["env"]):
            name, equals, _ = item.partition("=")
            where = f"{f.at('env')}[{index}]"
            if not equals or not name:
                where = f"{f.at('env')}[{index}]"
                self._report.warn(
                    f.mark("env", index), where, "is not of the form NAME=value", "write NAME=value"
                )
            elif "\0" in item:
                self._report.error(f.mark("env", index), f"{f.at('env')}[{index}]", "contains a null byte")
        return tuple(f["env"])

    def _timeouts(self, f: Fields) -> Timeouts:
        t: Fields = f["timeouts"]
        for key, value in t.items():
            if value < 0:
                self._report.warn(t.mark(key), t.at(key), "is negative, which means none, like 0")
        return Timeouts(
            connect=max(t["connect"], 0),
            keepalive=max(t["keepalive"], 0),
            response_header=max(t["responseHeader"], 0),
            tls_handshake=max(t["tlsHandshake"], 0),
            expect_continue=max(t["expectContinue"], 0),
            idle_conn=max(t["idleConn"], 0),
        )

    def _capabilities(self, f: Fields) -> Capabilities:
        for key in ("in", "out"):
            for index, item in enumerate(f[key]):
                if item not in MODALITIES:
                    what = f'invalid modality "{item}"'
                    hint = f"one of {', '.join(MODALITIES)}"
                    self._report.error(f.mark(key, index), f"{f.at(key)}[{index}]", what, hint)
        return Capabilities(
            inputs=f["in"],
            outputs=f["out"],
            tools=f["tools"],
            reranker=f["reranker"],
            context=f["context"],
        )


def filters(f: Fields) -> Filters:
    """Filters, with `model` protected and the older spelling used where the newer one is empty."""
    listed: str | tuple[str, ...] = f["stripParams"] or f.get("strip_params", "")
    given = listed.split(",") if isinstance(listed, str) else listed
    names = {name.strip() for name in given} - {"", "model"}
    by_id: dict[str, Any] = {k: _unprotected(v) for k, v in f["setParamsByID"].items()}
    if not names and not f["setParams"] and not by_id:
        return _NO_FILTERS
    return Filters(
        strip_params=tuple(sorted(names)),
        set_params=_unprotected(f["setParams"]) or EMPTY,
        set_params_by_id=by_id or EMPTY,
    )


_NO_FILTERS = Filters()


def _unprotected(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (params or {}).items() if key != "model"}
