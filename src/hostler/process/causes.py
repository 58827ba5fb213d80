"""Why did it not start? A guess from the last lines an engine printed and from how it ended.

The patterns are ordered from the most telling to the most general. A line is judged by the first pattern
that fits it; among the lines the most telling wins, and of equals the latest. A guess is a help and never
decides anything.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostler.core import Exit

LINE_LIMIT: Final = 2000
"""Characters of a line that are looked at: a stack dump in one line must not cost regular-expression time."""


@dataclass(frozen=True, slots=True)
class Cause:
    """`kind` is for programs, `message` says what happened, `advice` what to do about it."""

    kind: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """`words`: every line that a pattern fits has one of them. Looking for them is a hundred times faster."""

    kind: str
    message: str
    advice: str
    words: tuple[str, ...]
    patterns: tuple[str, ...]

    def compiled(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.patterns), re.IGNORECASE)


OUT_OF_MEMORY: Final = "out_of_memory"
PORT_IN_USE: Final = "port_in_use"
FILE_NOT_FOUND: Final = "file_not_found"
UNKNOWN_FLAG: Final = "unknown_flag"
BAD_MODEL: Final = "bad_model"
PERMISSION_DENIED: Final = "permission_denied"
COMMAND_NOT_FOUND: Final = "command_not_found"
MISSING_LIBRARY: Final = "missing_library"
MISSING_MODULE: Final = "missing_module"
ILLEGAL_INSTRUCTION: Final = "illegal_instruction"
BAD_CONFIG: Final = "bad_config"

_MEMORY_ADVICE: Final = (
    "use a smaller model or context, offload fewer layers to the GPU, or unload other models first"
)
_MODEL_ADVICE: Final = "download the file again and check that this engine version knows its format"

_RULES: Final[tuple[_Rule, ...]] = (
    _Rule(
        ILLEGAL_INSTRUCTION,
        "the program uses instructions this CPU does not have",
        "use a build of the engine for this CPU",
        ("illegal instruction", "sigill"),
        (r"\billegal instruction\b", r"\bSIGILL\b"),
    ),
    _Rule(
        MISSING_LIBRARY,
        "a shared library is missing{what}",
        "install the library or set LD_LIBRARY_PATH in the model's environment",
        ("shared librar", "library not loaded", "shared object", "not found (required"),
        (
            r"error while loading shared libraries: (?P<w1>\S+?):? ",
            r"library not loaded: (?P<w2>\S+)",
            r"(?:ImportError|OSError): (?P<w3>lib\S+?\.so[.\d]*): cannot open shared object",
            r"version [`'](?P<w4>[^']+)' not found \(required by",
        ),
    ),
    _Rule(
        MISSING_MODULE,
        "a Python module is missing{what}",
        "install it into the environment the command uses, or use that environment's own python",
        ("no module named",),
        (r"ModuleNotFoundError: No module named (?P<w1>\S+)", r"No module named (?P<w2>\S+)"),
    ),
    _Rule(
        UNKNOWN_FLAG,
        "the engine does not know an argument{what}",
        "check the command against the engine's --help; the flag may be spelled differently in this version",
        ("argument", "flag", "option"),
        (
            r"error: invalid argument: (?P<w1>\S+)",
            r"error: unrecognized arguments?: (?P<w2>.+)",
            r"flag provided but not defined: (?P<w3>\S+)",
            r"error: unexpected argument '(?P<w4>[^']+)'",
            r"error: Found argument '(?P<w5>[^']+)' which wasn't expected",
            r"unknown (?:flag|option|argument|shorthand flag):? (?P<w6>.+)",
            r"unrecognized (?:command[- ]line )?option:? (?P<w7>\S+)",
            r"(?:invalid|illegal) option -- (?P<w8>\S+)",
            r"no such option:? (?P<w9>\S+)",
        ),
    ),
    _Rule(
        PORT_IN_USE,
        "the port is already in use",
        "use ${{PORT}} in the command, or stop the other process that listens there",
        ("address", "eaddrinuse", "bind", "port "),
        (
            r"address already in use",
            r"\bEADDRINUSE\b",
            r"couldn'?t bind (?:HTTP )?server socket",
            r"(?:failed|unable|cannot|could not|couldn'?t) (?:to )?bind\b.*\b(?:port|address|socket|:\d+)",
            r"port \d+ is (?:already )?(?:in use|taken|occupied)",
            r"only one usage of each socket address",
        ),
    ),
    _Rule(
        OUT_OF_MEMORY,
        "out of GPU memory",
        _MEMORY_ADVICE,
        ("memory", "cudamalloc", "out_of_", "allocat"),
        (
            r"cuda(?:malloc)?\b.*out of memory",
            r"CUDA_ERROR_OUT_OF_MEMORY",
            r"cudaMalloc failed",
            r"torch\.(?:cuda\.)?OutOfMemoryError",
            r"hip\w*\b.*out of memory",
            r"hipErrorOutOfMemory",
            r"\b(?:ROCm|HSA)\b.*(?:out of memory|OUT_OF_RESOURCES)",
            r"ErrorOutOfDeviceMemory",
            r"kIOGPUCommandBufferCallbackErrorOutOfMemory",
            r"(?:metal|mtl)\w*\b.*(?:failed to allocate|insufficient memory|out of memory)",
            r"allocating [\d.]+ \w+ on device \d+: .*out of memory",
            r"unable to allocate (?:CUDA|ROCm|Vulkan|Metal|SYCL)\d* buffer",
            r"No available memory for the cache blocks",
            r"free memory on device .* is less than desired GPU memory utilization",
        ),
    ),
    _Rule(
        OUT_OF_MEMORY,
        "out of memory",
        _MEMORY_ADVICE,
        ("memory", "alloc", "ggml_", "enomem", "oom"),
        (
            r"\bMemoryError\b",
            r"std::bad_alloc",
            r"failed to allocate (?:\w+ )*(?:buffer|memory|\d+ bytes|KV cache|compute)",
            r"ggml_\w*(?:alloc|buffer)\w*: .*(?:failed|not enough|insufficient)",
            r"cannot allocate memory",
            r"\bENOMEM\b",
            r"out of memory",
            r"\boom-kill\b|\bOOMKilled\b",
        ),
    ),
    _Rule(
        BAD_MODEL,
        "the model file is damaged or not of a kind this engine can load",
        _MODEL_ADVICE,
        ("magic", "gguf", "architecture", "tensor", "key not found", "corrupted", "deserializing"),
        (
            r"invalid magic",
            r"gguf_init_from_file\w*: (?!failed to open)",
            r"not a (?:valid )?GGUF",
            r"unknown model architecture: (?P<w1>\S+)",
            r"tensor '[^']+' (?:data )?is not within (?:the )?file bounds",
            r"missing tensor '(?P<w2>[^']+)'",
            r"key not found in model: (?P<w3>\S+)",
            r"model (?:file )?is corrupted",
            r"safetensors_rust\.SafetensorError",
            r"Error while deserializing header",
        ),
    ),
    _Rule(
        COMMAND_NOT_FOUND,
        "a command was not found{what}",
        "give its full path, or put its folder on the PATH in the model's environment",
        ("not found", "no such file"),
        (
            r"(?P<w1>[^\s:]+): command not found",
            r"exec: \"?(?P<w2>[^\s\":]+)\"?: executable file not found",
            r"env: [‘'\"]?(?P<w3>[^\s‘’'\":]+)[’'\"]?: No such file",
            r"sh: (?:\d+: |line \d+: )?(?P<w4>[^\s:]+): not found",
        ),
    ),
    _Rule(
        PERMISSION_DENIED,
        "permission denied{what}",
        "check the owner and the mode of the file or device; ports below 1024 need privileges",
        ("permission", "eacces", "not permitted"),
        (
            r"PermissionError: .*?'(?P<w1>[^']+)'",
            r"permission denied[^'\"]*['\"](?P<w2>[^'\"]+)['\"]",
            r"permission denied",
            r"\bEACCES\b",
            r"operation not permitted",
        ),
    ),
    _Rule(
        FILE_NOT_FOUND,
        "a file was not found{what}",
        "check the path in the command; a relative one starts at the model's working directory",
        ("no such file", "open", "not found", "not exist", "filenotfound", "enoent"),
        (
            r"failed to open GGUF file '?(?P<w1>[^'()]+?)'?(?: \(|$)",
            r"FileNotFoundError: .*?'(?P<w2>[^']+)'",
            r"(?:failed to|cannot|can't|could not|unable to) open (?:\w+ )*[‘'\"](?P<w3>[^’'\"]+)[’'\"]",
            r"open (?P<w4>\S+): no such file or directory",
            r"(?P<w5>/[^\s:'\"]+)['\"]?: no such file or directory",
            r"model (?:file |path )?(?P<w6>\S+) (?:does not exist|not found)",
            r"file (?P<w7>\S+) does not exist",
            r"no such file or directory",
            r"\bENOENT\b",
        ),
    ),
    _Rule(
        BAD_MODEL,
        "the engine could not load the model",
        "its log says why, a few lines before the end",
        ("load",),
        (r"(?:error|failed) (?:to load|loading) model", r"\bexiting due to model loading error"),
    ),
)
_COMPILED: Final = tuple((rule, rule.compiled()) for rule in _RULES)


def _what(match: re.Match[str]) -> str:
    """The name the pattern caught (a file, a flag), as `: name`; nothing when it caught none."""
    found = next((text for text in match.groupdict().values() if text), "").strip(" '\"`.,;")
    return f": {found[:200]}" if found else ""


def _judge(line: str) -> tuple[int, Cause] | None:
    lower = line.lower()
    for rank, (rule, pattern) in enumerate(_COMPILED):
        if any(word in lower for word in rule.words) and (match := pattern.search(line)):
            message = rule.message.format(what=_what(match))
            return rank, Cause(rule.kind, message, rule.advice.format())
    return None


def _from_exit(end: Exit) -> Cause | None:
    if end.signal == signal.SIGKILL:
        return Cause(
            OUT_OF_MEMORY,
            "it was killed from outside, most likely because the machine ran out of memory",
            _MEMORY_ADVICE,
        )
    if end.signal == signal.SIGILL:
        return Cause(ILLEGAL_INSTRUCTION, _RULES[0].message, _RULES[0].advice)
    return _EXIT_CODES.get(end.code) if end.code is not None else None


_EXIT_CODES: Final[dict[int, Cause]] = {
    # What a shell or a container runtime answers with when it could not run the command it was given.
    126: Cause(PERMISSION_DENIED, "the command is not executable", "check the mode of the file"),
    127: Cause(COMMAND_NOT_FOUND, "a command was not found", "give its full path in the model's command"),
    132: Cause(ILLEGAL_INSTRUCTION, _RULES[0].message, _RULES[0].advice),
    137: Cause(
        OUT_OF_MEMORY,
        "a process inside was killed from outside, most likely because memory ran out",
        _MEMORY_ADVICE,
    ),
}


@dataclass(frozen=True, slots=True)
class UserRule:
    """A cause that somebody wrote into the configuration; it goes before all others."""

    pattern: re.Pattern[str]
    cause: Cause


def guess_cause(lines: Sequence[str], end: Exit | None, rules: Sequence[UserRule] = ()) -> Cause | None:
    """The most telling of the last `lines`, else what the way it ended suggests, else None.

    A kill by SIGKILL speaks for itself only when no line is more telling than "could not load the model".
    What `rules` find goes before everything: whoever wrote them knows the engine.
    """
    for rule in rules:
        if any(rule.pattern.search(line[:LINE_LIMIT]) for line in reversed(lines)):
            return rule.cause
    best: tuple[int, Cause] | None = None
    for line in reversed(lines):
        judged = _judge(line[:LINE_LIMIT])
        if judged is not None and (best is None or judged[0] < best[0]):
            best = judged
    vague = len(_RULES) - 1
    if end is not None and (best is None or best[0] == vague):
        by_exit = _from_exit(end)
        if by_exit is not None:
            return by_exit
    return best[1] if best is not None else None


# What an engine may say of itself and live on: the request failed, or the next one will.
_LIVING: Final = tuple((rule, pattern) for rule, pattern in _COMPILED if rule.kind == OUT_OF_MEMORY)
_LIVING_WORDS: Final = tuple({word for rule, _ in _LIVING for word in rule.words})


def seen_causes(text: str, rules: Sequence[UserRule] = ()) -> list[tuple[Cause, list[str]]]:
    """Which causes the lines of a running engine name, each with those lines: all of `rules`, and memory.

    Other causes are not looked for: a file that is not found may be a client's mistake.
    """
    lower = text.lower()
    words = any(word in lower for word in _LIVING_WORDS)
    if not words and not rules:
        return []
    found: dict[Cause, list[str]] = {}
    for whole in text.split("\n"):
        line = whole[:LINE_LIMIT]
        cause = next((rule.cause for rule in rules if rule.pattern.search(line)), None)
        if cause is None and words:
            cause = _living(line)
        if cause is not None:
            found.setdefault(cause, []).append(line)
    return list(found.items())


def _living(line: str) -> Cause | None:
    lower = line.lower()
    for rule, pattern in _LIVING:
        if any(word in lower for word in rule.words) and pattern.search(line):
            return Cause(rule.kind, rule.message, rule.advice)
    return None
