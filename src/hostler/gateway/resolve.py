"""What the names in requests stand for, worked out once for each configuration.

A name is, in this order: a model's id, an alias, a peer's model with the peer's name in front, a peer's model
that only one peer has. Selectors and the pins of profiles are names in front of those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostler.config.schema import ApiKey, Config, Model, Peer, Selector
from hostler.config.texts import compile_re2
from hostler.core import ModelId
from hostler.errors import Forbidden
from hostler.gateway.rewrite import BodyFilter

# The model whose requests do not queue behind each other: ComfyUI's page holds many at once.
COMFYUI = ModelId("comfyui_auto")


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """A model of this configuration."""

    model: Model
    filter: BodyFilter

    @property
    def id(self) -> ModelId:
        """The model's id."""
        return self.model.id


@dataclass(frozen=True, slots=True, eq=False)
class Remote:
    """A model of a peer: `name` is what the peer calls it, `id` the name with the peer's in front."""

    peer: Peer
    name: str
    id: str
    filter: BodyFilter


Target = Local | Remote

Named = tuple[str, Target]
"""A target, and the name by which it was reached."""


class Routes:
    """The tables of one configuration; never changed, only replaced."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.targets: dict[str, Target] = {}
        self.selectors: Mapping[str, Selector] = config.selectors
        self._ignored = [compile_re2(pattern) for pattern in config.ignore_paths]
        self._add_peers(config)
        locals_: dict[str, Target] = {
            model.id: Local(model, BodyFilter(model.filters, model.use_model_name))
            for model in config.models.values()
        }
        for alias, model_id in config.aliases.items():
            self.targets[alias] = locals_[model_id]
        self.targets.update(locals_)
        # Of them those that are models of ours, and not what a selector is called.
        self.local_targets = {
            name: target
            for name, target in self.targets.items()
            if isinstance(target, Local) and name not in self.selectors
        }
        self._allowed = {key: self._allowed_to(key) for key in config.api_keys if key.models}

    def _add_peers(self, config: Config) -> None:
        qualified: dict[str, Target] = {}
        bare: dict[str, list[Target]] = {}
        for peer in config.peers.values():
            body_filter = BodyFilter(peer.filters)
            for name in dict.fromkeys(peer.models):
                target = Remote(peer, name, f"{peer.id}/{name}", body_filter)
                qualified.setdefault(target.id, target)
                bare.setdefault(name, []).append(target)
        self.targets.update({name: found[0] for name, found in bare.items() if len(found) == 1})
        self.targets.update(qualified)

    def _allowed_to(self, key: ApiKey) -> frozenset[str]:
        """The ids of the targets a key may use; a selector allows its targets through itself only."""
        found = (self.targets.get(name) for name in key.models)
        return frozenset(target.id for target in found if target is not None)

    def local(self, name: str) -> ModelId | None:
        """The model of ours that `name` stands for."""
        target = self.targets.get(name)
        return target.id if isinstance(target, Local) else None

    def permit(self, key: ApiKey | None, target: Target, selector: str) -> None:
        """Raise Forbidden unless `key` may use `target`, reached through `selector` ("" for none)."""
        if key is None:
            return
        if key.scopes and "inference" not in key.scopes:
            raise Forbidden("this API key may not send requests to models")
        if not key.models or target.id in self._allowed[key] or (selector and selector in key.models):
            return
        raise Forbidden(f"this API key may not use {selector or target.id!r}")

    def ignores(self, path: str) -> bool:
        """Whether a path under `/upstream/{model}` is not worth loading the model for."""
        return any(pattern.search(path) for pattern in self._ignored)
