"""What must hold: the model of a form is found, whatever the files in it hold."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.errors import ClientError
from hostler.gateway.body import peek_multipart

KIND = b"multipart/form-data; boundary=b"


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"b") -> bytes:
    whole = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for head, body in parts)
    return whole + b"--" + boundary + b"--\r\n"


MODEL = (b'Content-Disposition: form-data; name="model"', b"org/m")


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="model"',
        b"content-disposition:form-data;name=model",
        b'Content-Type: text/plain\r\nCONTENT-DISPOSITION: form-data; NAME="model"',
    ],
)
def test_the_field_is_found(head: bytes) -> None:
    assert peek_multipart(form((head, b"org/m")), KIND) == ("org/m", False)


@pytest.mark.parametrize(
    "kind",
    [
        b"multipart/form-data; boundary=b",
        b'multipart/form-data; boundary="b"',
        b"Multipart/Form-Data;charset=utf-8;BOUNDARY=b",
    ],
)
def test_the_boundary_is_found(kind: bytes) -> None:
    assert peek_multipart(form(MODEL), kind)[0] == "org/m"


def test_stream_is_found() -> None:
    assert peek_multipart(form((b'Content-Disposition: form-data; name="stream"', b"true"), MODEL), KIND) == (
        "org/m",
        True,
    )


@pytest.mark.parametrize(
    "other",
    [
        (b'Content-Disposition: form-data; name="file"; filename="name=model"', b"x"),
        (b'Content-Disposition: form-data; name="xmodel"', b"x"),
        (b"X: y", b'Content-Disposition: form-data; name="model"\r\n\r\nx'),
        (b"X: " + b"y" * 10_000, b"x"),
    ],
)
def test_other_parts_are_not_taken_for_it(other: tuple[bytes, bytes]) -> None:
    assert peek_multipart(form(other, MODEL), KIND) == ("org/m", False)
    assert peek_multipart(form(other), KIND) == ("", False)


def test_a_form_without_boundary_is_refused() -> None:
    with pytest.raises(ClientError):
        peek_multipart(b"", b"multipart/form-data")


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_bytes_are_too_odd(body: bytes, kind: bytes) -> None:
    with contextlib.suppress(ClientError):
        peek_multipart(body, kind)


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_files_may_hold_anything_but_the_boundary(files: list[bytes]) -> None:
    boundary = b"------------------------d74496d66958873e"
    head = b'Content-Disposition: form-data; name="file"; filename="a"'
    parts = [(head, file) for file in files]

    found = peek_multipart(
        form(*parts, MODEL, boundary=boundary), b"multipart/form-data; boundary=" + boundary
    )

    assert found == ("org/m", False)
