"""Undoing the compression of an answer as it passes, a bounded piece at a time. Pure."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

# Plain bytes made in one step: a small chunk may stand for a thousand times its size.
STEP = 65_536
# All that is undone of one answer; what comes later is not looked at. A bomb costs this much and no more.
MAX_PLAIN = 256 * 1_048_576


class UndecodableError(Exception):
    """The bytes are not in the compression that was announced, or nothing here can undo it."""


class Decoder(Protocol):
    """Undoes one compression."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes of the next piece, in steps; raises UndecodableError."""
        ...


class _Bounded(ABC):
    """What all of them share: no more than MAX_PLAIN, and one exception for whatever is wrong."""

    error: type[Exception]

    def __init__(self) -> None:
        self._made = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """As `Decoder` says."""
        pieces = self._pieces(data)
        while self._made < MAX_PLAIN:
            try:
                plain = next(pieces)
            except StopIteration:
                return
            except self.error as error:
                raise UndecodableError(str(error)) from None
            if plain:
                self._made += len(plain)
                yield plain

    @abstractmethod
    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes of `data`, some of them empty, in steps of STEP; raises `error`."""


class _Zlib(_Bounded):
    """gzip, zlib, and deflate without a header, which many a server means by "deflate"."""

    error = zlib.error

    def __init__(self, *, deflate: bool) -> None:
        super().__init__()
        self._deflate = deflate
        self._inner = zlib.decompressobj(zlib.MAX_WBITS if deflate else zlib.MAX_WBITS | 16)
        self._held = b""  # the first bytes of a deflate stream, until they tell which kind it is
        self._begun = not deflate

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        if not self._begun:
            data = self._held + data
            if len(data) < 2:
                self._held = data
                return
            self._begun = True
            # A zlib header: method 8, and a multiple of 31 (RFC 1950, section 2.2).
            if data[0] & 15 != 8 or (data[0] << 8 | data[1]) % 31:
                self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
        while data:
            yield self._inner.decompress(data, STEP)
            data = self._inner.unconsumed_tail
            if self._inner.eof:
                data = self._next_member()

    def _next_member(self) -> bytes:
        """gzip may hold several members, one behind the other (RFC 1952, section 2.2)."""
        rest = self._inner.unused_data
        if rest and not self._deflate:
            self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            return rest
        return b""


class _Zstd(_Bounded):
    """Zstandard; several frames may follow each other (RFC 8878, section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        from hostler.metrics import zstd

        self.error = zstd.ZstdError
        self._new = zstd.ZstdDecompressor
        self._inner = zstd.ZstdDecompressor()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._inner.needs_input or self._inner.eof):
            if self._inner.eof:
                self._inner = self._new()
            yield self._inner.decompress(data, STEP)
            data = self._inner.unused_data if self._inner.eof else b""


class _Brotli(_Bounded):
    def __init__(self) -> None:
        super().__init__()
        try:
            import brotli
        except ModuleNotFoundError:
            raise UndecodableError("that needs: pip install 'hostler[brotli]'") from None
        self.error = brotli.error
        self._inner = brotli.Decompressor()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        # Whether it could take more it does not tell reliably; what it has left to give it does.
        while plain := self._inner.process(data, output_buffer_limit=STEP):
            yield plain
            data = b""


class _Chain:
    """Several compressions, undone from the last to the first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> Iterator[bytes]:
        return self._from(0, data)

    def _from(self, index: int, data: bytes) -> Iterator[bytes]:
        if index == len(self._decoders):
            yield data
            return
        for plain in self._decoders[index].feed(data):
            yield from self._from(index + 1, plain)


# More than this stacked on each other is an attack, no server's setting.
MAX_STACKED = 3


def decoder_for(content_encoding: str) -> Decoder | None:
    """What undoes a `Content-Encoding`; None where there is nothing to undo. Raises UndecodableError."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return None
    if len(names) > MAX_STACKED:
        raise UndecodableError(f"{len(names)} encodings on top of each other")
    decoders = [_decoder(name) for name in reversed(names)]
    return decoders[0] if len(decoders) == 1 else _Chain(decoders)


def _decoder(name: str) -> Decoder:
    if name in ("gzip", "x-gzip", "deflate"):
        return _Zlib(deflate=name == "deflate")
    if name == "zstd":
        return _Zstd()
    if name == "br":
        return _Brotli()
    raise UndecodableError(f"unknown encoding {name[:40]!r}")
