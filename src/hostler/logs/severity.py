"""How much a line of an engine matters, by the styles that engines print in. Pure."""

from __future__ import annotations

import re

from hostler.logs.levels import Level

# Escapes that colour a terminal; they say nothing about a line, and hide its first word.
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
# Nobody names a level behind this many characters.
LOOKED_AT = 160

_NAMES = {
    "T": Level.DEBUG, "D": Level.DEBUG, "I": Level.INFO, "W": Level.WARN, "E": Level.ERROR, "F": Level.ERROR,
    "C": Level.ERROR, "TRACE": Level.DEBUG, "DEBUG": Level.DEBUG, "INFO": Level.INFO, "NOTICE": Level.INFO,
    "WARN": Level.WARN, "WARNING": Level.WARN, "ERROR": Level.ERROR, "ERR": Level.ERROR,
    "CRITICAL": Level.ERROR, "FATAL": Level.ERROR, "PANIC": Level.ERROR,
}  # fmt: skip
_WORD = r"(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|CRITICAL|FATAL|PANIC)"
_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,+Z-]+"
_TARGET = r"(?:\[?[\w./:-]{1,60}\]? (?:- )?)?"

_RULES = (
    # vLLM: `(EngineCore_0 pid=7) ERROR 11-02 10:11:12 [core.py:1] …`; Python: `ERROR: …`, `WARNING:root:…`
    re.compile(rf"^(?:\([^)]{{0,60}}\) )?{_WORD}\b[: ]"),
    # Hostler, Rust's env_logger and others: `[ERROR] …`, `[2026-01-01T00:00:00Z ERROR crate] …`
    re.compile(rf"^\[(?:[^\]]{{0,60}} )?{_WORD}\b"),
    # Rust's tracing, Go's zap, Python's logging with a time: `2026-01-01T00:00:00Z  WARN target: …`
    re.compile(rf"^{_TIME}\s+(?:- )?{_TARGET}\[?{_WORD}\b"),
    # SGLang and TensorRT-LLM: `[2026-01-01 10:00:00] ERROR: …`
    re.compile(rf"^\[[^\]]{{0,60}}\] (?:\[[^\]]{{0,20}}\] )?\[?{_WORD}\b"),
    # Go's slog: `time=… level=warn msg=…`
    re.compile(rf"\blevel=\"?{_WORD}\b", re.IGNORECASE),
    # JSON lines
    re.compile(rf'"(?:level|lvl|severity|levelname)"\s*:\s*"{_WORD}"', re.IGNORECASE),
    # llama.cpp with prefixes: `0.00.123.456 W llama_…`; glog and klog: `W0102 10:11:12.000000 …`
    re.compile(r"^[\d.]+ ([DIWE]) \S"),
    re.compile(r"^([IWEF])\d{4} \d\d:\d\d"),
)
_ENDS = r"^Traceback \(most recent call last\)|^panic: |^fatal(?: error)?[: ]|^terminate called"
_FAILS = r"\b(?:error|failed|failure|exception)\b|GGML_ASSERT|Segmentation fault"
_WORDS = (
    (re.compile(rf"{_ENDS}|{_FAILS}", re.IGNORECASE), Level.ERROR),
    (re.compile(r"\bwarn(?:ing)?\b", re.IGNORECASE), Level.WARN),
)


def plain(text: str) -> str:
    """`text` without the escapes that colour a terminal."""
    return ANSI.sub("", text) if "\x1b" in text else text


def level_of(text: str) -> Level | None:
    """The level a line names, or shows by what it says; None when it does neither."""
    head = plain(text[: 2 * LOOKED_AT])[:LOOKED_AT].lstrip()
    for rule in _RULES:
        found = rule.search(head)
        if found is not None:
            return _NAMES[found[1].upper()]
    for words, level in _WORDS:
        if words.search(head):
            return level
    return None
