"""How much a line of an engine matters, by the styles that engines print in. Pure."""

from __future__ import annotations

import re

from hostler.logs.levels import Level

# Escapes that colour a terminal; they say nothing about a line, and hide its first word.
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
# Nobody names a level behind this many characters, but for JSON, where it may come after the message.
LOOKED_AT = 160
LOOKED_AT_JSON = 800

_NAMES = {
    "T": Level.DEBUG, "D": Level.DEBUG, "I": Level.INFO, "W": Level.WARN, "E": Level.ERROR, "F": Level.ERROR,
    "C": Level.ERROR, "V": Level.DEBUG, "TRACE": Level.DEBUG, "DEBUG": Level.DEBUG, "INFO": Level.INFO,
    "INFORMATION": Level.INFO, "NOTICE": Level.INFO, "SUCCESS": Level.INFO, "WARN": Level.WARN,
    "WARNING": Level.WARN, "ERROR": Level.ERROR, "ERR": Level.ERROR, "CRITICAL": Level.ERROR,
    "FATAL": Level.ERROR, "PANIC": Level.ERROR, "DPANIC": Level.ERROR,
    # logrus cuts names after four letters
    "TRAC": Level.DEBUG, "DEBU": Level.DEBUG, "ERRO": Level.ERROR, "FATA": Level.ERROR, "PANI": Level.ERROR,
}  # fmt: skip
_WORD = r"(TRACE|DEBUG|INFO(?:RMATION)?|NOTICE|SUCCESS|WARN(?:ING)?|ERROR|ERR|CRITICAL|FATAL|D?PANIC)"
_CLOCK = r"\d\d:\d\d:\d\d[\d:.,+Z-]*"
_TIME = rf"(?:\d{{4}}[-/]\d\d[-/]\d\d[T ])?{_CLOCK}"
# vLLM's `(EngineCore_DP0 pid=7) `, torch's `[rank0]: `: who speaks, before the line itself
_SPEAKER = re.compile(r"(?:\([^)]{1,60}\) |\[rank\d+\]: ?)+")

# A line that names its level, each style with one group.
_MARKED = re.compile(
    "|".join(
        (
            # vLLM: `ERROR 11-02 10:11:12 [core.py:1] …`; uvicorn: `INFO:     …`; Python: `WARNING:root:…`
            rf"{_WORD}(?:[: ]|$)",
            # logrus on a terminal: `WARN[0012] …`
            r"(TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)\[\d+\]",
            # llama.cpp: `0.00.123.456 W llama_…`, without times `W llama_context: …`, `I srv  update: …`
            r"\d+\.\d\d\.\d{3}\.\d{3} ([DIWE]) \S",
            r"([DIWE]) (?:[a-z_][\w.~]*(?:::[\w~]+)*: |(?:srv|slot|que|res|cmn) +\w)",
            # glog, klog, torch: `W0102 10:11:12.000000 12 file.cc:1] …`, `[W0102 10:11:12.0 file.cpp:1] …`
            r"\[?([IWEF])\d{4} \d\d:\d\d:\d\d",
            # Rust's tracing, zap, loguru, Python with a time: `2026-01-01T00:00:00Z  WARN target: …`
            rf"{_TIME}\s+(?:[-|] )?(?:\[?[\w./:-]{{1,60}}\]? (?:- )?)?\[?{_WORD}\b",
            # Hostler, Rust's env_logger and others: `[ERROR] …`, `[2026-01-01T00:00:00Z ERROR crate] …`
            rf"\[(?:[^\]]{{0,60}} )?{_WORD}\b",
            # SGLang: `[2026-01-01 10:00:00 TP0] ERROR: …`; TensorRT-LLM: `[TensorRT-LLM][WARNING] …`
            rf"\[[^\]]{{0,60}}\] ?(?:\[[^\]]{{0,20}}\] )?\[?{_WORD}\b",
            # TensorRT-LLM's short form: `[01/02/2026-10:11:12] [TRT-LLM] [W] …`
            r"\[[^\]]{0,60}\] \[[^\]]{0,20}\] \[([VIWEF])\] ",
            # gin, the HTTP framework of many engines in Go
            r"\[GIN-(debug)\]",
        )
    )
)
# slog, logrus: `time=… level=WARN msg=…`
_PAIR = re.compile(rf"\b(?:level|lvl)=\"?{_WORD}\b", re.IGNORECASE)
_JSON = re.compile(
    rf'"(?:log\.)?(?:level|lvl|severity|levelname|level_name)"\s*:\s*(?:"{_WORD}"|([1-6]0)\b)', re.IGNORECASE
)
# pino and bunyan count
_NUMBERS = {
    "10": Level.DEBUG, "20": Level.DEBUG, "30": Level.INFO, "40": Level.WARN, "50": Level.ERROR,
    "60": Level.ERROR,
}  # fmt: skip

# A line that names none, and shows it by what it says. The words are looked for first: that is faster
# than the expressions, and most lines have none of them.
_WORDS = (
    "error",
    "fail",
    "exception",
    "warn",
    "traceback",
    "panic",
    "fatal",
    "terminate",
    "ggml_assert",
    "fault",
)
_BROKEN = re.compile(
    r"^(?:traceback \(most recent call last\)|panic: |fatal(?: error)?[: ]|terminate called"
    r"|thread '[^']*' panicked|[\w.]+(?:error|exception)(?::|$))"
    r"|(?<!\bno )(?<!\b0 )(?<!\bwithout )\b(?:error|failed|failure|exception)\b"
    r"|ggml_assert|segmentation fault"
)
_ODD = re.compile(r"\bwarn(?:ing)?\b|[a-z]warning: ")
# A message of its own that is neither: it begins with a time, or with the function that llama.cpp names. What
# came before it (a warning, the lines of a traceback) is over.
_ORDINARY = re.compile(
    rf"\[?(?:{_TIME}|\d{{4}}[-/]\d\d[-/]\d\d )|\[GIN\] |[a-z_][a-z0-9_]*: \S|(?:srv|slot|que|res|cmn) +\w+: "
)


def plain(text: str) -> str:
    """`text` without the escapes that colour a terminal."""
    return ANSI.sub("", text) if "\x1b" in text else text


def level_of(text: str) -> Level | None:
    """The level a line names, or shows by what it says; None when it does neither and may belong to the one
    before it.
    """
    head = plain(text[: 2 * LOOKED_AT])[:LOOKED_AT].lstrip()
    if head[:1] == "{":
        return _json_level(text)
    if head[:1] in ("(", "["):
        speaker = _SPEAKER.match(head)
        if speaker is not None:
            head = head[speaker.end() :].lstrip()
    found = _MARKED.match(head) or (_PAIR.search(head) if "l=" in head else None)
    if found is not None:
        assert found.lastindex is not None
        return _NAMES[found[found.lastindex].upper()]
    lower = head.lower()
    if any(word in lower for word in _WORDS):
        if _BROKEN.search(lower):
            return Level.ERROR
        if _ODD.search(lower):
            return Level.WARN
    return Level.INFO if _ORDINARY.match(head) else None


def _json_level(text: str) -> Level | None:
    found = _JSON.search(text[:LOOKED_AT_JSON])
    if found is None:
        return None
    return _NAMES[found[1].upper()] if found[1] else _NUMBERS[found[2]]
