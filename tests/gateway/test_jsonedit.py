"""What must hold: the edited text means what the edited value is, and no other byte has changed."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.errors import ClientError
from hostler.gateway.jsonedit import delete, put, split_path, take_apart

KEYS = st.sampled_from(["a", "b", "model", "a.b", "é", "\U0001f600", "0", "1", "", 'q"', "\\", "\n"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)


@st.composite
def texts(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[bytes, Any]:
    """A JSON text in some spelling, and what it means."""
    value = draw(values)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 2])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\t", " :\r\n")])),
    )
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    return (space + text + space).encode(), value


def put_into(value: Any, path: tuple[str, ...], new: Any) -> Any:
    """What `put` means, on values."""
    step, *rest = path
    inner: Any
    if isinstance(value, list) and step.isascii() and step.isdigit() and str(int(step)) == step:
        value = value + [None] * (int(step) + 1 - len(value))
        inner = value[int(step)]
        # Where there was nothing, there is an object and never an array.
        value[int(step)] = put_into(inner, tuple(rest), new) if rest else new
        return value
    if not isinstance(value, dict):
        value = {}
    value[step] = put_into(value.get(step), tuple(rest), new) if rest else new
    return value


def delete_from(value: Any, path: tuple[str, ...]) -> None:
    step, *rest = path
    if isinstance(value, list):
        if not (step.isascii() and step.isdigit() and str(int(step)) == step and int(step) < len(value)):
            return
        key: Any = int(step)
    elif isinstance(value, dict) and step in value:
        key = step
    else:
        return
    if rest:
        delete_from(value[key], tuple(rest))
    else:
        del value[key]


@given(texts(VALUES))
def test_taken_apart_and_joined_it_is_the_same(text: tuple[bytes, Any]) -> None:
    parts = take_apart(text[0])

    assert (parts is not None) is isinstance(text[1], dict | list)
    if parts is not None:
        assert parts.join() == text[0]


@given(texts(OBJECTS), PATHS, VALUES)
def test_put_means_what_it_says(text: tuple[bytes, Any], path: tuple[str, ...], new: Any) -> None:
    body, value = text

    assert json.loads(put(body, path, json.dumps(new).encode())) == put_into(copy.deepcopy(value), path, new)


@given(texts(OBJECTS), PATHS)
def test_delete_means_what_it_says(text: tuple[bytes, Any], path: tuple[str, ...]) -> None:
    body, value = text
    expected = copy.deepcopy(value)
    delete_from(expected, path)

    result = delete(body, path)

    assert json.loads(result) == expected
    if expected == value:
        assert result is body


@given(texts(OBJECTS), KEYS, VALUES)
def test_the_bytes_beside_it_stay(text: tuple[bytes, Any], key: str, new: Any) -> None:
    before = take_apart(text[0])
    after = take_apart(put(text[0], (key,), json.dumps(new).encode()))
    assert before is not None
    assert after is not None
    kept = [m for m in before.members if json.loads(m.lead.strip().rstrip(b": \t\r\n")) != key]

    assert [m for m in after.members if m in kept] == kept


@pytest.mark.parametrize(
    ("body", "path", "value", "result"),
    [
        ('{"a":1.10,"model":"x","z":1e400}', "model", '"y"', '{"a":1.10,"model":"y","z":1e400}'),
        ('{ "model" : "x" , "b" : 1 }', "model", '"y"', '{ "model" : "y", "b" : 1 }'),
        ('{"mod\\u0065l":"x"}', "model", '"y"', '{"mod\\u0065l":"y"}'),
        ('{"model":"x","model":"z"}', "model", '"y"', '{"model":"y","model":"y"}'),
        ('{"é":1}', "é", "2", '{"é":2}'),
        ('{"\\u00e9":1}', "é", "2", '{"\\u00e9":2}'),
        ("{}", "a.b", "1", '{"a":{"b":1}}'),
        ("{ }", r"a\.b", "1", '{"a.b":1 }'),
        ('{"a":"text"}', "a.b", "1", '{"a":{"b":1}}'),
        ('{"m":[{"r":"u"},2]}', "m.0.r", '"s"', '{"m":[{"r":"s"},2]}'),
        ('{"m":[]}', "m.1", "7", '{"m":[null,7]}'),
    ],
)
def test_put(body: str, path: str, value: str, result: str) -> None:
    assert put(body.encode(), split_path(path), value.encode()).decode() == result


@pytest.mark.parametrize(
    ("body", "path", "result"),
    [
        ('{"a":1,"b":2,"c":3}', "b", '{"a":1,"c":3}'),
        ('{"a":1,"b":2}', "a", '{"b":2}'),
        ('{"a":1}', "a", "{}"),
        ('{"a":1,"a":2}', "a", "{}"),
        ('{"a":{"b":1,"c":[1,2]}}', "a.c.0", '{"a":{"b":1,"c":[2]}}'),
        ('{"a.b":1,"a":{"b":2}}', r"a\.b", '{"a":{"b":2}}'),
    ],
)
def test_delete(body: str, path: str, result: str) -> None:
    assert delete(body.encode(), split_path(path)).decode() == result


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)),
        ("a.b.c", ("a", "b", "c")),
        (r"a\.b.c", ("a.b", "c")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\b", ("a\\b",)),
        ("a\\", ("a\\",)),
        ("", ("",)),
    ],
)
def test_paths(path: str, steps: tuple[str, ...]) -> None:
    assert split_path(path) == steps


@given(st.binary(max_size=60) | st.text('{}[]",:0a \\', max_size=40).map(str.encode), PATHS)
def test_whatever_comes_is_edited_or_refused(body: bytes, path: tuple[str, ...]) -> None:
    with contextlib.suppress(ClientError):
        delete(body, path)
    with contextlib.suppress(ClientError):
        put(body, path, b"1")


def test_depth_is_bounded() -> None:
    with pytest.raises(ClientError):
        put(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ("b",), b"1")
    with pytest.raises(ClientError):
        put(b'{"a":[]}', ("a", "5000"), b"1")
