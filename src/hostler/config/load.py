"""Files → configuration. The only reader of files in this package."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hostler.config.names import Together
from hostler.config.parse import Loaded, Platform, Source, parse
from hostler.config.problems import ConfigProblems, Problem
from hostler.config.routing import CheckMatrix
from hostler.core import ModelId

SUFFIXES = (".yml", ".yaml")
MAX_BYTES = 32 * 1024 * 1024
"""Far more than any configuration; keeps a wrong path (a model file) from being read into memory."""

__all__ = ["Loaded", "find_sources", "load"]


def load(
    files: Sequence[Path] = (),
    directory: Path | None = None,
    *,
    environ: Mapping[str, str],
    made: Sequence[Source] = (),
    previous_ports: Mapping[ModelId, int] | None = None,
    port_is_free: Callable[[int], bool] = lambda _: True,
    check_matrix: CheckMatrix | None = None,
    together: Together | None = None,
) -> Loaded:
    """Read files in order, then those of a directory by name; raises `ConfigProblems`.

    `made` are texts that are in no file, merged last. The rest is as in `parse`.
    """
    paths = find_sources(files, directory) if files or directory is not None or not made else []
    platform: Platform = "windows" if os.name == "nt" else "posix"
    collecting = gc.isenabled()
    gc.disable()  # everything made here stays; looking for garbage meanwhile is time lost
    try:
        return parse(
            [*(_read(path) for path in paths), *made],
            environ=environ,
            platform=platform,
            previous_ports=previous_ports,
            port_is_free=port_is_free,
            check_matrix=check_matrix,
            together=together,
            check_store=store_problem,
        )
    finally:
        if collecting:
            gc.enable()


def find_sources(files: Sequence[Path] = (), directory: Path | None = None) -> list[Path]:
    """The files that make up a configuration, in the order in which they are merged."""
    if not files and directory is None:
        raise _problem(
            "", "there is neither a configuration file nor a directory of them", "name at least one"
        )
    inside: list[Path] = []
    if directory is not None:
        try:
            inside = sorted(
                (p for p in directory.iterdir() if p.name.endswith(SUFFIXES) and not p.is_dir()), key=str
            )
        except OSError as error:
            raise _problem(str(directory), f"the directory cannot be read: {error.strerror}") from None
    seen: set[str] = set()
    for path in files:
        name = os.path.abspath(path)  # noqa: PTH100 - symbolic links are left alone, as in llama-swap
        if name in seen:
            raise _problem(str(path), "the file is given twice", "name it once")
        seen.add(name)
    for path in inside:
        if os.path.abspath(path) in seen:  # noqa: PTH100 - as above
            what = "the file is also present in the configuration directory"
            raise _problem(str(path), what, "remove it from one of them")
    paths = [*files, *inside]
    if not paths:
        raise _problem(str(directory), "no configuration sources found", "it has no .yaml or .yml file")
    return paths


def _read(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _problem(str(path), f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise _problem(str(path).replace("\0", "?"), "this cannot be the name of a file") from None
    if len(data) > MAX_BYTES:
        raise _problem(str(path), f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB")
    return Source(str(path), data)


def store_problem(path: str) -> str | None:
    """Why `path` cannot be the file of the store; None when it can."""
    if "\0" in path:
        return "store.path is not writable: not a possible name"
    try:
        target = Path(path)
        if target.is_dir():
            return "store.path is a directory, not a file"
        if target.exists():
            return None if os.access(target, os.W_OK) else "the store's file is not writable"
        if not target.parent.is_dir():
            return "the store's directory does not exist and so is not writable"
        if os.name == "nt":
            import tempfile  # it brings half the standard library along

            with tempfile.TemporaryFile(dir=target.parent):
                return None
        return None if os.access(target.parent, os.W_OK) else "the store's directory is not writable"
    except OSError as error:
        return f"store.path is not writable: {error.strerror}"


def _problem(file: str, message: str, hint: str = "") -> ConfigProblems:
    return ConfigProblems([Problem("error", file, 0, 0, "", message, hint)])
