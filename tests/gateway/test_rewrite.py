"""What must hold: filters change what they name, in their order, and nothing else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.config.schema import Filters
from hostler.errors import ClientError
from hostler.gateway.multipart import Form
from hostler.gateway.rewrite import BodyFilter, set_model, set_model_in_query

JSON = b"application/json"
FORM = b"multipart/form-data; boundary=b"


def form(**fields: str) -> bytes:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    audio = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\xff\r\n'
    return parts.encode() + audio + b"--b--\r\n"


def applied(filters: Filters, body: Any, requested: str = "m", use: str = "") -> Any:
    result = BodyFilter(filters, use).apply(json.dumps(body).encode(), JSON, requested)
    return json.loads(result)


def test_4_3_the_order_is_use_model_name_strip_set_set_by_id() -> None:
    filters = Filters(
        strip_params=("a", "b"),
        set_params={"b": 1, "c": 1, "d": 1},
        set_params_by_id={"m": {"d": 2}, "other": {"e": 3}},
    )

    assert applied(filters, {"model": "m", "a": 0, "b": 0}, use="real") == {
        "model": "real",
        "b": 1,
        "c": 1,
        "d": 2,
    }


def test_4_3_by_id_goes_by_the_name_that_was_asked_for() -> None:
    filters = Filters(set_params_by_id={"m:high": {"effort": "high"}, "m:low": {"effort": "low"}})

    assert applied(filters, {"model": "m:low"}, "m:low")["effort"] == "low"
    assert applied(filters, {"model": "m"}, "m") == {"model": "m"}


def test_4_3_model_is_neither_stripped_nor_set() -> None:
    filters = Filters(
        strip_params=("model",), set_params={"model": "x"}, set_params_by_id={"m": {"model": 1}}
    )

    assert applied(filters, {"model": "m"}) == {"model": "m"}


def test_4_3_a_dot_is_a_way_down_and_an_escaped_dot_is_a_dot() -> None:
    filters = Filters(strip_params=(r"x\.y",), set_params={"a.b": 1, r"c\.d": 2})

    assert applied(filters, {"x.y": 0, "x": {"y": 0}, "a": {"z": 0}}) == {
        "x": {"y": 0},
        "a": {"z": 0, "b": 1},
        "c.d": 2,
    }


def test_4_3_objects_are_replaced() -> None:
    filters = Filters(set_params={"o": {"new": True}})

    assert applied(filters, {"o": {"old": True}}) == {"o": {"new": True}}


def test_4_3_bytes_that_are_not_named_stay() -> None:
    body = b'{ "model":"m",\n "t": 0.70, "stop":["\\u00e9"] }'
    result = BodyFilter(Filters(set_params={"k": 5})).apply(body, JSON, "m")

    assert result == b'{ "model":"m",\n "t": 0.70, "stop":["\\u00e9"],"k":5 }'


@pytest.mark.parametrize(
    ("filters", "body"),
    [
        (Filters(), b"not even json"),
        (Filters(strip_params=("x",)), b'{"model": "m" }'),
        (Filters(set_params_by_id={"other": {"a": 1}}), b'{"model": "m" }'),
    ],
)
def test_what_needs_no_change_is_the_same_object(filters: Filters, body: bytes) -> None:
    assert BodyFilter(filters).apply(body, JSON, "m") is body


def test_other_types_are_passed_on() -> None:
    body = b"model=m&a=1"
    filters = BodyFilter(Filters(strip_params=("a",)), "real")

    assert filters.apply(body, b"application/x-www-form-urlencoded", "m") is body
    assert filters.apply(body, b"", "m") is body


def test_4_3_fields_of_a_form() -> None:
    filters = Filters(strip_params=("a", "file"), set_params={"t": 0.5, "o": {"x": 1}, "s": "text"})
    result = BodyFilter(filters, "real").apply(form(model="m", a="0", t="1"), FORM, "m")
    found = Form(result, FORM)

    assert [part.name.decode() for part in found.parts] == ["model", "t", "o", "s"]
    assert found.first(b"model") == "real"
    assert found.first(b"t") == "0.5"
    assert found.first(b"o") == '{"x":1}'
    assert found.first(b"s") == "text"


def test_4_3_use_model_name_leaves_the_files_of_a_form_alone() -> None:
    before = form(model="m")
    result = BodyFilter(Filters(), "a much longer name").apply(before, FORM, "m")

    assert result == before.replace(b"\r\n\r\nm\r\n", b"\r\n\r\na much longer name\r\n")


def test_a_broken_body_is_the_client_s_fault() -> None:
    filters = BodyFilter(Filters(strip_params=("a",)), "real")
    for body, kind in ((b"{", JSON), (b"--b", FORM)):
        with pytest.raises(ClientError):
            filters.apply(body, kind, "m")


@pytest.mark.parametrize(
    ("body", "kind", "result"),
    [
        (b'{"model": "a"}', JSON, b'{"model": "n"}'),
        (b"{}", b"application/json; charset=utf-8", b'{"model":"n"}'),
        (b"x=1&model=a&y=%20", b"application/x-www-form-urlencoded", b"x=1&model=n&y=+"),
        (b"", b"", b"model=n"),
    ],
)
def test_4_4_another_model(body: bytes, kind: bytes, result: bytes) -> None:
    assert set_model(body, kind, "n") == result


def test_4_4_another_model_in_a_form() -> None:
    assert Form(set_model(form(model="a"), FORM, "n"), FORM).first(b"model") == "n"


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=4), st.text(min_size=1, max_size=5))
def test_4_4_another_model_in_a_query(pairs: dict[str, str], model: str) -> None:
    from urllib.parse import urlencode

    query = urlencode(pairs).encode()
    result = parse_qs(set_model_in_query(query, model).decode(), keep_blank_values=True)

    assert result == {**{name: [value] for name, value in pairs.items()}, "model": [model]}
