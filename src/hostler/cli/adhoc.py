"""Configurations nobody wrote: for one GGUF file, a directory of them, and the demo. Pure.

They are made as text and read like any other, so they mean exactly what the same words in a file would.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from hostler.cli.outcome import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePath

SUFFIX = ".gguf"

# The demo's weights were never taught to chat and bring no template; asked like this they do answer.
QUESTIONS = (
    "{% for m in messages %}{{ 'A: ' if m.role == 'assistant' else 'Q: ' }}{{ m.content }}\n{% endfor %}A:"
)
STOP = "\nQ:"  # where they would go on with a question of their own

_SHARD = re.compile(r"-(\d{5})-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model: a GGUF file and how to run it."""

    path: str
    args: tuple[str, ...] = ()
    name: str = ""
    description: str = ""


def text(models: Mapping[str, Entry]) -> str:
    """The configuration file that offers `models`, by id."""
    document = {"models": {model_id: _model(entry) for model_id, entry in models.items()}}
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)


def name_of(path: PurePath) -> str:
    """The id a GGUF file gets: its name without suffix and shard number."""
    stem = path.name[: -len(SUFFIX)] if path.name.lower().endswith(SUFFIX) else path.name
    return _SHARD.sub("", stem)


def offered(files: Iterable[PurePath]) -> list[PurePath]:
    """Those of `files` that are models: GGUF, of split files the first, no vision projectors."""
    return sorted(path for path in files if _is_model(path))


def by_id(files: Sequence[PurePath]) -> dict[str, PurePath]:
    """Ids for `files` (paths below one directory): the name, with its directory where two share it."""
    taken: dict[str, int] = {}
    for path in files:
        taken[name_of(path)] = taken.get(name_of(path), 0) + 1
    result: dict[str, PurePath] = {}
    for path in files:
        model_id = name_of(path)
        if taken[model_id] > 1:
            model_id = (path.parent / model_id).as_posix()
        if model_id in result:  # a whole file and a split one side by side
            model_id = path.as_posix()
        result[model_id] = path
    return result


def demo(weights: str, threads: int) -> dict[str, Entry]:
    """Two models on the same weights, different enough that one must make room for the other."""
    common = ("-t", str(threads), "--temp", "0.2", "--jinja", "--chat-template", QUESTIONS)
    return {
        "gemma-chat": Entry(
            weights,
            ("-c", "8192", "-np", "2", *common),
            "Gemma 3 270M, long",
            "Two conversations at a time, 4096 tokens each.",
        ),
        "gemma-short": Entry(
            weights,
            ("-c", "1024", "-np", "1", *common),
            "Gemma 3 270M, short",
            "One conversation of 1024 tokens; small and quick to load.",
        ),
    }


def _is_model(path: PurePath) -> bool:
    lower = path.name.lower()
    if not lower.endswith(SUFFIX) or "mmproj" in lower:
        return False
    shard = _SHARD.search(lower.removesuffix(SUFFIX))
    return shard is None or shard[1] == "00001"


def _model(entry: Entry) -> dict[str, object]:
    for word in (entry.path, *entry.args):
        if "${" in word:
            raise CommandError(f"{word}: ${{...}} means a macro in a configuration; use a name without it")
    model: dict[str, object] = {"model": entry.path}
    if entry.args:
        model["args"] = list(entry.args)
    if entry.name:
        model["name"] = entry.name
    if entry.description:
        model["description"] = entry.description
    return model
