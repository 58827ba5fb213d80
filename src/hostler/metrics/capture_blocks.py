"""Captures, compressed together into one block, and one of them taken out again. Pure.

Both go through the bytes in steps: neither a block nor an answer is ever there as a whole a second time,
however far it expands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from hostler.metrics.decoding import STEP, UndecodableError, decoder_for

# JSON shrinks to a fifth, and the tables take 64 KB; those of level 3 take ten times that for little more.
LEVEL = 1
# What an answer may expand to, by its size: JSON reaches ten, a bomb a thousand.
EXPANSION = 16
# Bytes of a length in a block.
LENGTH = 4


class Capture(msgspec.Struct, frozen=True):
    """One request and its answer. Bodies are decoded; None is one that was not kept. `truncated` says that
    an answer or a request was larger than there was room for.
    """

    id: int
    model: str
    path: str
    request_headers: dict[str, str]
    request_body: bytes | None
    response_headers: dict[str, str]
    response_body: bytes | None
    truncated: bool = False


class Parts(msgspec.Struct, frozen=True):
    """A capture whose answer is still in the pieces in which it came, encoded as it was; None is no answer.

    `packed` takes the pieces away one by one, so that they make room for what becomes of them.
    """

    capture: Capture
    answer: list[bytes] | None


def packed(captures: Iterable[Parts]) -> bytearray:
    """One block of `captures`; their answers are gone then."""
    from hostler.metrics import zstd  # it takes a megabyte, and nothing is compressed before 256 KB

    compressor = zstd.ZstdCompressor(LEVEL)
    out = bytearray()
    small: list[bytes] = []  # each call costs more than a small piece is worth
    size = 0
    for piece in (piece for parts in captures for piece in _pieces(parts)):
        if len(piece) < STEP:
            small.append(piece)
            size += len(piece)
        if size >= STEP or len(piece) >= STEP:
            out += compressor.compress(b"".join(small))
            small, size = [], 0
        if len(piece) >= STEP:
            out += compressor.compress(piece)
    out += compressor.compress(b"".join(small))
    out += compressor.flush()
    return out


def _pieces(parts: Parts) -> Iterator[bytes]:
    """A capture: what is not a body, the request's body where there is one, the pieces of the answer and an
    empty one; each behind its length.
    """
    headers, answer = decoded(parts.capture.response_headers, parts.answer, drain=True)
    request = parts.capture.request_body
    head = msgspec.structs.replace(
        parts.capture,
        request_body=None if request is None else b"",
        response_headers=headers,
        response_body=None if answer is None else b"",
    )
    yield from _sized(msgspec.msgpack.encode(head))
    if request is not None:
        yield from _sized(request)
    for piece in answer or ():
        if piece:
            yield from _sized(piece)
    yield bytes(LENGTH)


def _sized(piece: bytes) -> Iterator[bytes]:
    yield len(piece).to_bytes(LENGTH, "big")
    yield piece


def unpacked(block: bytes | bytearray, number: int) -> Capture | None:
    """The capture `number` of a block; the others pass by."""
    reader = _Reader(block)
    while (head := reader.piece()) is not None:
        capture = msgspec.msgpack.decode(head, type=Capture)
        if capture.id == number:
            return _bodies(capture, reader)
        if capture.request_body is not None:
            reader.skip()
        while reader.skip():
            pass
    return None


def _bodies(capture: Capture, reader: _Reader) -> Capture:
    request = reader.piece() if capture.request_body is not None else None
    answer: bytes | None = None
    if capture.response_body is not None:
        body = bytearray()
        while piece := reader.piece():
            body += piece
        answer = bytes(body)
    return msgspec.structs.replace(capture, request_body=request, response_body=answer)


class _Reader:
    """The plain bytes of a block, as far as somebody wants them."""

    def __init__(self, block: bytes | bytearray) -> None:
        from hostler.metrics import zstd

        self._inner = zstd.ZstdDecompressor()
        self._input = block
        self._held = bytearray()

    def piece(self) -> bytes | None:
        """The next piece; None at the end of the block."""
        length = self._take(LENGTH)
        return self._take(int.from_bytes(length, "big")) if length else None

    def skip(self) -> int:
        """Pass over the next piece; its length."""
        left = length = int.from_bytes(self._take(LENGTH), "big")
        while left:
            left -= len(self._take(min(left, STEP)))
        return length

    def _take(self, count: int) -> bytes:
        while len(self._held) < count and not self._inner.eof:
            self._held += self._inner.decompress(self._input, STEP)
            self._input = b""
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken


def whole(parts: Parts) -> Capture:
    """The capture with its answer in one piece."""
    headers, answer = decoded(parts.capture.response_headers, parts.answer)
    body = None if answer is None else b"".join(answer)
    return msgspec.structs.replace(parts.capture, response_headers=headers, response_body=body)


def decoded(
    headers: dict[str, str], answer: list[bytes] | None, *, drain: bool = False
) -> tuple[dict[str, str], Iterable[bytes] | None]:
    """Headers and answer without the encoding that the headers name; as they are where it cannot be undone.

    With `drain` the answer's pieces go as they are read. What cannot be decoded keeps its header, so that
    the reader knows what it is.
    """
    if answer is None:
        return headers, None
    pieces = _drained(answer) if drain else iter(answer)
    name = next((name for name in headers if name.lower() == "content-encoding"), None)
    if name is None:
        return headers, pieces
    encoding = headers[name].strip().lower()
    bound = EXPANSION * max(sum(map(len, answer)), STEP)
    # Once to see whether it works, then again to use it: nobody has to hold it meanwhile.
    if not _expands(answer, encoding, bound):
        return headers, pieces
    return {key: value for key, value in headers.items() if key != name}, _undone(pieces, encoding)


def _drained(pieces: list[bytes]) -> Iterator[bytes]:
    pieces.reverse()
    while pieces:
        yield pieces.pop()


def _expands(answer: Sequence[bytes], encoding: str, bound: int) -> bool:
    made = 0
    try:
        for piece in _undone(answer, encoding):
            made += len(piece)
            if made > bound:
                return False
    except UndecodableError:
        return False
    return True


def _undone(answer: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = decoder_for(encoding)
    for piece in answer:
        if decoder is None:
            yield piece
        else:
            yield from decoder.feed(piece)
