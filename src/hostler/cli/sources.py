"""Which configuration a command means, found and read."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.cli import adhoc
from hostler.cli.outcome import CommandError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from hostler.config.parse import Loaded
    from hostler.config.schema import Config, Matrix
    from hostler.core import ModelId
    from hostler.scheduler.matrix import MatrixPolicy

DEFAULT_FILE = "config.yaml"
NOTHING = (
    f"there is no {DEFAULT_FILE} in this directory. Name a configuration with --config FILE, "
    "offer a directory of GGUF files with --models DIR, serve a single one with `hostler run FILE.gguf`, "
    "or see it work with `hostler demo`"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a configuration comes from; both parts may be read again when they change."""

    files: tuple[Path, ...] = ()
    directory: Path | None = None

    def load(self, previous: Loaded | None = None) -> Loaded:
        """Read it; `previous` is what it replaces. Raises ConfigProblems."""
        from hostler.config.load import load

        matrix = MatrixCheck()
        return load(
            self.files,
            self.directory,
            environ=os.environ,
            previous_ports=previous.ports if previous else None,
            check_matrix=matrix.problems,
            together=matrix.together,
        )

    def read(self) -> Config:
        """The configuration; its warnings go to stderr. Raises ConfigProblems."""
        loaded = self.load()
        for warning in loaded.warnings:
            print(f"hostler: {warning}", file=sys.stderr)
        return loaded.config


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


@contextlib.contextmanager
def find(files: Sequence[str], directory: str | None, models: str | None) -> Iterator[Found]:
    """What the flags name, or config.yaml of the current directory when they name nothing.

    The models of --models become a file beside the others, so that they are merged, checked and read again
    like them; it exists for as long as the block runs.
    """
    paths = tuple(Path(name) for name in files)
    folder = None if directory is None else Path(directory)
    if models is None:
        if not paths and folder is None:
            paths = (_default(),)
        yield Found(paths, folder)
        return
    text = adhoc.text(_below(Path(models)))
    with tempfile.TemporaryDirectory(prefix="hostler-") as scratch:
        made = Path(scratch) / "models.yaml"
        made.write_text(text, encoding="utf-8")
        yield Found((*paths, made), folder)


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
        raise CommandError(f"--models {root}: there is no such directory")
    found = adhoc.by_id(adhoc.offered(path.relative_to(root) for path in walk(root)))
    if not found:
        raise CommandError(f"--models {root}: no GGUF file in it or below")
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
