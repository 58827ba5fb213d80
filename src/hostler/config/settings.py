"""Decoded fields of the top level → settings, with what must be right about them on their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from hostler.config.decode import Fields
from hostler.config.problems import Report
from hostler.config.schema import DEFAULT_IGNORE_PATHS, EMPTY, LogCause, Logs, Performance, Telemetry
from hostler.config.texts import compile_cause, compile_re2, url_problem

CheckStore = Callable[[str], str | None]
"""Why a file cannot be the store; given by `load`, because it has to look."""

MIN_SAMPLING, USUAL_SAMPLING = 1.0, 5.0

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def settings(root: Fields) -> dict[str, Any]:
    """Fields of `Config` that are decided by nothing but their keys."""
    store: Fields | None = root["store"]
    sampler: Fields = root["performance"]
    return {
        "health_check_timeout": root["healthCheckTimeout"],
        "log_level": root["logLevel"],
        "log_time_format": root["logTimeFormat"],
        "log_to_stdout": root["logToStdout"],
        "metrics_max_in_memory": root["metricsMaxInMemory"] if root["metricsMaxInMemory"] > 0 else 1000,
        "capture_buffer": max(root["captureBuffer"], 0),
        "store_path": store["path"].strip() if store is not None else None,
        "store_retention_days": store["retentionDays"] if store is not None else 0,
        "store_max_rows": store["maxRows"] if store is not None else 0,
        "session_headers": _headers(root["ui"]["activity"]["session_id"]),
        "performance": Performance(sampler["disabled"], sampler["every"] or USUAL_SAMPLING),
        "start_port": root["startPort"],
        "send_loading_state": root["sendLoadingState"],
        "include_aliases_in_list": root["includeAliasesInList"],
        "global_ttl": root["globalTTL"],
        "unload_timeout": root["unloadTimeout"] or 10,
        "max_body_mb": root["maxBodyMB"],
        "ignore_paths": root["upstream"]["ignorePaths"] or DEFAULT_IGNORE_PATHS,
        "logs": _logs(root["logs"]),
        "telemetry": _telemetry(root["telemetry"]),
    }


def _headers(names: Sequence[str]) -> tuple[str, ...]:
    unique: dict[str, str] = {}
    for name in names:
        if name.strip():
            unique.setdefault(name.strip().lower(), name.strip())
    return tuple(unique.values())


def _logs(f: Fields) -> Logs:
    return Logs(
        buffer_bytes=f["bufferBytes"],
        keep_runs=f["keepRuns"],
        files=f["files"],
        dir=f["dir"],
        max_bytes=f["maxBytes"],
        segment_bytes=f["segmentBytes"],
        max_rate=f["maxRate"],
        causes=tuple(
            LogCause(c["name"], c["pattern"], c["message"], c["advice"], c["engines"])
            for c in f["causes"]
            if isinstance(c, Fields)  # what is no mapping has been reported
        ),
    )


def _telemetry(f: Fields) -> Telemetry:
    return Telemetry(f["endpoint"], f["headers"] or EMPTY, f["serviceName"])


def check_settings(root: Fields, report: Report, check_store: CheckStore | None) -> None:
    """Report what is wrong with a value that its kind does not tell."""
    every: Fields = root["performance"]
    if every["every"] < MIN_SAMPLING and every["every"] != 0:
        what = f"performance: every must be at least 1s, got {every['every']:g}s"
        report.error(every.mark("every"), every.at("every"), what)
    store: Fields | None = root["store"]
    if store is not None:
        mark, where = store.mark("path"), store.at("path")
        path = store["path"].strip()
        if not path and "path" not in store.failed:
            report.error(
                mark, where, "store.path must not be empty", "remove store to keep activity in memory"
            )
        elif path and check_store is not None and (problem := check_store(path)):
            report.error(mark, where, problem)
    _check_ignore_paths(root["upstream"], report)
    _check_causes(root["logs"], report)
    _check_telemetry(root["telemetry"], report)
    if root.given("logRequests"):
        report.warn(root.mark("logRequests"), "logRequests", "has no effect", "remove it")


def _check_ignore_paths(f: Fields, report: Report) -> None:
    for index, pattern in enumerate(f["ignorePaths"]):
        try:
            compile_re2(pattern)
        except re.error as error:
            where = f"{f.at('ignorePaths')}[{index}]"
            report.error(f.mark("ignorePaths", index), where, f"invalid regular expression: {error}")


def _check_causes(f: Fields, report: Report) -> None:
    for cause in f["causes"]:
        if not isinstance(cause, Fields):
            continue
        for key in ("name", "pattern", "message"):
            if not cause[key].strip() and key not in cause.failed:
                report.error(cause.mark(key), cause.at(key), f"{key} is required")
        try:
            compile_cause(cause["pattern"])
        except re.error as error:
            what = f"invalid regular expression: {error}"
            report.error(cause.mark("pattern"), cause.at("pattern"), what, "Python's syntax")
        for index, engine in enumerate(cause["engines"]):
            if not engine.strip():
                mark, where = cause.mark("engines", index), f"{cause.at('engines')}[{index}]"
                report.error(mark, where, "an engine needs a name")


def _check_telemetry(f: Fields, report: Report) -> None:
    endpoint: str = f["endpoint"]
    if endpoint:
        problem = url_problem(endpoint)
        if problem is None and not re.match(r"https?://.", endpoint, re.IGNORECASE):
            problem = "it does not begin with http:// or https://"
        if problem:
            report.error(f.mark("endpoint"), f.at("endpoint"), f"invalid URL: {problem}")
    for name, value in f["headers"].items():
        mark, where = f.mark("headers", name), f"{f.at('headers')}.{name}"
        if not _TOKEN.fullmatch(name):
            report.error(mark, where, "not the name of a header", "letters, digits and -")
        if _CONTROL.search(value):
            report.error(mark, where, "the value contains a control character")
    if not f["serviceName"].strip():
        report.error(f.mark("serviceName"), f.at("serviceName"), "serviceName must not be empty")
