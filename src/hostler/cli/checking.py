"""check: say what is wrong with a configuration, what it means, and what a change of it would do."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hostler.cli import sources
from hostler.cli.outcome import FAILURE, OK, UsageError
from hostler.config.problems import ConfigProblems

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hostler.config.parse import Loaded
    from hostler.config.problems import Problem


def check(arguments: Namespace) -> int:
    """Check a configuration, or do what one of the flags asks for instead."""
    _print_anything(sys.stdout, document=bool(arguments.show or arguments.json or arguments.schema))
    _print_anything(sys.stderr)
    named = bool(arguments.files or arguments.config_dir)
    if arguments.schema or arguments.diff:
        if named:
            raise UsageError("check: --schema and --diff take no further files")
        return _schema() if arguments.schema else _diff(arguments)
    try:
        loaded = sources.find(arguments.files, arguments.config_dir, None).check()
    except ConfigProblems as error:
        return _failed(error, as_json=arguments.json)
    if arguments.show:
        return _show(loaded, as_json=arguments.json)
    if arguments.json:
        _print_json({"ok": True, "problems": [problem.as_dict() for problem in loaded.warnings]})
        return OK
    _print_problems(loaded.warnings, sys.stdout)
    print(_summary(loaded))
    return OK


def _print_anything(stream: TextIO, *, document: bool = False) -> None:
    """Let `stream` take every text: names of files may be no text, and terminals may know few characters.

    What is a document for other programs, YAML or JSON, is UTF-8 whatever the terminal is.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8" if document else None, errors="backslashreplace")


def _schema() -> int:
    from hostler.config.jsonschema import schema

    _print_json(schema(strict=True))  # for editors, which should point at a misspelt key
    return OK


def _diff(arguments: Namespace) -> int:
    from hostler.config.diff import plan
    from hostler.config.secrets import mask
    from hostler.config.show import masked

    before, after = (_found(Path(name)) for name in arguments.diff)
    try:
        old = before.check()
        new = after.check(previous=old.config)
    except ConfigProblems as error:
        return _failed(error, as_json=arguments.json)
    change = plan(old.config, new.config, windows=sys.platform == "win32")
    one, other = old.config.secrets, new.config.secrets
    if arguments.json:
        shown = {name: masked(masked(value, one), other) for name, value in change.as_dict().items()}
        _print_json(shown)
    else:
        print(mask(mask(str(change), one), other))
    return OK


def _found(path: Path) -> sources.Found:
    """A configuration is a file or a directory of them."""
    return sources.Found((), path) if path.is_dir() else sources.Found((path,))


def _show(loaded: Loaded, *, as_json: bool) -> int:
    from hostler.config.show import dump_yaml, to_dict

    _print_problems(loaded.warnings, sys.stderr)
    if as_json:
        _print_json(to_dict(loaded.config))
    else:
        sys.stdout.write(dump_yaml(loaded.config))
    return OK


def _failed(error: ConfigProblems, *, as_json: bool) -> int:
    if as_json:
        _print_json({"ok": False, "problems": [problem.as_dict() for problem in error.problems]})
    else:
        _print_problems(error.problems, sys.stdout)
        print(f"not usable: {_count(len(error.errors), 'error')}")
    return FAILURE


def _print_problems(problems: Sequence[Problem], stream: TextIO) -> None:
    for problem in problems:
        print(f"{problem.severity}: {problem}", file=stream)


def _summary(loaded: Loaded) -> str:
    config = loaded.config
    parts = [_count(len(config.models), "model")]
    parts += [_count(len(config.peers), "peer")] if config.peers else []
    parts += [_count(len(loaded.warnings), "warning")] if loaded.warnings else []
    return f"ok: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))
