"""Runs whose end nobody saw: Hostler was killed before them, and its next life says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostler.logs.journal import EXIT

if TYPE_CHECKING:
    from hostler.logs.store import LogStore

UNKNOWN = "unknown"


def ending_of(run: dict[str, Any]) -> dict[str, Any]:
    """The `exit` record of such a run."""
    return {
        "exit": UNKNOWN,
        "code": None,
        "signal": None,
        "reason": "Hostler ended",
        "seconds": None,
        "pid": run.get("pid"),
        "cause": None,
    }


def end_interrupted(store: LogStore) -> None:
    """Give the newest run of each log in the files an end, where it has none; before any run begins.

    All of them can be read from then on, those of models that are not configured any more included.
    """
    if store.files is None:
        return
    for name in store.files.known:
        log, runs = store.log(name), store.files.archive.runs(name)
        if runs and EXIT not in runs[-1] and log.run == runs[-1]["run"]:
            log.event(EXIT, ending_of(runs[-1]))
