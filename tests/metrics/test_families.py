"""What must hold: what is counted for many together is what counting one by one gives, whoever reads when."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics import families as module
from hostler.metrics.families import FIRST_BOUNDS, LOAD_BOUNDS, REQUEST_BOUNDS, SPEED_BOUNDS, RequestFamilies
from hostler.metrics.model_series import status_class
from hostler.metrics.record import ActivityRow, ErrorKind
from hostler.metrics.registry import MAX_SERIES, Registry

from .rows import row

SPANS = st.one_of(st.integers(-1, 60), st.sampled_from([-1, 0, 250, 1000, 640_000, 700_000]))
ROWS = st.lists(
    st.builds(
        row,
        st.just(1),
        model=st.sampled_from(["a", "b", "nobody knows"]),
        status=st.sampled_from([0, 200, 404, 500]),
        error_kind=st.sampled_from(ErrorKind),
        input_tokens=st.integers(-1, 9),
        output_tokens=st.integers(-1, 9),
        cache_tokens=st.integers(-1, 9),
        draft_tokens=st.sampled_from([-1, -1, 3]),
        draft_accepted_tokens=st.sampled_from([-1, 2]),
        tokens_per_second=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 40.0, 1280.0, 5000.0]),
        duration_ms=st.integers(0, 700),
        queue_ms=SPANS,
        load_ms=SPANS,
        first_byte_ms=SPANS,
        first_token_ms=SPANS,
        bytes_in=st.integers(0, 9),
        bytes_out=st.integers(0, 9),
    ),
    max_size=40,
)


TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cache_tokens",
    "drafted": "draft_tokens",
    "draft_accepted": "draft_accepted_tokens",
}


def known(model: str) -> bool:
    return model in ("a", "b")


def observed(page: str, name: str, bounds: tuple[float, ...], values: list[float], model: str) -> None:
    """That the histogram on `page` is that of `values`."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    lines = [line for line in page.splitlines() if line.startswith(name) and f'model="{model}"' in line]
    if not values:
        assert lines == []
        return
    below = [int(line.rpartition(" ")[2]) for line in lines[:-2]]
    assert below == [sum(counts[: at + 1]) for at in range(len(counts))]
    assert float(lines[-2].rpartition(" ")[2]) == pytest.approx(sum(values))
    assert int(lines[-1].rpartition(" ")[2]) == len(values)


@given(ROWS, st.integers(1, 7))
def test_together_it_is_what_it_is_one_by_one(rows: list[ActivityRow], most: int) -> None:
    registry = Registry()
    families = RequestFamilies(registry, known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_WAITING", most)
        for at in range(0, len(rows), 3):
            families.count_all(rows[at : at + 3])
    page = registry.render()
    for model in ("a", "b", "other"):
        mine = [one for one in rows if (one.model if known(one.model) else "other") == model]
        for status in (0, 200, 404, 500):
            for kind in ErrorKind:
                count = sum(one.status == status and one.error_kind is kind for one in mine)
                labels = model, status_class(status), kind.value or "none"
                assert families.requests.value(*labels) == count
        for direction, name in (("in", "bytes_in"), ("out", "bytes_out")):
            assert families.bytes.value(model, direction) == sum(getattr(one, name) for one in mine)
        for label, name in TOKENS.items():
            assert families.tokens.value(model, label) == sum(max(0, getattr(one, name)) for one in mine)
        ended = [one.duration_ms / 1000 for one in mine if one.error_kind is not ErrorKind.CANCELLED]
        observed(page, "hostler_request_duration_seconds", REQUEST_BOUNDS, ended, model)
        for name, field in (("queue_wait", "queue_ms"), ("time_to_first_byte", "first_byte_ms"),
                            ("time_to_first_token", "first_token_ms")):  # fmt: skip
            spans = [getattr(one, field) / 1000 for one in mine if getattr(one, field) >= 0]
            observed(page, f"hostler_{name}_seconds", FIRST_BOUNDS, spans, model)
        loads = [one.load_ms / 1000 for one in mine if one.load_ms > 0]
        observed(page, "hostler_load_wait_seconds", LOAD_BOUNDS, loads, model)
        speeds = [one.tokens_per_second for one in mine if one.tokens_per_second > 0]
        observed(page, "hostler_tokens_per_second", SPEED_BOUNDS, speeds, model)


def test_every_reader_sees_the_last_request() -> None:
    families = RequestFamilies(Registry(), known)
    for number in range(1, 4):
        families.count(row(number, first_byte_ms=5))
        assert families.requests.value("a", "2xx", "none") == number
        assert families.duration.count("a") == number
        assert f'hostler_tokens_total{{model="a",kind="input"}} {20 * number}' in families.tokens.lines()
        assert (
            f'hostler_time_to_first_byte_seconds_count{{model="a"}} {number}' in families.first_byte.lines()
        )


def test_requests_for_more_models_than_are_known_at_once_come_together() -> None:
    families = RequestFamilies(Registry(), known)
    families.count_all([row(number, model=f"model {number}") for number in range(2 * MAX_SERIES + 1)])

    assert families.requests.value("other", "2xx", "none") == 2 * MAX_SERIES + 1


def test_a_request_counts_under_the_name_that_its_model_had() -> None:
    names = {"a"}
    families = RequestFamilies(Registry(), names.__contains__)
    families.count(row(1))
    names.clear()
    families.look_again()
    families.count(row(2))

    assert families.requests.value("a", "2xx", "none") == 1
    assert families.requests.value("other", "2xx", "none") == 1


def test_requests_for_any_number_of_names_are_counted() -> None:
    families = RequestFamilies(Registry(), known)
    numbers = list(range(3 * MAX_SERIES))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        families.count(row(number, model=f"model {number}"))
        assert len(families._models) <= MAX_SERIES

    assert families.requests.value("other", "2xx", "none") == len(numbers)
