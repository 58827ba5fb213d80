"""A matrix: sets of models that may run together, and the cheapest way to make room for one more.

A set stands for its concrete sets (each way to choose from every `|`); models may run together when one
concrete set contains them all. For a target, every concrete set with the target in it costs what it would
evict; the cheapest one wins, the earlier set in the order of definition when costs are equal, and inside a
set the first one read from left to right. A target in no set runs alone.

The concrete sets are never written out, there may be too many. What is computed with instead:

- Only the models that run, and the target, are looked at, as bits of a mask; a concrete set is the mask of
  those of them it contains. It *gains* the costs of the models it keeps; the target weighs more than all.
- Seen from a part of an expression, a bit is *open* if something outside the part, joined to it by `&`, can
  still add it. All other bits are settled. Of two masks with the same open bits only the one that gains
  more from its settled bits can end up in the winner, the first one when they gain the same. A mask whose
  open bits are a subset of another's loses as well, if it gains less, or the same and comes later.
- A whole set has no open bits, so one mask remains: the winner. Factors of `&` that share no model have
  none either, so a product of a dozen choices costs a dozen steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias, assert_never

from hostler.core import ModelId
from hostler.scheduler.matrix_dsl import Both, Either, Expr, MatrixError, Name, Ref, compile_sets

__all__ = ["MatrixError", "MatrixPolicy", "Solution"]

COMPARE_ALL = 64
"""Up to this many masks are compared in pairs for dominance; above, that costs more than it saves."""

REMEMBERED = 1024
"""Solutions kept; a pass of the scheduler asks the same few questions again and again."""

_EMPTY: Mapping[str, ModelId] = MappingProxyType({})
_NO_COSTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Solution:
    """What has to go for a target, what that costs, and the set that allows the rest (None: in no set)."""

    set_name: str | None
    dsl: str
    evict: frozenset[ModelId]
    cost: int


class MatrixPolicy:
    """A `Policy` made of sets.

    `models` are the configured ids; `variables` are further names for them and win over an id of the same
    spelling; `evict_costs` (default 1) is by variable or id. Raises MatrixError.
    """

    def __init__(
        self,
        sets: Mapping[str, str],
        *,
        models: Collection[ModelId],
        variables: Mapping[str, ModelId] = _EMPTY,
        evict_costs: Mapping[str, int] = _NO_COSTS,
    ) -> None:
        if not sets:
            raise MatrixError("matrix must define at least one set")
        known = frozenset(models)

        def model(name: str) -> ModelId:
            found = variables.get(name, ModelId(name))
            if found not in known:
                raise MatrixError(f"unknown var or model {name!r}")
            return found

        self._sets = dict(sets)
        self._exprs = compile_sets(sets, model)
        self._costs: dict[ModelId, int] = {}
        for name, cost in evict_costs.items():
            if cost <= 0:
                raise MatrixError(f"evict cost of {name!r} must be a positive integer")
            self._costs[model(name)] = cost
        self._solutions: dict[tuple[ModelId, frozenset[ModelId]], Solution] = {}

    def __repr__(self) -> str:
        return f"<MatrixPolicy {len(self._sets)} sets>"

    def evict(self, target: ModelId, running: Collection[ModelId]) -> frozenset[ModelId]:
        if not running or target in running:
            return frozenset()
        return self.solve(target, running).evict

    def solve(self, target: ModelId, running: Collection[ModelId]) -> Solution:
        """The cheapest way to run `target`, which does not run yet, beside what it can stay with."""
        others = frozenset(running)
        question = (target, others)
        solution = self._solutions.get(question)
        if solution is None:
            if len(self._solutions) >= REMEMBERED:
                self._solutions.clear()
            solution = self._solutions[question] = self._solve(target, others)
        return solution

    def permits(self, models: Collection[ModelId]) -> bool:
        """Whether some concrete set contains all of `models`."""
        wanted = frozenset(models)
        search = _Search(self._exprs, dict.fromkeys(wanted, 1))
        return any(search.best(expr)[0] == len(wanted) for expr in self._exprs.values())

    def _solve(self, target: ModelId, running: frozenset[ModelId]) -> Solution:
        costs = {model: self._costs.get(model, 1) for model in running}
        total = sum(costs.values())
        search = _Search(self._exprs, {**costs, target: total + 1})
        chosen = None
        most, kept = total, 0  # without the target no set gains more than this
        for name, expr in self._exprs.items():
            gain, mask = search.best(expr)
            if gain > most:
                chosen, most, kept = name, gain, mask
        if chosen is None:
            return Solution(None, "", running, total)
        evict = running - search.models(kept)
        return Solution(chosen, self._sets[chosen], evict, sum(costs[model] for model in evict))


class _Search:
    """One question: which concrete set keeps the most of the models in `weights`."""

    def __init__(self, exprs: Mapping[str, Expr], weights: Mapping[ModelId, int]) -> None:
        self._exprs = exprs
        order = sorted(weights)
        self._bits = {model: 1 << place for place, model in enumerate(order)}
        self._weights = [weights[model] for model in order]
        self._reach: dict[int, int] = {}  # by identity: expressions are as deep as they are long to compare
        self._gains: dict[int, int] = {}
        self._ref_masks: dict[tuple[str, int], list[int]] = {}

    def best(self, expr: Expr) -> tuple[int, int]:
        """The gain and the mask of the winner among the concrete sets of `expr`."""
        (mask,) = self._reduce(self._masks(expr, 0), 0)
        return self._gain(mask), mask

    def models(self, mask: int) -> frozenset[ModelId]:
        return frozenset(model for model, bit in self._bits.items() if mask & bit)

    def _masks(self, expr: Expr, open_bits: int) -> list[int]:
        """The masks of `expr` that may be part of a winner, in the order they are read."""
        reach = self._reach_of(expr)
        if not reach:
            return [0]
        match expr:
            case Name():
                return [reach]
            case Ref(name):
                question = (name, open_bits & reach)
                if question not in self._ref_masks:
                    self._ref_masks[question] = self._masks(self._exprs[name], open_bits)
                return self._ref_masks[question]
            case Either(parts):
                masks = [mask for part in parts for mask in self._masks(part, open_bits)]
                return self._reduce(masks, open_bits)
            case Both(parts):
                return self._product(parts, open_bits)
            case _:
                assert_never(expr)

    def _product(self, parts: tuple[Expr, ...], open_bits: int) -> list[int]:
        reaches = [self._reach_of(part) for part in parts]
        after = [open_bits] * len(parts)  # open once the parts up to here are joined
        for place in range(len(parts) - 2, -1, -1):
            after[place] = after[place + 1] | reaches[place + 1]
        before = 0
        joined = [0]
        for part, reach, still_open in zip(parts, reaches, after, strict=True):
            if reach:
                masks = self._masks(part, before | still_open)
                joined = self._reduce([left | right for left in joined for right in masks], still_open)
            before |= reach
        return joined

    def _reduce(self, masks: list[int], open_bits: int) -> list[int]:
        """`masks` without those that cannot win, whatever is added of `open_bits`; the order stays."""
        if len(masks) < 2:
            return masks
        best: dict[int, tuple[int, int, int]] = {}
        for place, mask in enumerate(masks):
            settled = self._gain(mask & ~open_bits)
            known = best.get(mask & open_bits)
            if known is None or settled > known[0]:
                best[mask & open_bits] = (settled, place, mask)
        kept = list(best.items())
        if 1 < len(kept) <= COMPARE_ALL:
            kept = [one for one in kept if not any(_dominates(other, one) for other in kept)]
        return [mask for _, (_, _, mask) in sorted(kept, key=lambda item: item[1][1])]

    def _reach_of(self, expr: Expr) -> int:
        """All bits that some concrete set of `expr` contains."""
        reach = self._reach.get(id(expr))
        if reach is None:
            reach = self._reach[id(expr)] = self._find_reach(expr)
        return reach

    def _find_reach(self, expr: Expr) -> int:
        match expr:
            case Name(model):
                return self._bits.get(model, 0)
            case Ref(name):
                return self._reach_of(self._exprs[name])
            case Either(parts) | Both(parts):
                reach = 0
                for part in parts:
                    reach |= self._reach_of(part)
                return reach
            case _:
                assert_never(expr)

    def _gain(self, mask: int) -> int:
        gain = self._gains.get(mask)
        if gain is None:
            gain = sum(weight for place, weight in enumerate(self._weights) if mask >> place & 1)
            self._gains[mask] = gain
        return gain


_Candidate: TypeAlias = tuple[int, tuple[int, int, int]]
"""Open bits; gain of the settled bits, place in the order, mask."""


def _dominates(one: _Candidate, other: _Candidate) -> bool:
    one_open, (one_gain, one_place, _) = one
    other_open, (other_gain, other_place, _) = other
    if one_open == other_open or one_open & other_open != other_open:
        return False
    return one_gain > other_gain or (one_gain == other_gain and one_place < other_place)
