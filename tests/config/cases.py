"""A table of rules: a text, and what must come of it. Each case is named after the section it tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from hostler.config.parse import Loaded, Platform, Source, parse
from hostler.config.problems import ConfigProblems, Problem
from hostler.config.schema import Config, Matrix, Model
from hostler.core import ModelId

M = "models:\n  m: {cmd: 'x ${PORT}'}\n"
"""The smallest model, for cases about something else."""


def read(
    *texts: str | bytes, env: Mapping[str, str] | None = None, platform: Platform = "posix", **more: Any
) -> Loaded:
    """Parse texts that are called f0.yaml, f1.yaml and so on."""
    sources = [Source(f"f{index}.yaml", text) for index, text in enumerate(texts)]
    return parse(sources, environ=env or {}, platform=platform, **more)


def problems(*texts: str | bytes, env: Mapping[str, str] | None = None, **more: Any) -> list[Problem]:
    """What is said about texts, errors and warnings."""
    try:
        return read(*texts, env=env, **more).warnings
    except ConfigProblems as error:
        return list(error.problems)


def model(config: Config, name: str = "m") -> Model:
    """A model by its id."""
    return config.models[ModelId(name)]


Get = Callable[[Config], object]


@dataclass(frozen=True)
class Case:
    """`text` (or several) gives what `get` finds in the configuration, or an error or warning with a text."""

    name: str
    text: str | tuple[str, ...]
    get: Get | None = None
    value: object = None
    error: str = ""
    warning: str = ""
    at: tuple[int, int] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    platform: Platform = "posix"

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else self.text

    def problems(self) -> list[Problem]:
        """What is said about the texts."""
        return problems(*self.texts, env=self.env)

    def check(self, **more: Any) -> None:
        """Assert what the case says."""
        if self.error:
            with pytest.raises(ConfigProblems) as caught:
                read(*self.texts, env=self.env, platform=self.platform, **more)
            self._said(caught.value.errors, self.error)
            return
        loaded = read(*self.texts, env=self.env, platform=self.platform, **more)
        if self.warning:
            self._said(loaded.warnings, self.warning)
        else:
            assert [str(w) for w in loaded.warnings] == []
        if self.get is not None:
            assert self.get(loaded.config) == self.value

    def _said(self, found: Iterable[Problem], text: str) -> None:
        matching = [p for p in found if text in f"{p} [{p.file}]"]
        assert matching, [str(p) for p in found]
        assert all(p.line > 0 for p in matching)
        if self.at is not None:
            assert (matching[0].line, matching[0].column) == self.at


def ok(
    name: str, text: str | tuple[str, ...], get: Get | None = None, value: object = None, **more: Any
) -> Case:
    """Valid, and nothing to say; `get` finds `value`."""
    return Case(name, text, get, value, **more)


def bad(
    name: str, text: str | tuple[str, ...], error: str, at: tuple[int, int] | None = None, **more: Any
) -> Case:
    """An error that contains a text, at a line and column."""
    return Case(name, text, error=error, at=at, **more)


def warned(
    name: str, text: str, warning: str, get: Get | None = None, value: object = None, **more: Any
) -> Case:
    """Valid, with a warning that contains a text."""
    return Case(name, text, get, value, warning=warning, **more)


def table(*cases: Case) -> pytest.MarkDecorator:
    """Parametrises a test with cases."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def get(name: str, of: str | None = None) -> Get:
    """Finds `a.b.c` in the configuration, or in a model."""

    def find(config: Config) -> object:
        found: object = config if of is None else model(config, of)
        for part in name.split("."):
            found = found[part] if isinstance(found, Mapping) else getattr(found, part)
        return found

    return find


def of_m(name: str) -> Get:
    """Finds something in the model `m`."""
    return get(name, "m")


def pairs_only(matrix: Matrix, models: Collection[ModelId]) -> list[str]:
    """Stands for whoever knows the language of sets: here, `&` and names are all there is."""
    known = {*matrix.vars, *models}
    return [
        f"set '{name}': unknown var or model \"{word}\""
        for name, text in matrix.sets.items()
        for word in text.replace("&", " ").split()
        if word not in known
    ]


def in_one_set(matrix: Matrix, models: Collection[ModelId]) -> bool:
    """The other half of it."""
    sets = [
        {matrix.vars.get(word, word) for word in text.replace("&", " ").split()}
        for text in matrix.sets.values()
    ]
    return any(set(models) <= one for one in sets)
