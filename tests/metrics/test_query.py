"""What must hold: what is asked wrongly is refused by name, everything else is SQL that runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.errors import ClientError
from hostler.metrics import database
from hostler.metrics.database import Database
from hostler.metrics.query import SORT, ActivityQuery, parse

TEXT = st.text(max_size=10)
PARAMS = st.dictionaries(
    st.sampled_from(["model", "start", "end", "min_id", "max_id", "limit", "page", "sort", "order", "status",
                     "key", "path", "q", "request_id"]),
    st.lists(TEXT | st.sampled_from(["1", "404", "4xx", "id", "asc", "2026-01-01T00:00:00Z"]), max_size=3),
)  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    return Database(None).connection


@given(params=PARAMS)
def test_anything_is_refused_or_runs(connection: sqlite3.Connection, params: dict[str, list[str]]) -> None:
    try:
        query = parse(params)
    except ClientError:
        return

    assert database.page(connection, query) == []
    assert database.count(connection, query) == 0
    assert database.totals(connection, query).requests == 0
    assert database.speeds(connection, query) == []
    assert database.steps(connection, query, "tokens_per_second") == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sort": ["size"]}, "invalid sort column"),
        ({"order": ["up"]}, "invalid order"),
        ({"limit": ["0"]}, "invalid limit"),
        ({"limit": ["1000"]}, "invalid limit"),
        ({"page": ["0"]}, "invalid page"),
        ({"page": ["²"]}, "invalid page"),
        ({"min_id": ["x"]}, "invalid min_id"),
        ({"min_id": ["3"], "max_id": ["2"]}, "min_id must not be greater"),
        ({"start": ["yesterday"]}, "invalid start"),
        ({"start": ["2026-01-01"]}, "invalid start"),
        ({"start": ["2026-01-02T00:00:00Z"], "end": ["2026-01-01T00:00:00Z"]}, "start must not be after end"),
        ({"status": ["600"]}, "invalid status"),
        ({"model": [str(number) for number in range(101)]}, "more than 100 times"),
    ],
)
def test_what_is_wrong_is_named(params: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ClientError) as caught:
        parse(params)

    assert message in caught.value.message
    assert caught.value.param in params


def test_what_nobody_says_has_a_default() -> None:
    query = parse({})

    assert query == ActivityQuery(limit=25, page=1, sort="id", descending=True)
    assert query.only_models
    assert parse({"model": ["a", "b", "a"]}).models == ("a", "b")
    assert not parse({"status": ["4XX"]}).only_models


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("2026-01-01T00:00:00Z", 1_767_225_600),
        ("2026-01-01t01:00:00.9+01:00", 1_767_225_600),
        ("2026-01-01T01:00:00 01:00", 1_767_225_600),  # a plus that nobody escaped
    ],
)
def test_moments(text: str, second: int) -> None:
    assert parse({"start": [text]}).start == second


@pytest.mark.parametrize("column", SORT)
def test_every_column_sorts(connection: sqlite3.Connection, column: str) -> None:
    for order in ("asc", "desc"):
        assert database.page(connection, parse({"sort": [column], "order": [order]})) == []


@pytest.mark.parametrize(
    "params", [{"status": ["4xx", "200"]}, {"key": ["a"], "status": ["0"]}, {"model": ["m"]}]
)
def test_a_broad_question_is_the_same(connection: sqlite3.Connection, params: dict[str, list[str]]) -> None:
    query = parse(params)
    (narrow, values), (broad, same) = query.where(), query.where(broad=True)

    assert (broad.replace("+", ""), same) == (narrow, values)
    assert database.page(connection, query, broad=True) == []


def test_closing_tells_nothing_else() -> None:
    base = Database(None)
    base.close()
    base.close()
    with closing(sqlite3.connect(":memory:")) as fresh, pytest.raises(sqlite3.OperationalError):
        database.count(fresh, ActivityQuery())
