"""The language in which a matrix writes its sets down.

    either  := both ("|" both)*
    both    := atom ("&" atom)*
    atom    := name | "+" set name | "(" either ")"

A name is a variable or a model: letters, digits, `_`, `-` and `.`. White space means nothing. `a|b` is one of
the two, `a&b` both together, `+x` whatever the set `x` allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from hostler.core import ModelId

MAX_DEPTH = 100
"""Parentheses and references inside one another: far beyond what a person writes, and well inside what
Python lets functions call themselves."""


class MatrixError(ValueError):
    """A matrix that cannot be used; the message says which set and why."""


@dataclass(frozen=True, slots=True)
class Name:
    """One model."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class Ref:
    """Whatever another set allows."""

    name: str


@dataclass(frozen=True, slots=True)
class Either:
    """One of the parts."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Both:
    """All parts together."""

    parts: tuple[Expr, ...]


Expr: TypeAlias = Name | Ref | Either | Both

_END = ""
_OPERATORS = frozenset("|&()+")


def _is_name(char: str) -> bool:
    return char.isalpha() or char.isdecimal() or char in "_-."


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    start = 0
    while start < len(text):
        char = text[start]
        end = start + 1
        if _is_name(char):
            while end < len(text) and _is_name(text[end]):
                end += 1
            tokens.append(text[start:end])
        elif char in _OPERATORS:
            tokens.append(char)
        elif not char.isspace():
            raise MatrixError(f"unexpected character {char!r} at position {start + 1}")
        start = end
    if not tokens:
        raise MatrixError("empty DSL expression")
    return tokens


class _Parser:
    """Recursive descent over the tokens of one set; `model` turns a name into a model."""

    def __init__(self, tokens: list[str], model: Callable[[str], ModelId]) -> None:
        self._tokens = tokens
        self._model = model
        self._next = 0
        self._depth = 0

    def parse(self) -> Expr:
        expr = self._either()
        if self._peek() != _END:
            raise MatrixError(f"unexpected token {self._peek()!r}")
        return expr

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else _END

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _either(self) -> Expr:
        parts = [self._both()]
        while self._peek() == "|":
            self._take()
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Expr:
        parts = [self._atom()]
        while self._peek() == "&":
            self._take()
            parts.append(self._atom())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _atom(self) -> Expr:
        word = self._take()
        if word == "+":
            name = self._take()
            if name == _END or name in _OPERATORS:
                raise MatrixError("expected set name after '+'")
            return Ref(name)
        if word == "(":
            return self._parenthesis()
        if word == _END:
            raise MatrixError("unexpected token: the expression ends where a name should be")
        if word in _OPERATORS:
            raise MatrixError(f"unexpected token {word!r}")
        return Name(self._model(word))

    def _parenthesis(self) -> Expr:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise MatrixError(f"more than {MAX_DEPTH} parentheses inside one another")
        expr = self._either()
        if self._take() != ")":
            raise MatrixError("missing closing parenthesis")
        self._depth -= 1
        return expr


def compile_sets(sets: Mapping[str, str], model: Callable[[str], ModelId]) -> dict[str, Expr]:
    """Every set of `sets` as an expression, in the order of definition.

    `model` raises MatrixError for a name it does not know. References are checked: each leads to a set, and
    none leads back to where it started.
    """
    exprs: dict[str, Expr] = {}
    for name, text in sets.items():
        try:
            exprs[name] = _Parser(_tokens(text), model).parse()
        except MatrixError as error:
            raise MatrixError(f"set {name!r}: {error}") from None
    _check_references(exprs)
    return exprs


def _check_references(exprs: Mapping[str, Expr]) -> None:
    heights: dict[str, int] = {}
    for name, expr in exprs.items():
        if name not in heights:
            heights[name] = _height(expr, exprs, heights, (name,), 1)


def _height(
    expr: Expr, exprs: Mapping[str, Expr], heights: dict[str, int], path: tuple[str, ...], depth: int
) -> int:
    """How many expressions lie inside one another in `expr`, itself `depth` deep below the set `path[0]`."""
    if depth > MAX_DEPTH:
        raise MatrixError(f"set {path[0]!r} goes through more than {MAX_DEPTH} references and parentheses")
    height = 0
    match expr:
        case Name():
            pass
        case Ref(name):
            if name not in exprs:
                raise MatrixError(f"set {path[-1]!r} references undefined set {name!r}")
            if name in path:
                way = " → ".join((*path[path.index(name) :], name))
                raise MatrixError(f"circular reference detected involving set {name!r}: {way}")
            if name not in heights:
                heights[name] = _height(exprs[name], exprs, heights, (*path, name), depth + 1)
            height = heights[name]
        case Either(parts) | Both(parts):
            for part in parts:
                height = max(height, _height(part, exprs, heights, path, depth + 1))
        case _:
            assert_never(expr)
    if depth + height > MAX_DEPTH:
        raise MatrixError(f"set {path[0]!r} goes through more than {MAX_DEPTH} references and parentheses")
    return height + 1
