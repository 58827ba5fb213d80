"""Multipart forms (RFC 7578) as bytes: finding fields, and changing one without touching the others. Pure.

Files are never looked into: a delimiter counts only at the beginning of a line, and what lies between two of
them is found by one search in C.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostler.errors import ClientError

# A part of a form has two or three headers of some fifty bytes.
PART_HEAD_BYTES = 4096
# More parts than any real form has; a body of nothing but delimiters must not take minutes.
MAX_PARTS = 10_000
BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,200})"|([^\s";,]{1,200}))', re.IGNORECASE)
DISPOSITION = re.compile(rb"^content-disposition:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
PARAMETER = re.compile(rb';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form, by positions in its body: `start` is where its delimiter line begins, `value`
    where its value does, `end` is behind the value.
    """

    name: bytes
    is_file: bool
    start: int
    value: int
    end: int


class Form:
    """The parts of a multipart body, in order. Raises ClientError where it is no such body."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        declared = BOUNDARY.search(content_type)
        if declared is None:
            raise ClientError("the multipart form does not declare its boundary")
        self.body = body
        self._delimiter = b"--" + (declared[1] or declared[2])
        self.parts: list[Part] = []
        self._end = -1  # where the closing delimiter begins
        self._read()

    def first(self, name: bytes) -> str | None:
        """The text of the first field called `name` that is no file."""
        for part in self.parts:
            if part.name == name and not part.is_file:
                # A longer one is no name and no flag; decoding it would only cost.
                value = self.body[part.value : min(part.end, part.value + PART_HEAD_BYTES)]
                return value.decode("utf-8", "replace")
        return None

    def with_field(self, name: bytes, value: bytes) -> bytes:
        """The body with `value` in every text field called `name`, or in a new one at the end."""
        found = [part for part in self.parts if part.name == name and not part.is_file]
        if not found:
            return self._with_new(name, value)
        pieces: list[bytes] = []
        at = 0
        for part in found:
            pieces += (self.body[at : part.value], value)
            at = part.end
        pieces.append(self.body[at:])
        return b"".join(pieces)

    def without_field(self, name: bytes) -> bytes:
        """The body without the fields called `name`; the same object when there is none."""
        starts = [part.start for part in self.parts] + [self._end]
        pieces: list[bytes] = []
        at = 0
        for place, part in enumerate(self.parts):
            if part.name == name:
                pieces.append(self.body[at : part.start])
                at = starts[place + 1]
        if not pieces:
            return self.body
        pieces.append(self.body[at:])
        return b"".join(pieces)

    def _with_new(self, name: bytes, value: bytes) -> bytes:
        escaped = (
            name.replace(b"\\", b"\\\\").replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
        )
        part = (
            self._delimiter
            + b'\r\nContent-Disposition: form-data; name="'
            + escaped
            + b'"\r\n\r\n'
            + value
            + b"\r\n"
        )
        return self.body[: self._end] + part + self.body[self._end :]

    def _read(self) -> None:
        body, delimiter = self.body, self._delimiter
        at = 0 if body.startswith(delimiter) else _after(body.find(b"\r\n" + delimiter))
        while at >= 0:
            inside = at + len(delimiter)
            if body[inside : inside + 2] == b"--":
                self._end = at
                return
            line_end = body.find(b"\r\n", inside)
            # Only white space may stand between a delimiter and the end of its line.
            if line_end < 0 or body[inside:line_end].strip(b" \t"):
                break
            following = body.find(b"\r\n" + delimiter, line_end)
            if following < 0 or len(self.parts) >= MAX_PARTS:
                break
            self._add(at, line_end + 2, following)
            at = following + 2
        raise ClientError("the multipart form is not well-formed, or not complete")

    def _add(self, start: int, head: int, end: int) -> None:
        blank = self.body.find(b"\r\n\r\n", head - 2, min(end, head + PART_HEAD_BYTES) + 4)
        if blank < 0:
            # Headers without an end, or of a length nobody sends: whatever it is, it is no field of ours.
            self.parts.append(Part(b"", True, start, end, end))
            return
        found = DISPOSITION.search(self.body[head:blank])
        parameters: dict[bytes, bytes] = {}
        if found is not None:
            for key, quoted, plain in PARAMETER.findall(found[1]):
                parameters.setdefault(key.lower(), quoted or plain)
        is_file = b"filename" in parameters or b"filename*" in parameters
        self.parts.append(Part(parameters.get(b"name", b""), is_file, start, min(blank + 4, end), end))


def _after(found: int) -> int:
    return found + 2 if found >= 0 else -1
