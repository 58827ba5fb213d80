"""logs without a server: what is in the files of the state directory, or of another one."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from hostler.cli import log_output, log_query
from hostler.cli.outcome import OK, CommandError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

    from hostler.logs.query import Query
    from hostler.logs.store import LogStore


def may_read(arguments: Namespace) -> bool:
    """Whether files can stand in for a server: none was named, and nothing is to be followed."""
    return not (arguments.follow or arguments.url or os.environ.get("HOSTLER_URL"))


def hold(arguments: Namespace) -> bool:
    """Whether there are files of the logs that are asked for."""
    names = _names(_directory(arguments))
    return bool(names) and set(arguments.sources) <= set(names)


def show(arguments: Namespace) -> int:
    """Print what the files hold; raises CommandError when that is nothing."""
    from hostler.clock import SYSTEM
    from hostler.logs.query import parse

    directory = _said(arguments)
    params = {**log_query.parameters(arguments), "format": "ndjson" if arguments.json else "text"}
    query = parse(params, [], SYSTEM.wall().timestamp())
    asyncio.run(_print(_open(directory), arguments.sources or _names(directory), query, arguments))
    return OK


def runs(arguments: Namespace, model: str) -> list[dict[str, Any]]:
    """The runs of a model, newest first, as the HTTP API gives them."""
    from hostler.logs.formats import as_run

    found = _open(_said(arguments)).runs(model)
    return [as_run(run) for run in reversed(found)]


def last_lines(arguments: Namespace, model: str, run: int, count: int) -> list[dict[str, Any]]:
    """The last records of a run."""
    from hostler.logs.formats import as_dict
    from hostler.logs.query import Query

    store = _open(_directory(arguments))
    records = asyncio.run(store.read(model, query=Query(format="ndjson", run=run, tail=count)))
    return [as_dict(record, store.epoch) for record in records]


def _directory(arguments: Namespace) -> Path:
    from hostler.logs.archive import log_directory

    return log_directory(arguments.dir or "")


def _said(arguments: Namespace) -> Path:
    """The directory, which is told unless it was asked for; raises CommandError when it is of no use."""
    directory = _directory(arguments)
    if arguments.follow:
        raise UsageError("logs: files are not followed; --dir and -f exclude each other")
    names = _names(directory)
    if not names:
        raise CommandError(f"there are no logs in {directory}")
    for source in arguments.sources:
        if source not in names:
            from hostler.config.problems import did_you_mean

            raise CommandError(f"there is no log of {source!r} in {directory}{did_you_mean(source, names)}")
    if arguments.dir is None:
        print(f"hostler: no server runs; these are the files in {directory}", file=sys.stderr)
    return directory


def _names(directory: Path) -> list[str]:
    from hostler.logs.archive import Archive

    return Archive(directory).names()


def _open(directory: Path) -> LogStore:
    from hostler.logs.files import FilesToRead
    from hostler.logs.hub import LogHub
    from hostler.logs.store import LogStore

    files = FilesToRead(directory)
    return LogStore(LogHub(files=files), files)


async def _print(store: LogStore, names: Sequence[str], query: Query, arguments: Namespace) -> None:
    from hostler.logs.formats import as_dict, render

    fancy: log_output.Text | None = None
    if not arguments.json and (sys.stdout.isatty() or arguments.timestamps):
        fancy = log_output.Text(
            sys.stdout,
            arguments.sources,
            runs=not log_query.selects_lines(arguments),
            times=arguments.timestamps,
        )
    out = sys.stdout.buffer
    async for record in store.follow(*names, query=query, ends=True):
        if fancy is not None:
            fancy(as_dict(record, store.epoch))
        else:
            out.write(render(record, query.format, store.epoch, tag=len(arguments.sources) != 1))
    if fancy is not None:
        fancy.close()
    out.flush()
