"""Which configuration a command means, found and read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from hostler.cli import adhoc
from hostler.cli.outcome import CommandError
from hostler.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hostler.config.parse import Loaded
    from hostler.config.schema import Config, Matrix
    from hostler.core import ModelId
    from hostler.scheduler.matrix import MatrixPolicy

LogLevel: TypeAlias = Literal["debug", "info", "warn", "error"]

DEFAULT_FILE = "config.yaml"
NOTHING = (
    f"there is no {DEFAULT_FILE} in this directory. Name a configuration with --config FILE, "
    "offer a directory of GGUF files with --models DIR, serve a single one with `hostler run FILE.gguf`, "
    "or see it work with `hostler demo`"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a configuration comes from; every part may be read again when it changes.

    `models` is a directory of GGUF files; what it offers is merged with the files, checked and read again
    like them. `log_level` is what the command line says instead of the files.
    """

    files: tuple[Path, ...] = ()
    directory: Path | None = None
    models: Path | None = None
    log_level: LogLevel | None = None

    def load(self, previous: Config | None = None) -> Loaded:
        """Read it, to serve it instead of `previous`. Raises ConfigProblems, or ConfigError."""
        from hostler.process.port import is_free

        return self._load(previous, is_free)

    def check(self, previous: Config | None = None) -> Loaded:
        """Read it as if every port of the machine were free; raises as `load` does."""
        return self._load(previous, lambda _: True)

    def watched(self) -> tuple[tuple[Path, ...], Path | None]:
        """The files and the directory to look at for changes."""
        return self.files, self.directory

    def _load(self, previous: Config | None, port_is_free: Callable[[int], bool]) -> Loaded:
        from hostler.config.load import load
        from hostler.config.parse import Source, ports_of

        matrix = MatrixCheck()
        made = [Source(f"--models {self.models}", adhoc.text(_below(self.models)))] if self.models else []
        loaded = load(
            self.files,
            self.directory,
            environ=os.environ,
            made=made,
            previous_ports=ports_of(previous) if previous else None,
            port_is_free=port_is_free,
            check_matrix=matrix.problems,
            together=matrix.together,
        )
        if self.log_level is None:
            return loaded
        return replace(loaded, config=replace(loaded.config, log_level=self.log_level))


class MatrixCheck:
    """Lends the reader of configurations, which knows no scheduler, the one that understands a matrix."""

    def __init__(self) -> None:
        self._policy: MatrixPolicy | None = None

    def problems(self, matrix: Matrix, models: Collection[ModelId]) -> list[str]:
        """What is wrong with the sets."""
        from hostler.scheduler.matrix import MatrixError, MatrixPolicy

        try:
            self._policy = MatrixPolicy(
                matrix.sets, models=models, variables=matrix.vars, evict_costs=matrix.evict_costs
            )
        except MatrixError as error:
            return [str(error)]
        return []

    def together(self, matrix: Matrix, models: Collection[ModelId]) -> bool:
        """Whether some set holds all of `models`; asked after `problems`, about the same matrix."""
        return self._policy is None or self._policy.permits(models)


def find(
    files: Sequence[str], directory: str | None, models: str | None, log_level: LogLevel | None = None
) -> Found:
    """What the flags name, or config.yaml of the current directory when they name nothing."""
    paths = tuple(Path(name) for name in files)
    folder = None if directory is None else Path(directory)
    if models is None and not paths and folder is None:
        paths = (_default(),)
    return Found(paths, folder, None if models is None else Path(models), log_level)


def made_up(models: Mapping[str, adhoc.Entry]) -> Config:
    """A configuration of `models` alone."""
    from hostler.config.parse import Source, parse

    return parse([Source("the command line", adhoc.text(models))], environ={}).config


def _default() -> Path:
    path = Path(DEFAULT_FILE)
    if not path.is_file():
        raise CommandError(NOTHING)
    return path


def _below(root: Path) -> dict[str, adhoc.Entry]:
    if not root.is_dir():
        raise ConfigError(f"--models {root}: there is no such directory")
    found = adhoc.by_id(adhoc.offered(path.relative_to(root) for path in walk(root)))
    if not found:
        raise ConfigError(f"--models {root}: no GGUF file in it or below")
    return {model_id: adhoc.Entry(str((root / path).absolute())) for model_id, path in found.items()}


def walk(root: Path) -> Iterable[Path]:
    """Every file below `root`; links to directories are followed, each directory is entered once."""
    entered: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            below.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        below.sort()
        yield from (Path(folder, name) for name in sorted(names))
