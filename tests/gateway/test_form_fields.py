"""What must hold: fields are found whatever the files hold, and a change leaves every other part as it is."""

from __future__ import annotations

import contextlib
from email import message_from_bytes
from email.message import Message
from typing import cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hostler.errors import ClientError
from hostler.gateway.multipart import Form

KIND = b"multipart/form-data; boundary=XyZ"
NAMES = st.sampled_from(["model", "stream", "file", "prompt", "temperature", "é"])
CONTENT = st.binary(max_size=30) | st.sampled_from(
    [b"--XyZ", b"--XyZ--", b"\r\n--Xy", b'name="model"', b"\n--XyZ\r\n", b"\r\n\r\n", b"-", b"\r", b"\n"]
)


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    extra = "" if filename is None else f'; filename="{filename}"'
    kind = b"" if filename is None else b"Content-Type: application/octet-stream\r\n"
    return f'Content-Disposition: form-data; name="{name}"{extra}\r\n'.encode() + kind + b"\r\n" + content


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, bytes, bool]]]:
    """A body, and its fields: name, content, whether it is a file."""
    fields = draw(st.lists(st.tuples(NAMES, CONTENT, st.booleans()), max_size=5))
    assume(all(b"\r\n--XyZ" not in b"\r\n" + content for _, content, _ in fields))
    parts = [part(name, content, "name=model.wav" if file else None) for name, content, file in fields]
    body = b"".join(b"--XyZ\r\n" + one + b"\r\n" for one in parts)
    return draw(st.sampled_from([b"", b"preamble\r\n"])) + body + b"--XyZ--\r\n", fields


def fields_of(body: bytes) -> list[tuple[str, bytes, bool]]:
    """What our own reader finds; `test_read_as_others_do` says that it is right."""
    form = Form(body, KIND)
    return [(p.name.decode(), body[p.value : p.end], p.is_file) for p in form.parts]


@given(forms())
def test_every_field_is_found(form: tuple[bytes, list[tuple[str, bytes, bool]]]) -> None:
    assert fields_of(form[0]) == form[1]


@given(st.lists(st.tuples(NAMES, st.text("abc 123", max_size=9)), min_size=1, max_size=4))
def test_read_as_others_do(fields: list[tuple[str, str]]) -> None:
    body = b"".join(b"--XyZ\r\n" + part(n, c.encode()) + b"\r\n" for n, c in fields) + b"--XyZ--\r\n"
    message = message_from_bytes(b"Content-Type: " + KIND + b"\r\n\r\n" + body)
    others = [
        cast("str", one.get_payload(decode=False)) for one in cast("list[Message]", message.get_payload())
    ]

    assert [value.decode() for _, value, _ in fields_of(body)] == others


@given(forms(), NAMES, CONTENT)
def test_with_a_field(form: tuple[bytes, list[tuple[str, bytes, bool]]], name: str, content: bytes) -> None:
    assume(b"\r\n--XyZ" not in b"\r\n" + content)
    body, fields = form
    expected = [(n, content if n == name and not file else c, file) for n, c, file in fields]
    if (name, False) not in [(n, file) for n, _, file in fields]:
        expected.append((name, content, False))

    assert fields_of(Form(body, KIND).with_field(name.encode(), content)) == expected


@given(forms(), NAMES)
def test_without_a_field(form: tuple[bytes, list[tuple[str, bytes, bool]]], name: str) -> None:
    body, fields = form
    result = Form(body, KIND).without_field(name.encode())

    assert fields_of(result) == [field for field in fields if field[0] != name]
    if name not in [n for n, _, _ in fields]:
        assert result is body


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('Content-Disposition: form-data; name="model"', "model"),
        ("content-disposition: form-data; name=model", "model"),
        ('CONTENT-DISPOSITION:form-data;name="model"', "model"),
        ('Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"', "model"),
        ('Content-Disposition: form-data; filename="name=\\"x\\""; name="model"', "model"),
        ("Content-Type: text/plain", ""),
    ],
)
def test_how_a_part_is_named(head: str, name: str) -> None:
    body = b"--XyZ\r\n" + head.encode() + b"\r\n\r\nm\r\n--XyZ--"

    assert [one.name.decode() for one in Form(body, KIND).parts] == [name]


def test_a_file_is_no_field() -> None:
    """A file called as a field is named must not choose the model."""
    body = b"--XyZ\r\n" + part("model", b"evil", "m.bin") + b"\r\n--XyZ\r\n" + part("model", b"m")
    form = Form(body + b"\r\n--XyZ--\r\n", KIND)

    assert form.first(b"model") == "m"
    assert form.first(b"stream") is None


def test_a_boundary_in_quotes() -> None:
    body = b"--a b\r\n" + part("model", b"m") + b"\r\n--a b--"

    assert Form(body, b'multipart/form-data; boundary="a b"').first(b"model") == "m"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"--XyZ",
        b"--XyZ\r\n",
        b"--XyZ\r\n" + part("model", b"m"),
        b"--XyZ\r\n" + part("model", b"m") + b"\r\n--XyZ",
        b"--XyZoo\r\n" + part("model", b"m") + b"\r\n--XyZ--",
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(ClientError):
        Form(body, KIND)


def test_a_form_without_boundary() -> None:
    with pytest.raises(ClientError, match="boundary"):
        Form(b"", b"multipart/form-data")


@given(st.lists(CONTENT | st.just(b"--XyZ\r\n") | st.just(part("model", b"m")), max_size=8).map(b"".join))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(ClientError):
        Form(body, KIND).with_field(b"model", b"x")


def test_many_delimiters_are_refused_quickly() -> None:
    with pytest.raises(ClientError):
        Form((b"--XyZ\r\n" + part("a", b"") + b"\r\n") * 10_001 + b"--XyZ--", KIND)
