"""Several sources → one tree. A later source adds to what earlier ones say and may not contradict them."""

from __future__ import annotations

from hostler.config.nodes import Map, Node, Scalar, Seq, is_null, join
from hostler.config.problems import Mark, Report

ENTITIES = {
    "models": "model",
    "groups": "group",
    "profiles": "profile",
    "selectors": "selector",
    "peers": "peer",
    "matrix": "matrix",
    "routing.router.settings.groups": "group",
    "routing.router.settings.matrix": "matrix",
}
"""Mappings whose keys are things of their own: each may be given in one source only."""


def merge(target: Map, source: Map, report: Report, path: str = "") -> None:
    """Add `source` to `target` in place; differences go to the report."""
    entity = ENTITIES.get(path)
    target.shared = target.shared | source.shared
    for key, theirs in source.items.items():
        mark = source.keys[key]
        if key not in target.items:
            target.put(key, mark, theirs)
            if key in source.merged:
                target.merged.add(key)
            continue
        where = join(path, key)
        if key in source.merged:  # what came in by `<<` yields to what is spelled out, here and there
            continue
        if key in target.merged:
            target.put(key, mark, theirs)
            target.merged.discard(key)
        elif entity is not None:
            first = target.keys[key]
            report.error(
                mark, where, f'duplicate {entity} "{key}"', f"it is also in {_place(first)}; keep one"
            )
        else:
            target.items[key] = _join(target.items[key], theirs, mark, where, report)


def _join(ours: Node, theirs: Node, mark: Mark, path: str, report: Report) -> Node:
    if is_null(theirs):
        return ours
    if is_null(ours):
        return theirs
    if path in ENTITIES and not (isinstance(ours, Map) and isinstance(theirs, Map)):
        report.error(mark, path, "expected a mapping here and in " + _place(ours.mark))
        return ours
    match ours, theirs:
        case Map(), Map():
            joined = ours.copy()
            merge(joined, theirs, report, path)
            return joined
        case Seq(), Seq():
            return Seq(ours.mark, [*ours.items, *theirs.items])
        case Scalar(), Scalar():
            if ours.text != theirs.text or type(ours.value) is not type(theirs.value):
                report.error(
                    mark, path, f'conflict at "{path}"', f"{_place(ours.mark)} has another value; keep one"
                )
        case _:
            report.error(
                mark,
                path,
                f'conflict at "{path}": incompatible YAML node kinds',
                f"{_place(ours.mark)} has something of another kind",
            )
    return ours


def _place(mark: Mark) -> str:
    return f"{mark.file}:{mark.line}"
