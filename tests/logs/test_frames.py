"""What must hold: what was written is read back, and what was torn or changed is never taken for a frame."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.logs.archive import folder_of, frames
from hostler.logs.frames import decode, encode
from hostler.logs.journal import Entry

ENTRIES = st.builds(
    lambda seq, start, data, stream, kind, run: (
        Entry(
            seq,
            start,
            start + (len(data) if kind == "data" else 0),
            1_700_000_000.5,
            stream,
            run,
            kind,
            None if kind == "data" else {"exit": "é", "code": 1},
        ),
        data if kind == "data" else b"",
    ),
    st.integers(1, 2**40),
    st.integers(0, 2**50),
    st.binary(max_size=40),
    st.sampled_from(["stdout", "stderr", "proxy"]),
    st.sampled_from(["data", "start", "exit", "gap"]),
    st.integers(0, 2**31),
)


@given(st.lists(ENTRIES, max_size=6))
def test_what_was_written_is_read(entries: list[tuple[Entry, bytes]]) -> None:
    file = io.BytesIO(b"".join(encode(entry, data) for entry, data in entries))

    assert [(frame.entry, frame.data) for frame, _ in frames(file)] == entries


@given(ENTRIES, st.data())
def test_what_was_torn_or_changed_is_no_frame(entry: tuple[Entry, bytes], data: st.DataObject) -> None:
    whole = encode(*entry)
    cut = data.draw(st.integers(0, len(whole) - 1))
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[place] ^= data.draw(st.integers(1, 255))

    assert decode(whole[:cut]) is None
    assert decode(bytes(flipped)) is None


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.integers(1, 30))
def test_frames_before_a_torn_tail_are_read(entries: list[tuple[Entry, bytes]], cut: int) -> None:
    whole = b"".join(encode(entry, data) for entry, data in entries)
    found = [(frame.entry, frame.data) for frame, _ in frames(io.BytesIO(whole[:-cut]))]

    assert found == entries[: len(found)]
    assert len(found) < len(entries)


PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")


@given(st.text(PRINTABLE, min_size=1, max_size=300))
@settings(deadline=None)  # the first long name loads OpenSSL
def test_every_name_has_a_folder_of_its_own(name: str) -> None:
    folder = folder_of(name)
    assert "/" not in folder
    assert folder not in (".", "..")
    assert len(folder.encode()) < 255
    assert folder_of(name + "x") != folder
