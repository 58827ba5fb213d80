"""How an entry of a log lies in a file. Pure.

A frame is a head of fixed size with a checksum over everything else, and the entry's bytes. Positions and
numbers are absolute, so a file says by itself what it holds, and what is missing between two frames shows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple
from zlib import crc32

from hostler.logs.journal import DATA, EXIT, GAP, PROXY, START, STDERR, STDOUT, Entry, Row

MAGIC = 0xA7
# magic, kind, stream, -, checksum; run, seq, start, end, time in µs, bytes of info, bytes of data
_FIRST = struct.Struct(">BBBxI")
_REST = struct.Struct(">IQQQQII")
HEAD = _FIRST.size + _REST.size
# A pipe gives at most 1 MiB at once, and a description is a few hundred bytes: more is no frame of ours.
MAX_DATA = 16 * 1_048_576
MAX_INFO = 1_048_576
# Of more than that, zlib lets other threads run meanwhile, and to get the interpreter back from a busy event
# loop takes longer than the sum. So a few such parts are summed one by one; of many it does not matter.
SUMMED = 5120
MAX_PARTS = 16

_KINDS = (DATA, START, EXIT, GAP)
_STREAMS = (PROXY, STDOUT, STDERR)
_MARKS = {
    (kind, stream): bytes((MAGIC, number, place, 0))
    for number, kind in enumerate(_KINDS)
    for place, stream in enumerate(_STREAMS)
}


class Frame(NamedTuple):
    """An entry, its bytes, and where the next frame begins."""

    entry: Entry
    data: bytes
    next: int


def encode(row: Row, data: bytes) -> bytes:
    """The frame of an entry."""
    head, info = head_of(row, data)
    return head + info + data


def head_of(row: Row, data: bytes) -> tuple[bytes, bytes]:
    """What comes before `data` in the frame of an entry: the head, and the description of an event."""
    seq, start, end, moment, stream, run, kind, about = row
    info = b"" if about is None else json.dumps(dict(about), default=str).encode()
    rest = _REST.pack(run, seq, start, end, max(0, round(moment * 1_000_000)), len(info), len(data))
    marks = _MARKS[kind, stream]
    sum_ = _sum_of(data, crc32(info, crc32(rest, crc32(marks))))
    return marks + sum_.to_bytes(4, "big") + rest, info


def _sum_of(data: bytes, sum_: int) -> int:
    """The checksum of `data`, after others."""
    if not SUMMED < len(data) <= MAX_PARTS * SUMMED:
        return crc32(data, sum_)
    with memoryview(data) as view:
        for at in range(0, len(data), SUMMED):
            sum_ = crc32(view[at : at + SUMMED], sum_)
    return sum_


def decode(buffer: bytes, at: int = 0) -> Frame | None:
    """The frame at `at`; None when there is none that is whole and sound."""
    if len(buffer) - at < HEAD:
        return None
    magic, kind, stream, sum_ = _FIRST.unpack_from(buffer, at)
    begin = at + _FIRST.size
    run, seq, start, end, time, info_size, size = _REST.unpack_from(buffer, begin)
    if magic != MAGIC or kind >= len(_KINDS) or stream >= len(_STREAMS):
        return None
    if info_size > MAX_INFO or size > MAX_DATA or end < start:
        return None
    after = at + HEAD + info_size + size
    if after > len(buffer):
        return None
    view = memoryview(buffer)
    if crc32(view[begin:after], crc32(view[at : at + 4])) != sum_:
        return None
    info_end = at + HEAD + info_size
    info: Mapping[str, Any] | None = json.loads(buffer[at + HEAD : info_end]) if info_size else None
    entry = Entry(seq, start, end, time / 1_000_000, _STREAMS[stream], run, _KINDS[kind], info)
    return Frame(entry, buffer[info_end:after], after)


def needed(buffer: bytes, at: int) -> int:
    """How many bytes from `at` on the frame there has, as far as can be told; 0 when it cannot be one."""
    if len(buffer) - at < HEAD:
        return HEAD
    *_, info_size, size = _REST.unpack_from(buffer, at + _FIRST.size)
    if buffer[at] != MAGIC or info_size > MAX_INFO or size > MAX_DATA:
        return 0
    return HEAD + int(info_size) + int(size)


def next_of(buffer: bytes, at: int, after: int) -> int:
    """Where the frame at `at` ends, if the buffer has it whole and it is of entry `after` or before; else 0.

    Without a look at its bytes: whoever has had them needs no more than their number.
    """
    if len(buffer) - at < HEAD or buffer[at] != MAGIC:
        return 0
    _, seq, _, _, _, info_size, size = _REST.unpack_from(buffer, at + _FIRST.size)
    end: int = at + HEAD + info_size + size
    return end if seq <= after and end <= len(buffer) else 0


def time_of(head: bytes) -> float:
    """When the entry came whose frame begins with `head`; never, where that is none."""
    if len(head) < HEAD or head[0] != MAGIC:
        return inf
    moment: int = _REST.unpack_from(head, _FIRST.size)[4]
    return moment / 1_000_000
