"""Which llama.cpp server this machine has, as a command line."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from hostler.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def llama_server_argv(
    model_path: str | os.PathLike[str], port: int, args: Sequence[str] = (), host: str = "127.0.0.1"
) -> tuple[str, ...]:
    """The command that serves `model_path` on `host` and `port`.

    `llama-server` from the PATH when there is one (it may be built for this very machine), otherwise the
    built-in engine. `args` come before the address, so they cannot move the server elsewhere. Raises
    ConfigError when there is neither.
    """
    address = ("--host", host, "--port", str(port))
    return (*_server(), "-m", os.fspath(model_path), *args, *address)


def _server() -> tuple[str, ...]:
    import shutil  # with all its compressors; most configurations name their programs

    found = shutil.which("llama-server")
    if found is not None:
        return (found,)
    if importlib.util.find_spec("xllamacpp") is not None:
        return (sys.executable, "-m", "hostler.engines.llamacpp")
    raise ConfigError(
        "There is no llama.cpp to serve GGUF models with: no llama-server on the PATH, and the built-in "
        "engine is not installed. Either is enough; pip install 'hostler[llamacpp]' installs the latter."
    )
