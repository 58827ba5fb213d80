"""How an entry of a log lies in a file. Pure.

A frame is a head of fixed size with a checksum over everything else, and the entry's bytes. Positions and
numbers are absolute, so a file says by itself what it holds, and what is missing between two frames shows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from hostler.logs.journal import DATA, EXIT, GAP, PROXY, START, STDERR, STDOUT, Entry

MAGIC = 0xA7
# magic, kind, stream, -, checksum; run, seq, start, end, time in µs, bytes of info, bytes of data
_FIRST = struct.Struct(">BBBxI")
_REST = struct.Struct(">IQQQQII")
HEAD = _FIRST.size + _REST.size
# A pipe gives at most 1 MiB at once, and a description is a few hundred bytes: more is no frame of ours.
MAX_DATA = 16 * 1_048_576
MAX_INFO = 1_048_576

_KINDS = (DATA, START, EXIT, GAP)
_STREAMS = (PROXY, STDOUT, STDERR)


class Frame(NamedTuple):
    """An entry, its bytes, and where the next frame begins."""

    entry: Entry
    data: bytes
    next: int


def encode(entry: Entry, data: bytes) -> bytes:
    """The frame of `entry`."""
    info = b"" if entry.info is None else json.dumps(dict(entry.info), default=str).encode()
    time = max(0, round(entry.time * 1_000_000))
    rest = _REST.pack(entry.run, entry.seq, entry.start, entry.end, time, len(info), len(data))
    marks = bytes((MAGIC, _KINDS.index(entry.kind), _STREAMS.index(entry.stream), 0))
    sum_ = crc32(data, crc32(info, crc32(rest, crc32(marks))))
    return marks + sum_.to_bytes(4, "big") + rest + info + data


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
