"""Raw text with gap markers, its inverse, and the last lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.logs.cursor import Chunk, Cursor
from hostler.logs.text import TextStream, gap_line, last_lines, strip_gaps


def chunk(data: bytes, missed: int = 0) -> Chunk:
    return Chunk(data, missed, Cursor("e", 0))


def render(*chunks: Chunk) -> bytes:
    stream = TextStream()
    return b"".join(stream.render(each) for each in chunks)


def test_without_gaps_it_is_byte_exact() -> None:
    assert render(chunk(b"a\r\x00\xff"), chunk(b"b\n\n"), chunk(b"c")) == b"a\r\x00\xffb\n\nc"


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([chunk(b"x", 7)], b"[hostler] gap: 7 bytes missed\nx"),
        ([chunk(b"a\n"), chunk(b"x", 7)], b"a\n[hostler] gap: 7 bytes missed\nx"),
        ([chunk(b"a"), chunk(b"x", 7)], b"a\n[hostler] gap: 7 bytes missed (line cut)\nx"),
        (
            [chunk(b"a"), chunk(b"", 7), chunk(b"", 2), chunk(b"x")],
            b"a\n[hostler] gap: 7 bytes missed (line cut)\n[hostler] gap: 2 bytes missed\nx",
        ),
    ],
)
def test_gaps_stand_at_a_lines_start(chunks: list[Chunk], expected: bytes) -> None:
    assert render(*chunks) == expected


# Newlines often, and pieces of a marker, which engines could print too.
PIECES = st.lists(
    st.sampled_from([b"\n", b"a", b"bytes missed", b" (line cut)", b"[hostler] ", b"\r"]), max_size=6
)


@given(st.lists(st.tuples(PIECES.map(b"".join), st.integers(0, 10**6) | st.just(0)), max_size=12))
def test_strip_gaps_is_the_inverse(parts: list[tuple[bytes, int]]) -> None:
    chunks = [chunk(data, missed) for data, missed in parts]
    assert strip_gaps(render(*chunks)) == (
        b"".join(each.data for each in chunks),
        sum(each.missed for each in chunks),
    )


def test_strip_gaps_leaves_look_alikes_in_a_line_alone() -> None:
    text = b"said [hostler] gap: 5 bytes missed\n[hostler] gap: x bytes missed\n"
    assert strip_gaps(text) == (text, 0)


def test_gap_line_is_what_the_stream_inserts() -> None:
    assert render(chunk(b"a"), chunk(b"", 3)) == b"a" + gap_line(3, line_cut=True)
    assert render(chunk(b"", 3)) == gap_line(3, line_cut=False)


@pytest.mark.parametrize(
    ("data", "count", "expected"),
    [
        (b"", 5, []),
        (b"a\nb\n", 0, []),
        (b"a\nb\n", -1, []),
        (b"a\nb\n", 1, ["b"]),
        (b"a\nb\n", 2, ["a", "b"]),
        (b"a\nb\n", 9, ["a", "b"]),
        (b"a\nb", 1, ["b"]),
        (b"a\n\n", 2, ["a", ""]),
        (b"\n", 2, [""]),
        (b"a\r\nb\r\n", 2, ["a", "b"]),
        (b"10%\r20%\r30%\ndone", 2, ["30%", "done"]),
        (b"10%\r20%\r", 1, ["20%"]),
        (b"\xc3\xa4\xff\n", 1, ["ä�"]),
    ],
)
def test_last_lines(data: bytes, count: int, expected: list[str]) -> None:
    assert last_lines(data, count) == expected
