"""What a new configuration would change in a running Hostler. Pure; names keys, never their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of

from hostler.config.commands import split_command
from hostler.config.schema import Config, Logs, Model, Routing, key
from hostler.core import ModelId

PROCESS = frozenset({"cmd", "model", "args", "env", "cwd", "port", "proxy"})
"""Fields of a model that its process was started with; all others apply while it runs."""

NEEDS_RESTART = frozenset({"logToStdout", "logs.dir"})
"""Settings that are read once, when Hostler starts: files and output cannot be taken elsewhere."""

SHOWN_CHANGES = 20
"""In one line of a log; more than that nobody reads there."""

_DERIVED = frozenset({"models", "aliases", "secrets", "routing"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen. `updated` and `restart` give the keys that differ, by model."""

    unchanged: tuple[ModelId, ...] = ()
    updated: Mapping[ModelId, tuple[str, ...]] = field(default_factory=dict)
    restart: Mapping[ModelId, tuple[str, ...]] = field(default_factory=dict)
    added: tuple[ModelId, ...] = ()
    removed: tuple[ModelId, ...] = ()
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not (
            self.updated or self.restart or self.added or self.removed or self.settings or self.needs_restart
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "unchanged": list(self.unchanged),
            "updated": {model_id: list(keys) for model_id, keys in self.updated.items()},
            "restart": {model_id: list(keys) for model_id, keys in self.restart.items()},
            "added": list(self.added),
            "removed": list(self.removed),
            "settings": list(self.settings),
            "needsRestart": list(self.needs_restart),
        }

    def summary(self) -> str:
        """In one line, for a log."""
        if self.empty:
            return "nothing changes"
        parts = [f"{m} ({', '.join(keys)}) changed" for m, keys in self.updated.items()]
        parts += [f"{m} ({', '.join(keys)}) starts anew" for m, keys in self.restart.items()]
        parts += [f"{m} is new" for m in self.added] + [f"{m} is gone" for m in self.removed]
        settings = [*self.settings, *self.needs_restart]
        parts += [f"settings: {', '.join(settings)}"] if settings else []
        shown = parts[:SHOWN_CHANGES]
        more = len(parts) - len(shown)
        return "; ".join(shown) + (f"; and {more} more changes" if more else "")

    def __str__(self) -> str:
        if self.empty:
            return "nothing changes"
        lines = [f"  = {len(self.unchanged)} unchanged"] if self.unchanged else []
        lines += [f"  ~ {m}: {', '.join(keys)} (applied at once)" for m, keys in self.updated.items()]
        lines += [
            f"  ! {m}: {', '.join(keys)} (drained, started anew when next needed)"
            for m, keys in self.restart.items()
        ]
        lines += [f"  + {m} (new)" for m in self.added]
        lines += [f"  - {m} (drained and stopped)" for m in self.removed]
        head = ["models:", *lines] if lines else []
        if self.settings:
            head.append(f"settings: {', '.join(self.settings)} (applied at once)")
        if self.needs_restart:
            head.append(f"settings: {', '.join(self.needs_restart)} (need a restart of Hostler)")
        return "\n".join(head)


def plan(old: Config, new: Config, *, windows: bool = False) -> Plan:
    """Compare two configurations."""
    unchanged: list[ModelId] = []
    updated: dict[ModelId, tuple[str, ...]] = {}
    restart: dict[ModelId, tuple[str, ...]] = {}
    for model_id, model in new.models.items():
        before = old.models.get(model_id)
        if before is None:
            continue
        changed = _changed(before, model, windows)
        if not changed:
            unchanged.append(model_id)
        elif PROCESS.intersection(changed):
            restart[model_id] = tuple(key(name) for name in changed)
        else:
            updated[model_id] = tuple(key(name) for name in changed)
    settings = _settings(old, new)
    return Plan(
        unchanged=tuple(unchanged),
        updated=updated,
        restart=restart,
        added=tuple(model_id for model_id in new.models if model_id not in old.models),
        removed=tuple(model_id for model_id in old.models if model_id not in new.models),
        settings=tuple(
            [name for name in settings if name not in NEEDS_RESTART] + _routing(old.routing, new.routing)
        ),
        needs_restart=tuple(name for name in settings if name in NEEDS_RESTART),
    )


def _settings(old: Config, new: Config) -> list[str]:
    """The keys of the top level that differ; of `logs`, each by itself."""
    names = [f.name for f in fields_of(Config) if f.name not in _DERIVED]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    result = [key(name) for name in changed if name != "logs"]
    logs = [f.name for f in fields_of(Logs) if getattr(old.logs, f.name) != getattr(new.logs, f.name)]
    return result + [f"logs.{key(name)}" for name in logs]


def process_differs(old: Model, new: Model, *, windows: bool = False) -> bool:
    """Whether the process of `new` would be another one than that of `old`."""
    return not PROCESS.isdisjoint(_changed(old, new, windows))


def _changed(old: Model, new: Model, windows: bool) -> list[str]:
    if old == new:
        return []
    names = [f.name for f in fields_of(Model) if getattr(old, f.name) != getattr(new, f.name)]
    return [
        name
        for name in names
        # Line breaks, comments and quotes are no difference to the process.
        if name not in {"cmd", "cmd_stop"} or _words(old, name, windows) != _words(new, name, windows)
    ]


def _words(model: Model, name: str, windows: bool) -> list[str]:
    return split_command(getattr(model, name), windows=windows)


def _routing(old: Routing, new: Routing) -> list[str]:
    result = []
    if old.use != new.use:
        result.append("routing.router.use")
    if old.groups != new.groups:
        result.append("routing.router.settings.groups")
    if _matrix(old) != _matrix(new):
        result.append("routing.router.settings.matrix")
    if old.fifo != new.fifo:
        result.append("routing.scheduler.settings.fifo")
    return result


def _matrix(routing: Routing) -> object:
    """A matrix with the order of its sets, which decides ties."""
    matrix = routing.matrix
    return (
        None if matrix is None else (dict(matrix.vars), dict(matrix.evict_costs), list(matrix.sets.items()))
    )
