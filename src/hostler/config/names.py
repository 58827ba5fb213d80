"""Names: aliases, peer models, selectors, profiles, preload. Who may be called what, and what names exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from hostler.config.decode import Fields
from hostler.config.problems import Mark, Report
from hostler.config.schema import Matrix, Model, Peer, Profile, Routing, Selector
from hostler.core import ModelId

STRATEGIES = ("warm", "pin", "spillover")

Together = Callable[[Matrix, Collection[ModelId]], bool]
"""Whether a matrix lets these models run at the same time; given by whoever knows its language."""


class Names:
    """Every name requests can use. Filled in order: models, aliases, peers, selectors."""

    def __init__(self, models: Mapping[ModelId, Model], peers: Mapping[str, Peer], report: Report) -> None:
        self._report = report
        self.models = models
        self.aliases: dict[str, ModelId] = {}
        self.peers = peers
        self.qualified: dict[str, tuple[str, str]] = {}
        self.bare: dict[str, int] = {}
        for peer in peers.values():
            for model in dict.fromkeys(peer.models):
                self.qualified.setdefault(f"{peer.id}/{model}", (peer.id, model))
                self.bare[model] = self.bare.get(model, 0) + 1

    def local(self, name: str) -> ModelId | None:
        """The model a name stands for here."""
        return ModelId(name) if ModelId(name) in self.models else self.aliases.get(name)

    def target(self, name: str) -> str | None:
        """What a name stands for, here or at a peer, in a form in which equal targets are equal."""
        found = self.local(name)
        if found is not None:
            return found
        if name in self.qualified:
            return "\0".join(self.qualified[name])
        if self.bare.get(name) == 1:
            peer = next(peer.id for peer in self.peers.values() if name in peer.models)
            return f"{peer}\0{name}"
        return None

    def hint(self, name: str, *more: str) -> str:
        """What was probably meant, where `name` means nothing."""
        if self.bare.get(name, 0) > 1:
            return f"several peers have it; write peer/{name}"
        known = [*self.models, *self.aliases, *self.qualified, *more]
        return self._report.did_you_mean(name, known)


def collect_aliases(
    names: Names, fields: Mapping[str, Fields], report: Report
) -> dict[ModelId, tuple[str, ...]]:
    """Fill `names.aliases`; the aliases of each model, those made from `setParamsByID` included."""
    result: dict[ModelId, list[str]] = {}
    for model_id, model in names.models.items():
        f = fields[model_id]
        result[model_id] = list(model.aliases)
        for index, alias in enumerate(model.aliases):
            where = f"{f.at('aliases')}[{index}]"
            if not alias.strip():
                report.warn(f.mark("aliases", index), where, "an empty alias", "requests cannot name it")
            if alias in names.aliases:
                what = f"duplicate alias {alias} found in model: {model_id}"
                hint = f"model {names.aliases[alias]} has it already"
                report.error(f.mark("aliases", index), where, what, hint)
                continue
            names.aliases[alias] = model_id
            if ModelId(alias) in names.models:
                what = f"alias {alias} is the id of a model, which wins"
                report.warn(f.mark("aliases", index), where, what, "remove the alias")
    for model_id, model in names.models.items():
        inner: Fields = fields[model_id]["filters"]
        for key in model.filters.set_params_by_id:
            where, mark = f"{inner.at('setParamsByID')}.{key}", inner.mark("setParamsByID", key)
            if key == model_id:
                continue
            if ModelId(key) in names.models:
                report.error(
                    mark, where, f"key '{key}' conflicts with an existing model ID", "use another name"
                )
            elif names.aliases.setdefault(key, model_id) != model_id:
                what = f"duplicate alias '{key}', already used by model {names.aliases[key]}"
                report.error(mark, where, what, "use another name")
            elif key not in result[model_id]:
                result[model_id].append(key)
    names.aliases = {a: m for a, m in names.aliases.items() if ModelId(a) not in names.models}
    return {model_id: tuple(aliases) for model_id, aliases in result.items()}


def check_peers(names: Names, root: Fields, report: Report) -> None:
    """Qualified names (`peer/model`) mean one thing only."""
    pins = {pin for profile in root["profiles"].values() for pin in profile["pins"]}
    for peer in names.peers.values():
        f: Fields = root["peers"][peer.id]
        for index, model in enumerate(peer.models):
            name = f"{peer.id}/{model}"
            mark, where = f.mark("models", index), f"{f.at('models')}[{index}]"
            owner = names.qualified[name]
            if owner != (peer.id, model):
                what = f"{name} is ambiguous between peers {owner[0]} and {peer.id}"
                report.error(mark, where, what, "rename one of the peers")
            taken = (
                "model ID" if ModelId(name) in names.models
                else "alias" if name in names.aliases
                else "selector" if name in root["selectors"]
                else "profile pin" if name in pins
                else ""
            )  # fmt: skip
            if taken:
                what = f"{taken} {name} conflicts with fully qualified peer model name"
                report.error(mark, where, what, "rename one of them")


def selectors(
    names: Names, root: Fields, routing: Routing, together: Together | None, report: Report
) -> dict[str, Selector]:
    """Decoded selectors, checked."""
    result: dict[str, Selector] = {}
    for selector_id, f in root["selectors"].items():
        _selector_name(names, selector_id, f, report)
        strategy: str = f["strategy"]
        if not strategy and "strategy" not in f.failed:
            hint = f"one of {', '.join(STRATEGIES)}"
            report.error(f.mark("strategy"), f.at("strategy"), "strategy is required", hint)
        elif strategy and strategy not in STRATEGIES:
            hint = report.did_you_mean(strategy, STRATEGIES) or f"one of {', '.join(STRATEGIES)}"
            report.error(f.mark("strategy"), f.at("strategy"), f'unknown strategy "{strategy}"', hint)
        if not f["targets"] and "targets" not in f.failed:
            report.error(
                f.mark("targets"), f.at("targets"), "targets must not be empty", "list at least one model"
            )
        _targets(names, root, f, report)
        if strategy == "spillover":
            _spillover(names, f, routing, together, report)
        result[selector_id] = Selector(
            id=selector_id,
            strategy=cast("Any", strategy),
            targets=f["targets"],
            spillover=f["settings"]["spillover"],
            name=f["name"],
            description=f["description"],
            unlisted=f["unlisted"],
            metadata=f["metadata"],
        )
    return result


def _selector_name(names: Names, selector_id: str, f: Fields, report: Report) -> None:
    mark = _place(f)
    if not selector_id.strip():
        report.error(mark, f.path, "a selector needs a name")
    elif ModelId(selector_id) in names.models:
        report.error(mark, f.path, f"selector {selector_id} conflicts with a model ID", "rename one of them")
    elif selector_id in names.aliases:
        owner = names.aliases[selector_id]
        report.error(
            mark, f.path, f"selector {selector_id} conflicts with an alias of {owner}", "rename one of them"
        )


def _targets(names: Names, root: Fields, f: Fields, report: Report) -> None:
    for index, target in enumerate(f["targets"]):
        mark, where = f.mark("targets", index), f"{f.at('targets')}[{index}]"
        if names.target(target) is None:
            if target in root["selectors"]:
                report.error(mark, where, "a target may not be a selector", "name its models instead")
            else:
                what = f'references unknown model "{target}"'
                report.error(mark, where, what, names.hint(target))
        elif f["strategy"] == "warm" and names.local(target) is None:
            what = f"{target} is at a peer; the targets of `warm` must be models of this file"
            report.error(mark, where, what, "use spillover or pin for peers")


def _spillover(names: Names, f: Fields, routing: Routing, together: Together | None, report: Report) -> None:
    settings: Fields = f["settings"]
    if settings["spillover"] < 1:
        report.error(settings.mark("spillover"), settings.at("spillover"), "must be >= 1")
    seen: dict[str, str] = {}
    local: list[ModelId] = []
    for index, target in enumerate(f["targets"]):
        real = names.target(target)
        if real is None:
            continue
        if real in seen:
            what = f"{target} is the same model as {seen[real]}"
            report.error(
                f.mark("targets", index), f"{f.at('targets')}[{index}]", what, "name each model once"
            )
            continue
        seen[real] = target
        if (here := names.local(target)) is not None:
            local.append(here)
    if len(local) > 1 and not _can_run_together(local, routing, together):
        what = "the targets of `spillover` cannot run at the same time"
        hint = (
            "put them into one group with swap: false"
            if routing.use == "group"
            else "add a set with all of them, joined by &"
        )
        report.error(f.mark("targets"), f.at("targets"), what, hint)


def _can_run_together(models: list[ModelId], routing: Routing, together: Together | None) -> bool:
    if routing.use == "group":
        return any(not g.swap and set(models) <= set(g.members) for g in routing.groups.values())
    return routing.matrix is None or together is None or together(routing.matrix, models)


def profiles(names: Names, root: Fields, report: Report) -> dict[str, Profile]:
    """Decoded profiles, checked."""
    result: dict[str, Profile] = {}
    known = root["selectors"]
    for profile_id, f in root["profiles"].items():
        if not profile_id.strip():
            report.error(_place(f), f.path, "a profile needs a name")
        if not f["pins"] and "pins" not in f.failed:
            report.error(f.mark("pins"), f.at("pins"), "pins must contain at least one entry")
        for pin, target in f["pins"].items():
            mark, where = f.mark("pins", pin), f"{f.at('pins')}.{pin}"
            if not pin.strip():
                report.error(mark, where, "a pin needs a name")
            if target and names.target(target) is None and target not in known:
                what = f'references unknown model "{target}"'
                report.error(mark, where, what, names.hint(target, *known))
        pins = {pin: target or None for pin, target in f["pins"].items()}
        result[profile_id] = Profile(profile_id, f["description"], pins)
    return result


def preload(names: Names, root: Fields, report: Report) -> tuple[ModelId, ...]:
    """The models to load at start; names that mean nothing are dropped, and said."""
    f: Fields = root["hooks"]["on_startup"]
    result: list[ModelId] = []
    for index, item in enumerate(f["preload"]):
        name = item.strip()
        if not name:
            continue
        model_id = names.local(name)
        if model_id is None:
            what = f'references unknown model "{name}", ignored'
            report.warn(f.mark("preload", index), f"{f.at('preload')}[{index}]", what, names.hint(name))
        else:
            result.append(model_id)
    return tuple(result)


def _place(f: Fields) -> Mark:
    return f.node.mark
