"""Random policies over a few models."""

from __future__ import annotations

from hypothesis import strategies as st

from hostler.core import ModelId
from hostler.scheduler.groups import GroupPolicy
from hostler.scheduler.matrix import MatrixPolicy
from hostler.scheduler.policy import Policy

from .drive import Group, ids

MODELS = ids("abcdef")


@st.composite
def group_policies(draw: st.DrawFn) -> Policy:
    homes = draw(st.lists(st.integers(0, 3), min_size=len(MODELS), max_size=len(MODELS)))
    groups = []
    for home in range(3):  # models whose home is 3 are in no group
        members = tuple(model for model, place in zip(MODELS, homes, strict=True) if place == home)
        swap, exclusive, persistent = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        groups.append(Group(f"g{home}", members, swap, exclusive, persistent))
    return GroupPolicy(groups)


@st.composite
def matrix_policies(draw: st.DrawFn) -> Policy:
    together = st.sets(st.sampled_from(MODELS), min_size=1, max_size=4).map(sorted)
    choice = st.lists(together.map("&".join), min_size=1, max_size=3).map("|".join)
    dsl = st.lists(choice.map(lambda text: f"({text})"), min_size=1, max_size=2).map("&".join)
    sets = draw(st.lists(dsl, min_size=1, max_size=3))
    costs = draw(st.dictionaries(st.sampled_from(MODELS), st.integers(1, 3)))
    return MatrixPolicy(
        {f"s{number}": text for number, text in enumerate(sets)},
        models=MODELS,
        evict_costs={str(model): cost for model, cost in costs.items()},
    )


def policies() -> st.SearchStrategy[Policy]:
    return st.one_of(group_policies(), matrix_policies())


def model_ids() -> st.SearchStrategy[ModelId]:
    return st.sampled_from(MODELS)
