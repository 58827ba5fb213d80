"""What must hold: which of several things of one name a request gets, and who may have it."""

from __future__ import annotations

import pytest

from hostler.config.schema import ApiKey, Config, Model, Peer
from hostler.core import ModelId
from hostler.errors import Forbidden
from hostler.gateway.resolve import Local, Remote, Routes


def config(
    *models: str, peers: dict[str, tuple[str, ...]] | None = None, keys: tuple[ApiKey, ...] = ()
) -> Config:
    aliases = {"nick": ModelId(models[0])} if models else {}
    return Config(
        models={ModelId(name): Model(ModelId(name)) for name in models},
        aliases=aliases,
        peers={name: Peer(name, "http://h", offered) for name, offered in (peers or {}).items()},
        api_keys=keys,
    )


def found(routes: Routes, name: str) -> str | None:
    target = routes.targets.get(name)
    if isinstance(target, Remote):
        return f"{target.peer.id}:{target.name}"
    return target.id if target is not None else None


def test_6_models_and_aliases_come_before_peers() -> None:
    routes = Routes(config("a", "x/y", peers={"x": ("y", "a", "nick", "z")}))

    assert {name: found(routes, name) for name in ("a", "nick", "x/y", "x/a", "z", "y", "none")} == {
        "a": "a",
        "nick": "a",
        "x/y": "x/y",
        "x/a": "x:a",
        "z": "x:z",
        "y": "x:y",
        "none": None,
    }


def test_6_a_bare_name_of_two_peers_is_nobody_s() -> None:
    routes = Routes(config("a", peers={"p": ("m", "m", "only"), "q": ("m",)}))

    assert found(routes, "m") is None
    assert found(routes, "only") == "p:only"
    assert found(routes, "q/m") == "q:m"


def test_6_a_full_name_comes_before_a_bare_one() -> None:
    routes = Routes(config(peers={"p": ("q/m",), "q": ("m",)}))

    assert found(routes, "q/m") == "q:m"
    assert found(routes, "p/q/m") == "p:q/m"


@pytest.mark.parametrize(
    ("key", "name", "selector", "allowed"),
    [
        (None, "a", "", True),
        (ApiKey("k"), "a", "", True),
        (ApiKey("k", models=("nick",)), "a", "", True),
        (ApiKey("k", models=("b",)), "a", "", False),
        (ApiKey("k", models=("sel",)), "a", "sel", True),
        (ApiKey("k", models=("sel",)), "a", "", False),
        (ApiKey("k", models=("p/m",)), "m", "", True),
        (ApiKey("k", models=("gone",)), "a", "", False),
        (ApiKey("k", scopes=("logs",)), "a", "", False),
        (ApiKey("k", scopes=("inference",)), "a", "", True),
    ],
)
def test_who_may_have_it(key: ApiKey | None, name: str, selector: str, allowed: bool) -> None:
    routes = Routes(config("a", "b", peers={"p": ("m",)}, keys=(key,) if key else ()))
    target = routes.targets[name]
    if allowed:
        routes.permit(key, target, selector)
    else:
        with pytest.raises(Forbidden):
            routes.permit(key, target, selector)


def test_2000_models_are_no_work() -> None:
    routes = Routes(config(*(f"m{number}" for number in range(2000))))

    assert isinstance(routes.targets["m1999"], Local)
