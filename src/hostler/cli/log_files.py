"""logs without a server: what is in the files of the state directory."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from hostler.logs.query import Query


def may_read(arguments: Namespace) -> bool:
    """Whether files can stand in for a server: none was named, and nothing is to be followed."""
    return not (arguments.follow or arguments.url or os.environ.get("HOSTLER_URL"))


def show(sources: Sequence[str], params: Mapping[str, str], *, as_json: bool) -> bool:
    """Print what the files hold; False when there are none of these logs."""
    from hostler.clock import SYSTEM
    from hostler.logs.archive import Archive, log_directory
    from hostler.logs.query import parse

    directory = log_directory("")
    names = Archive(directory).names()
    wanted = [source for source in sources if source in names] if sources else names
    if not wanted or len(wanted) < len(sources):
        return False
    query = parse({**params, "format": "ndjson" if as_json else "text"}, [], SYSTEM.wall().timestamp())
    print(f"hostler: no server runs; these are the files in {directory}", file=sys.stderr)
    asyncio.run(_print(wanted, query, everything=not sources))
    return True


async def _print(names: Sequence[str], query: Query, *, everything: bool) -> None:
    from hostler.logs.archive import log_directory
    from hostler.logs.files import FilesToRead
    from hostler.logs.formats import render
    from hostler.logs.hub import LogHub
    from hostler.logs.store import LogStore

    files = FilesToRead(log_directory(""))
    store = LogStore(LogHub(files=files), files)
    out = sys.stdout.buffer
    async for record in store.follow(*names, query=query, ends=True):
        out.write(render(record, query.format, store.epoch, tag=everything or len(names) > 1))
    out.flush()
