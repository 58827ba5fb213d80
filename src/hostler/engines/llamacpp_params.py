"""From a command line to CommonParams: read it, fill it in, add llama-server's defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostler.engines.cores import usable_cores
from hostler.engines.flags import Setting, apply, read
from hostler.engines.llamacpp_flags import DEFAULT_PORT, MODEL, TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str]) -> list[Setting]:
    """The settings of a command line; raises FlagError."""
    return read(argv, TABLE)


def model_path(settings: Sequence[Setting]) -> str | None:
    """The file the last -m names."""
    return next((str(s.value) for s in reversed(settings) if s.flag is MODEL), None)


def fill(params: Any, native: Any, settings: Sequence[Setting]) -> None:
    """Write llama-server's defaults, then `settings`, then what follows from both; raises FlagError."""
    params.port = DEFAULT_PORT
    params.n_parallel = -1
    apply(settings, params, native)
    if params.cpuparams.n_threads <= 0:
        params.cpuparams.n_threads = usable_cores()
    if params.cpuparams_batch.n_threads <= 0:
        params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    if not params.model_alias:
        params.model_alias = [Path(params.model.path).name]
