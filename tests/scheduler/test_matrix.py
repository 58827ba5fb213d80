"""The matrix policy, by section H of the compatibility notes, and against the definition written out."""

from __future__ import annotations

from itertools import product
from typing import assert_never

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostler.core import ModelId
from hostler.scheduler.matrix import MatrixError, MatrixPolicy, Solution
from hostler.scheduler.matrix_dsl import Both, Either, Expr, Name, Ref, compile_sets

from .drive import ids

LETTERS = "abcdefg"


def matrix(*sets: str, costs: dict[str, int] | None = None) -> MatrixPolicy:
    named = {f"s{number}": text for number, text in enumerate(sets, 1)}
    return MatrixPolicy(named, models=ids(LETTERS), evict_costs=costs or {})


def evicted(policy: MatrixPolicy, target: str, running: str) -> str:
    return "".join(sorted(policy.evict(ModelId(target), ids(running))))


@pytest.mark.parametrize(
    ("sets", "target", "running", "gone"),
    [
        pytest.param(["a&b"], "a", "b", "", id="and: together"),
        pytest.param(["a|b"], "a", "b", "b", id="or: one of them"),
        pytest.param(["a&b&c"], "c", "a", "", id="subsets are permitted"),
        pytest.param(["(a|b)&c"], "a", "bc", "b", id="cross product"),
        pytest.param(["(a|b)&(c|d)"], "a", "bd", "b", id="cross product keeps the other factor"),
        pytest.param(["a|b", "+s1&c"], "a", "c", "", id="reference"),
        pytest.param(["+s2&c", "a|b"], "a", "bc", "b", id="reference to a later set"),
        pytest.param(["a&b"], "a", "abc", "", id="a running target evicts nothing"),
        pytest.param(["a&b"], "g", "ab", "ab", id="a target in no set evicts everything"),
        pytest.param(["a&b"], "a", "bg", "g", id="a model in no set goes for any target of a set"),
        pytest.param(["a&b", "a&c&d"], "a", "bcd", "b", id="the cheapest set wins"),
        pytest.param(["a&b", "a&c"], "a", "bc", "c", id="equal costs: the earlier set"),
        pytest.param(["a&c", "a&b"], "a", "bc", "b", id="equal costs: the earlier set, turned round"),
        pytest.param(["+s3&d", "a&b", "a&c"], "a", "bc", "b", id="earlier by definition, references or not"),
        pytest.param(["a&(b|c)"], "a", "bc", "c", id="equal costs inside a set: the first one read"),
        pytest.param(["(b|c)&(a|d)"], "a", "bc", "c", id="the left factor counts first"),
        pytest.param(
            ["a&(g|b)&(c&e|b&d)&(g|e)"], "a", "bcde", "c", id="the first one read, late additions or not"
        ),
        pytest.param(["a"], "a", "", "", id="nothing runs"),
    ],
)
def test_section_h(sets: list[str], target: str, running: str, gone: str) -> None:
    assert evicted(matrix(*sets), target, running) == gone


def test_section_h_costs_decide() -> None:
    policy = matrix("a&b", "a&c&d", costs={"b": 3})

    assert evicted(policy, "a", "bcd") == "cd"
    assert policy.solve(ModelId("a"), ids("bcd")) == Solution("s1", "a&b", frozenset(ids("cd")), 2)
    assert policy.solve(ModelId("g"), ids("bc")) == Solution(None, "", frozenset(ids("bc")), 4)


def test_section_h_a_variable_wins_over_a_model_of_the_same_name_in_sets_and_costs() -> None:
    policy = MatrixPolicy(
        {"s": "L&b", "t": "L&c"},
        models=[*ids("bc"), ModelId("L"), ModelId("org/big:q4")],
        variables={"L": ModelId("org/big:q4"), "c": ModelId("c")},
        evict_costs={"c": 2},
    )

    assert policy.evict(ModelId("org/big:q4"), ids("bc")) == frozenset(ids("b"))
    assert policy.evict(ModelId("L"), ids("b")) == frozenset(ids("b"))


@pytest.mark.parametrize(
    ("sets", "costs", "message"),
    [
        ({}, {}, "matrix must define at least one set"),
        ({"s": "z"}, {}, "set 's': unknown var or model 'z'"),
        ({"s": "a"}, {"z": 1}, "unknown var or model 'z'"),
        ({"s": "a"}, {"a": 0}, "evict cost of 'a' must be a positive integer"),
    ],
)
def test_section_h_errors(sets: dict[str, str], costs: dict[str, int], message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        MatrixPolicy(sets, models=ids("a"), evict_costs=costs)


@pytest.mark.parametrize(
    ("models", "permitted"),
    [("", True), ("a", True), ("ac", True), ("ab", False), ("acd", False), ("xa", False)],
)
def test_permits(models: str, permitted: bool) -> None:
    assert matrix("(a|b)&c", "d").permits(ids(models)) is permitted


def test_a_product_of_many_choices_is_not_written_out() -> None:
    factors = [ids(f"m{factor}-{choice}" for choice in range(4)) for factor in range(12)]
    models = [model for factor in factors for model in factor]
    dsl = "&".join(f"({'|'.join(factor)})" for factor in factors)
    policy = MatrixPolicy({"s": dsl}, models=models)
    others = [model for model in models if model != factors[5][2]]

    # 4**12 concrete sets; every model runs, so nothing is irrelevant.
    gone = policy.evict(factors[5][2], others)

    kept = [factor[2] if number == 5 else factor[0] for number, factor in enumerate(factors)]
    assert gone == frozenset(models) - frozenset(kept)
    assert policy.permits(kept)


def test_factors_that_share_models_are_not_written_out_either() -> None:
    models = ids(f"m{i}" for i in range(30))
    any_one = f"({'|'.join(models)})"
    policy = MatrixPolicy({"any-ten": "&".join([any_one] * 10)}, models=models)

    assert policy.evict(models[20], models[:9]) == frozenset()
    assert policy.evict(models[20], models[:10]) == frozenset({models[9]})


def test_references_that_double_are_not_written_out() -> None:
    sets = {"s0": "a|b"} | {f"s{i}": f"(+s{i - 1}|+s{i - 1})&(+s{i - 1}|c)" for i in range(1, 30)}
    policy = MatrixPolicy(sets, models=ids("abc"))

    assert policy.evict(ModelId("a"), ids("c")) == frozenset()


def test_the_deepest_matrix_that_compiles_can_be_solved() -> None:
    sets = {"s0": "a&(b|c)"} | {f"s{i}": f"+s{i - 1}|d" for i in range(1, 48)}
    policy = MatrixPolicy(sets, models=ids("abcd"))

    assert policy.evict(ModelId("a"), ids("bc")) == frozenset(ids("c"))


def test_repr() -> None:
    assert repr(matrix("a", "b")) == "<MatrixPolicy 2 sets>"


# -- against the definition ---------------------------------------------------------------------------------


def expressions(refs: list[str]) -> st.SearchStrategy[str]:
    atoms = st.sampled_from([*LETTERS, *(f"+{ref}" for ref in refs)])
    return st.recursive(
        atoms,
        lambda inner: st.tuples(st.sampled_from("|&"), st.lists(inner, min_size=2, max_size=4)).map(
            lambda pair: f"({pair[0].join(pair[1])})"
        ),
        max_leaves=10,
    )


@st.composite
def set_tables(draw: st.DrawFn) -> dict[str, str]:
    names = [f"s{number}" for number in range(draw(st.integers(1, 4)))]
    order = draw(st.permutations(names))
    texts = {name: draw(expressions(names[:number])) for number, name in enumerate(names)}
    return {name: texts[name] for name in order}


def concrete(expr: Expr, sets: dict[str, Expr]) -> list[frozenset[ModelId]]:
    """All concrete sets, in the order they are read: what the matrix is by definition."""
    match expr:
        case Name(model):
            return [frozenset({model})]
        case Ref(name):
            return concrete(sets[name], sets)
        case Either(parts):
            return [one for part in parts for one in concrete(part, sets)]
        case Both(parts):
            ways = product(*(concrete(part, sets) for part in parts))
            return list(dict.fromkeys(frozenset().union(*way) for way in ways))
        case _:
            assert_never(expr)


def by_definition(
    texts: dict[str, str], costs: dict[str, int], target: str, running: str
) -> tuple[str | None, frozenset[ModelId]]:
    sets = compile_sets(texts, ModelId)
    others = frozenset(ids(running))
    best: tuple[int, str | None, frozenset[ModelId]] | None = None
    for name, expr in sets.items():
        for one in concrete(expr, sets):
            cost = sum(costs.get(model, 1) for model in others - one)
            if target in one and (best is None or cost < best[0]):
                best = (cost, name, others - one)
    return (best[1], best[2]) if best is not None else (None, others)


@given(
    texts=set_tables(),
    costs=st.dictionaries(st.sampled_from(LETTERS), st.integers(1, 3)),
    target=st.sampled_from(LETTERS),
    running=st.sets(st.sampled_from(LETTERS)),
)
@example(texts={"s0": "((a|b)&(b|c)&(a|b|g))"}, costs={}, target="g", running={"a", "b", "c"})
def test_section_h_the_solver_agrees_with_all_concrete_sets_written_out(
    texts: dict[str, str], costs: dict[str, int], target: str, running: set[str]
) -> None:
    others = "".join(sorted(running - {target}))
    policy = MatrixPolicy(texts, models=ids(LETTERS), evict_costs=costs)
    found = policy.solve(ModelId(target), ids(others))

    assert (found.set_name, found.evict) == by_definition(texts, costs, target, others)


@given(texts=set_tables(), models=st.sets(st.sampled_from(LETTERS)))
def test_permits_agrees_with_all_concrete_sets_written_out(texts: dict[str, str], models: set[str]) -> None:
    sets = compile_sets(texts, ModelId)
    policy = MatrixPolicy(texts, models=ids(LETTERS))
    allowed = any(models <= one for expr in sets.values() for one in concrete(expr, sets))

    assert policy.permits(ids(models)) is allowed


@given(texts=set_tables(), target=st.sampled_from(LETTERS), running=st.sets(st.sampled_from(LETTERS)))
def test_the_properties_every_policy_promises(texts: dict[str, str], target: str, running: set[str]) -> None:
    policy = MatrixPolicy(texts, models=ids(LETTERS))
    others = frozenset(ids(running - {target}))
    rest = others - policy.evict(ModelId(target), others)

    assert policy.evict(ModelId(target), rest) == frozenset()
    assert all(not policy.evict(ModelId(target), rest - {model}) for model in rest)
