"""How far an engine is with loading, read off the lines it prints. Pure.

Rules are patterns over single lines, the newest line first; what no rule knows says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

# Longer lines are tensors and templates printed whole.
LINE_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What an engine is doing; `fraction` of that is done, None where it does not say."""

    stage: str
    fraction: float | None = None


def _percent(match: re.Match[str]) -> float | None:
    return min(float(match[1]) / 100, 1.0)


def _count(match: re.Match[str]) -> float | None:
    done, of = int(match[1]), int(match[2])
    return min(done / of, 1.0) if of else None


def _dots(match: re.Match[str]) -> float | None:
    # llama.cpp prints one dot for each percent of the weights.
    return min(len(match[0]) / 100, 1.0)


def _unknown(match: re.Match[str]) -> float | None:
    return None


RULES: Final[tuple[tuple[re.Pattern[str], str, Callable[[re.Match[str]], float | None]], ...]] = (
    # vLLM and SGLang (tqdm bars)
    (re.compile(r"Loading .*checkpoint shards:\s*(\d+)%"), "loading weights", _percent),
    (re.compile(r"Capturing .*[Gg]raph.*?:?\s+(\d+)%"), "capturing CUDA graphs", _percent),
    (re.compile(r"Starting to load model|Load weight begin"), "loading weights", _unknown),
    (re.compile(r"Model loading took|Load weight end|Loading weights took"), "weights loaded", _unknown),
    (re.compile(r"torch\.compile|Dynamo bytecode transform|[Cc]ompiling a graph"), "compiling", _unknown),
    (re.compile(r"Capture cuda graph begin|Capturing the model"), "capturing CUDA graphs", _unknown),
    (re.compile(r"Downloading .*?:\s*(\d+)%"), "downloading", _percent),
    # llama.cpp
    (re.compile(r"^\.{3,}$"), "loading weights", _dots),
    (re.compile(r"load_tensors: (?:layer|loading)|llama_model_load:"), "loading weights", _unknown),
    (re.compile(r"\bload_model: loading model\b|\binit: loading model\b"), "loading weights", _unknown),
    (re.compile(r"\bload_model: initializing\b|llama threadpool init"), "making the context", _unknown),
    (re.compile(r"llama_model_loader|gguf_init"), "reading the model file", _unknown),
    (re.compile(r"llama_kv_cache|llama_context:|llama_new_context"), "making the context", _unknown),
    (re.compile(r"warming up the model|warmup"), "warming up", _unknown),
    # diffusers, stable-diffusion.cpp and others with a bar
    (re.compile(r"Loading pipeline components\D*(\d+)%"), "loading weights", _percent),
    (re.compile(r"loading tensors.*?(\d+)/(\d+)"), "loading weights", _count),
)  # fmt: skip


def progress_of(lines: Sequence[str]) -> Progress | None:
    """What the newest telling line of `lines` (oldest first) says; None when none does."""
    for line in reversed(lines):
        # A bar is drawn over itself: its newest state is behind the last carriage return.
        text = line.rstrip().rpartition("\r")[2].strip()[:LINE_LIMIT]
        for pattern, stage, fraction in RULES:
            found = pattern.search(text)
            if found is not None:
                return Progress(stage, fraction(found))
    return None
