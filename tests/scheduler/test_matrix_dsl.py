"""The language of a matrix, by section H of the compatibility notes."""

from __future__ import annotations

import pytest

from hostler.core import ModelId
from hostler.scheduler.matrix_dsl import Both, Either, Expr, MatrixError, Name, Ref, compile_sets


def model(name: str) -> ModelId:
    if name == "nobody":
        raise MatrixError(f"unknown var or model {name!r}")
    return ModelId(name)


def parse(text: str) -> Expr:
    return compile_sets({"s": text, "x": "a", "y": "b"}, model)["s"]


def name(text: str) -> Name:
    return Name(ModelId(text))


A, B, C = name("a"), name("b"), name("c")


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("a", A),
        (" a ", A),
        ("((a))", A),
        ("a|b|c", Either((A, B, C))),
        ("a&b&c", Both((A, B, C))),
        ("a|b&c", Either((A, Both((B, C))))),
        ("a&b|c", Either((Both((A, B)), C))),
        ("(a|b)&c", Both((Either((A, B)), C))),
        ("a\n&\tb", Both((A, B))),
        ("+x", Ref("x")),
        ("+x & +y|c", Either((Both((Ref("x"), Ref("y"))), C))),
        ("llama-3.1_8b|größe|模型٣", Either((name("llama-3.1_8b"), name("größe"), name("模型٣")))),
        ("-|.|_|7", Either((name("-"), name("."), name("_"), name("7")))),
    ],
)
def test_section_h_grammar(text: str, expr: Expr) -> None:
    assert parse(text) == expr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "set 's': empty DSL expression"),
        ("  \n", "set 's': empty DSL expression"),
        ("a/b", "set 's': unexpected character '/' at position 2"),
        ("a:b", "set 's': unexpected character ':' at position 2"),
        ("a²", "set 's': unexpected character '²' at position 2"),
        ("+", r"set 's': expected set name after '\+'"),
        ("+&a", r"set 's': expected set name after '\+'"),
        ("+(a)", r"set 's': expected set name after '\+'"),
        ("(a", "set 's': missing closing parenthesis"),
        ("(a b)", "set 's': missing closing parenthesis"),
        ("a b", "set 's': unexpected token 'b'"),
        ("a)", r"set 's': unexpected token '\)'"),
        ("a|", "set 's': unexpected token: the expression ends"),
        ("&a", "set 's': unexpected token '&'"),
        ("a||b", r"set 's': unexpected token '\|'"),
        ("()", r"set 's': unexpected token '\)'"),
        ("a|nobody", "set 's': unknown var or model 'nobody'"),
        ("a|+z", "set 's' references undefined set 'z'"),
        ("+s", "circular reference detected involving set 's': s → s"),
        ("(" * 101 + "a" + ")" * 101, "set 's': more than 100 parentheses inside one another"),
    ],
)
def test_section_h_errors(text: str, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        parse(text)


def test_section_h_a_circle_names_its_way() -> None:
    with pytest.raises(MatrixError, match="circular reference detected involving set 'b': b → c → b"):
        compile_sets({"a": "+b", "b": "x|+c", "c": "y&+b"}, model)


def test_a_set_may_name_one_that_is_defined_later_and_the_order_stays() -> None:
    sets = compile_sets({"late": "+early", "early": "a"}, model)

    assert list(sets) == ["late", "early"]


@pytest.mark.parametrize("step", [1, -1])
def test_chains_of_references_have_a_limit_whichever_way_they_are_written(step: int) -> None:
    chain = {f"s{i}": f"+s{i + 1}" for i in range(200)} | {"s200": "a"}

    with pytest.raises(MatrixError, match="goes through more than 100 references"):
        compile_sets(dict(list(chain.items())[::step]), model)


def test_nested_expressions_behind_references_count_too() -> None:
    deep = "(a&(b|" * 30 + "c" + "))" * 30
    chain = {"s1": deep, "s2": deep.replace("c", "+s1")}

    with pytest.raises(MatrixError, match="goes through more than 100 references"):
        compile_sets(chain, model)
