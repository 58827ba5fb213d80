"""Logs that can be trusted: bytes with absolute positions, read through cursors.

A *monitor* is the log of one process, of the proxy, or of several of them together. It keeps the newest
bytes in a *ring*. A *cursor* is an epoch and a position; a *follower* reads from a cursor on, history and
live alike, and is told exactly how many bytes it missed. The writer never waits for anybody.

For use without a server there are `LogStore`, `Query`, `Record` and `Level`; docs/log-store.md shows how.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hostler.logs.levels import Level
    from hostler.logs.query import Query
    from hostler.logs.records import Record
    from hostler.logs.store import LogStore

__all__ = ["Level", "LogStore", "Query", "Record"]

# Looked up when asked for: what needs one module of this package does not load all of them.
_HOMES = {"Level": "levels", "LogStore": "store", "Query": "query", "Record": "records"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
