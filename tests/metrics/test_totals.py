"""What must hold: the kept sums say what SQL counts, for every question they answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics import database, totals
from hostler.metrics.database import Database
from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ActivityRow
from hostler.metrics.totals import Sums, Totals

from .rows import row

PATHS = ("/v1/messages", "/v1/chat/completions", "/V1/Messages", "/v1_x", "/%")
STATES = (0, 200, 204, 404, 502)


@st.composite
def rows(draw: st.DrawFn) -> list[ActivityRow]:
    return [
        row(
            number,
            model=draw(st.sampled_from("ab")),
            path=draw(st.sampled_from(PATHS)),
            status=draw(st.sampled_from(STATES)),
            key=draw(st.sampled_from(("", "ann", "bob"))),
            input_tokens=draw(st.integers(-1, 50)),
            tokens_per_second=draw(st.sampled_from((-1.0, 0.0, 3.25, 70.0))),
        )
        for number in range(1, draw(st.integers(1, 20)))
    ]


queries = st.builds(
    ActivityQuery,
    models=st.sampled_from([(), ("a",), ("b", "c")]),
    statuses=st.sampled_from([(), ("2xx",), ("404",), ("0", "5xx")]),
    keys=st.sampled_from([(), ("ann",), ("ann", "eve")]),
    paths=st.sampled_from([(), ("/v1/messages",), ("/v1/*",), ("/v1_*",), ("/%*", "/v1/chat/completions")]),
)


def without_steps(sums: Sums | None) -> tuple[int, int, int, int]:
    assert sums is not None
    return sums.requests, sums.input_tokens, sums.output_tokens, sums.cache_tokens


@given(rows(), st.lists(queries, max_size=5), st.integers(0, 10))
def test_sums_are_what_sql_counts(made: list[ActivityRow], asked: list[ActivityQuery], gone: int) -> None:
    base = Database(None)
    kept = Totals()
    base.insert(made)
    kept.add(made)
    base.delete(made[:gone])
    kept.add(made[:gone], -1)
    read = Totals.read(base.connection)
    for query in asked:
        counted = database.totals(base.connection, query)
        assert without_steps(kept.of(query)) == without_steps(read.of(query)) == without_steps(counted)
        steps = database.steps(base.connection, query, "tokens_per_second")
        for sums in (kept.of(query), read.of(query)):
            assert sums is not None
            assert sums.answer_steps == steps
    assert kept.requests() == read.requests() == len(made[gone:])
    base.close()


@pytest.mark.parametrize(
    "query",
    [ActivityQuery(text="x"), ActivityQuery(request_id="r"), ActivityQuery(start=1), ActivityQuery(max_id=3)],
)
def test_what_they_do_not_know_they_do_not_say(query: ActivityQuery) -> None:
    assert Totals().of(query) is None


def test_too_many_groups_leave_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MAX_GROUPS", 10)
    made = [row(number, model="ab"[number % 2], path=f"/{number}") for number in range(1, 31)]
    kept = Totals()
    kept.add(made)
    base = Database(None)
    base.insert(made)
    for sums in (kept, Totals.read(base.connection)):
        found = sums.of(ActivityQuery(models=("a",)))
        assert found is not None
        assert found.requests == 15
        assert sums.of(ActivityQuery(paths=("/1",))) is None
        sums.add(made, -1)
        assert sums.requests() == 0
    base.close()
