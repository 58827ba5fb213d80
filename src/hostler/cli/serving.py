"""serve, run and demo: from a command line to a configuration, and from there to a running server."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.cli import address, adhoc, curls, sources
from hostler.cli.outcome import CommandError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from hostler.config.schema import Config
    from hostler.reload import ConfigSource


def serve(arguments: Namespace) -> int:
    """Serve what the configuration files, the directory of models, or both offer."""
    tls = _tls(arguments)
    listen = address.parse(arguments.listen, tls=tls is not None)
    if arguments.watch_config and arguments.models and not (arguments.config or arguments.config_dir):
        raise UsageError("serve: --watch-config watches --config and --config-dir; name one of them")
    found = sources.find(
        arguments.config, arguments.config_dir, arguments.models, arguments.log_level or None
    )
    loaded = found.load()
    for warning in loaded.warnings:
        print(f"hostler: {warning}", file=sys.stderr)
    return _serve(
        arguments,
        loaded.config,
        listen=listen,
        tls=tls,
        source=found,
        watch=arguments.watch_config,
        on_ready=None,
    )


def run(arguments: Namespace) -> int:
    """Serve one GGUF file."""
    path = Path(arguments.file)
    if not path.is_file():
        raise CommandError(f"{path}: there is no such file")
    model_id = arguments.name or adhoc.name_of(path)
    entry = adhoc.Entry(str(path.absolute()), tuple(arguments.engine_args))
    config = sources.made_up({model_id: entry})
    return _serve(
        arguments,
        config,
        listen=address.parse(arguments.listen),
        on_ready=lambda url: _say(curls.one_model(url, model_id)),
    )


def demo(arguments: Namespace) -> int:
    """Serve two small real models and print what to try."""
    from hostler.engines.cores import usable_cores
    from hostler.engines.demo_models import demo_model_path

    listen = address.parse(arguments.listen)
    directory = Path(arguments.cache_dir) if arguments.cache_dir else _cache_dir()
    _say("Putting the weights together (the first time only)\n")
    weights = demo_model_path(directory)
    models = adhoc.demo(str(Path(weights).absolute()), usable_cores())
    config = sources.made_up(models)
    first, second = models
    return _serve(
        arguments,
        config,
        listen=listen,
        on_ready=lambda url: _say(curls.two_models(url, first, second, stop=adhoc.STOP, program=_program())),
    )


def _serve(
    arguments: Namespace,
    config: Config,
    *,
    listen: tuple[str, int],
    tls: tuple[str, str] | None = None,
    source: ConfigSource | None = None,
    watch: bool = False,
    on_ready: Callable[[str], None] | None,
) -> int:
    from hostler import app

    if arguments.log_level:
        config = replace(config, log_level=arguments.log_level)
    if on_ready is None and config.log_to_stdout not in {"proxy", "both"}:
        on_ready = _announce  # the server's own words go to its log only
    return app.serve(config, listen=listen, tls=tls, source=source, watch=watch, on_ready=on_ready)


def _tls(arguments: Namespace) -> tuple[str, str] | None:
    certificate, key = arguments.tls_cert_file, arguments.tls_key_file
    if not certificate and not key:
        return None
    if not (certificate and key):
        raise UsageError("serve: --tls-cert-file and --tls-key-file go together")
    for path in (certificate, key):
        if not Path(path).is_file():
            raise CommandError(f"{path}: there is no such file")
    return certificate, key


def _cache_dir() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("hostler", appauthor=False)


def _program() -> str:
    """How to call this program from the current directory."""
    path = Path(sys.argv[0])
    if path.name != "hostler":
        return "hostler"
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _announce(url: str) -> None:
    _say(f"Hostler is listening on {url}\n")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
