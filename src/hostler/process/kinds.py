"""Which engine a command starts, by the names people call it. Pure; a guess that decides nothing."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# An engine's name, and what its programs, modules and images are called, as `_folded` writes them.
KINDS: Final[dict[str, str]] = {
    "llama.cpp": r"llama(?:server|cli|cpp|cpppython|file)|ikllamacpp",
    "built-in": r"hostlerenginesllamacpp",
    "vllm": r"vllm(?:openai|cpu|rocm)?",
    "sglang": r"sglang(?:launchserver)?|sgl",
    "ollama": r"ollama",
    "tabbyapi": r"tabby(?:api)?",
    "koboldcpp": r"koboldcpp\w*",
    "tgi": r"textgenerationlauncher|textgenerationinference|textgenerationserver|tgi",
    "tei": r"textembeddings(?:router|inference)|tei",
    "mlx": r"mlx(?:lm|vlm|omniserver)?(?:server)?",
    "lmdeploy": r"lmdeploy",
    "tensorrt-llm": r"trtllmserve|tensorrtllm",
    "aphrodite": r"aphrodite(?:engine|openai)?",
    "mistral.rs": r"mistralrs(?:server)?",
    "infinity": r"infinity(?:emb)?",
    "whisper.cpp": r"whisper(?:server|cpp)",
    "stable-diffusion.cpp": r"sd(?:server|cpp)?|stablediffusioncpp",
    "comfyui": r"comfyui",
}
_KNOWN: Final = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ash", "ksh", "busybox"})
_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl"})
_PYTHON: Final = re.compile(r"(?:python|pypy)[\d.]*w?(?:\.exe)?")
# Programs that start another one, which is what counts. Their options are skipped, with their values.
_WRAPPERS: Final = frozenset({
    "accelerate", "catchsegv", "chrt", "conda", "doas", "dumb-init", "env", "exec", "ionice", "mamba",
    "micromamba", "mpirun", "nice", "nohup", "numactl", "pipx", "pixi", "poetry", "prlimit", "run", "setsid",
    "stdbuf", "sudo", "systemd-run", "taskset", "time", "timeout", "tini", "torchrun", "unbuffer", "uv",
    "uvx",
})  # fmt: skip
# Words of a command that are looked at: behind them are the arguments of whatever it is.
_LOOKED_AT: Final = 64


def engine_names(argv: Sequence[str]) -> frozenset[str]:
    """All names of the engine that `argv` starts, folded; empty when nothing is known of it.

    Its kind, and the names of its program, Python module or image: `python -m vllm.entrypoints.x` is `vllm`.
    """
    found = {_folded(name) for name in _programs(list(argv)[:_LOOKED_AT])}
    found |= {_folded(kind) for kind, known in _KNOWN.items() if any(known.fullmatch(n) for n in found)}
    if _folded("built-in") in found:
        found.add(_folded("llama.cpp"))
    return frozenset(found - {""})


def is_meant(engines: Iterable[str], names: frozenset[str]) -> bool:
    """Whether one of `engines`, as somebody wrote them, is called so."""
    return any(_folded(engine) in names for engine in engines)


def _folded(name: str) -> str:
    """A name without what people spell differently: `llama-server`, `Llama_Server.exe`."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\.(?:exe|py|sh|bat)$", "", name.lower()))


def _base(word: str) -> str:
    return re.split(r"[/\\]", word)[-1]


def _programs(words: list[str]) -> list[str]:
    """What is started, past whatever starts it."""
    while words:
        word, words = words[0], words[1:]
        name = _base(word).lower()
        if name in _SHELLS:
            return _of_shell(words)
        if name in _CONTAINERS:
            return _of_container(words)
        if _PYTHON.fullmatch(name):
            return _of_python(words)
        if name in _WRAPPERS:
            words = _past_options(words)
        else:
            return [_base(word)]
    return []


def _past_options(words: list[str]) -> list[str]:
    """From the first word on that can be a program; the value of an option before it may be one, too."""
    for at, word in enumerate(words):
        if word.startswith("-") or "=" in word or re.fullmatch(r"[\d.,:x-]+[smhd]?", word):
            continue
        return words[at:]
    return []


def _of_shell(words: list[str]) -> list[str]:
    """`sh -c "exec vllm serve …"`, or a script."""
    for at, word in enumerate(words):
        if re.fullmatch(r"-\w*c", word):
            return _of_script(words[at + 1]) if at + 1 < len(words) else []
        if not word.startswith("-"):
            return [_base(word)]
    return []


def _of_script(text: str) -> list[str]:
    """Of each command in a line of shell, what it starts."""
    found: list[str] = []
    for part in re.split(r"&&|\|\||[;|&\n]", text)[:_LOOKED_AT]:
        try:
            words = shlex.split(part)
        except ValueError:
            words = part.split()
        found += _programs(_past_options(words)[:_LOOKED_AT])
    return found


def _of_python(words: list[str]) -> list[str]:
    """`-m vllm.entrypoints.openai.api_server`, or a script; of a `main.py` its directory says more."""
    for at, word in enumerate(words):
        if word == "-m":
            module = words[at + 1] if at + 1 < len(words) else ""
            return [module, module.partition(".")[0], module.rpartition(".")[2]]
        if word == "-c":
            return []
        if not word.startswith("-"):
            parts = re.split(r"[/\\]", word)
            return parts[-2:] if len(parts) > 1 else parts
    return []


def _of_container(words: list[str]) -> list[str]:
    """The image, and the command in it. An option's value looks the same, so every word may be either."""
    found: list[str] = []
    for word in words:
        if word.startswith(("-", "/", ".")) or "=" in word:
            continue
        image = re.sub(r"[:@].*", "", word)
        found += image.split("/")
    return found
