"""Changing single members of a JSON text and leaving every other byte as it is. Pure.

A text is taken apart only along the path that is changed: members beside it are found by a scanner in C and
kept as bytes, so numbers keep their spelling, keys their order and strings their escapes.

The text is looked at as Latin-1: JSON's own characters are ASCII, and so a position in the text is a
position in the bytes, whatever the strings hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # public by use, missing in typeshed
from typing import NamedTuple

from hostler.errors import ClientError

Path = tuple[str, ...]

_decoder = json.JSONDecoder(strict=False)
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # what raw_decode is made of
_SPACE = re.compile(r"[ \t\n\r]*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
# Nulls that a path may put before its index in an array; more is a mistake, not a wish.
MAX_PADDING = 1000


class Member(NamedTuple):
    """One member of an object or array: `lead` is everything before its value but the comma."""

    key: str
    lead: bytes
    value: bytes


class Parts(NamedTuple):
    """An object or array taken apart; an array's members have no key."""

    head: bytes
    members: list[Member]
    tail: bytes
    is_array: bool

    def join(self) -> bytes:
        """The text again."""
        inner = b",".join(member.lead + member.value for member in self.members)
        return self.head + inner + self.tail


def take_apart(body: bytes) -> Parts | None:
    """The members of the object or array that `body` is; None when it is neither.

    Raises ClientError when it is not JSON.
    """
    text = body.decode("latin-1")
    start = _skip(text, 3 if body.startswith(b"\xef\xbb\xbf") else 0)
    opening = text[start : start + 1]
    if opening not in ("{", "["):
        return None
    try:
        return _members(body, text, start + 1, is_array=opening == "[")
    except (StopIteration, json.JSONDecodeError, IndexError) as error:
        raise ClientError("the request body is not valid JSON") from error
    except RecursionError:
        raise ClientError("the request body is nested too deeply") from None


def _members(body: bytes, text: str, begin: int, *, is_array: bool) -> Parts:
    members: list[Member] = []
    closing = "]" if is_array else "}"
    at = begin
    inside = _skip(text, at)
    if text[inside] == closing:
        return Parts(body[:begin], [], body[begin:], is_array)
    while True:
        lead_from = at
        at = _skip(text, at)
        key = ""
        if not is_array:
            if text[at] != '"':
                raise StopIteration
            key, at = scanstring(text, at + 1, False)
            at = _skip(text, at)
            if text[at] != ":":
                raise StopIteration
            at = _skip(text, at + 1)
        _, end = _scan(text, at)
        members.append(Member(key, body[lead_from:at], body[at:end]))
        after = _skip(text, end)
        if text[after] == closing:
            return Parts(body[:begin], members, body[end:], is_array)
        if text[after] != ",":
            raise StopIteration
        # What stands between a value and its comma goes with the value.
        if after != end:
            members[-1] = members[-1]._replace(value=body[at:after])
        at = after + 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches nothing as well
    return found.end()


def split_path(path: str) -> Path:
    r"""The steps of a path: `a.b` is b within a, `a\.b` is one key with a dot in it, `\\` a backslash."""
    steps = [""]
    escaped = False
    for char in path:
        if escaped:
            steps[-1] += char if char in ".\\" else "\\" + char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ".":
            steps.append("")
        else:
            steps[-1] += char
    if escaped:
        steps[-1] += "\\"
    return tuple(steps)


def delete(body: bytes, path: Path) -> bytes:
    """`body` without the member at `path`, in all its spellings; the same object when there is none."""
    parts = take_apart(body)
    if parts is None:
        return body
    found = _places(parts, path[0])
    if not found:
        return body
    if len(path) == 1:
        kept = [member for place, member in enumerate(parts.members) if place not in found]
        return parts._replace(members=kept).join()
    changed = False
    for place in found:
        member = parts.members[place]
        value = delete(member.value, path[1:])
        if value is not member.value:
            parts.members[place] = member._replace(value=value)
            changed = True
    return parts.join() if changed else body


def put(body: bytes, path: Path, value: bytes) -> bytes:
    """`body` with `value` (JSON) at `path`; objects on the way are made where there are none.

    A key that is there twice gets it twice: which one counts is the reader's choice.
    """
    parts = take_apart(body)
    if parts is None or (parts.is_array and not _INDEX.fullmatch(path[0])):
        # A text or number on the way gives way to an object.
        return b"{" + _encode(path[0]) + b":" + _fresh(path[1:], value) + b"}"
    found = _places(parts, path[0])
    for place in found:
        member = parts.members[place]
        fresh = value if len(path) == 1 else put(member.value, path[1:], value)
        parts.members[place] = member._replace(value=fresh)
    if not found:
        _append(parts, path, value)
    return parts.join()


def _append(parts: Parts, path: Path, value: bytes) -> None:
    lead = b"" if parts.is_array else _encode(path[0]) + b":"
    if parts.is_array:
        missing = int(path[0]) - len(parts.members)
        if missing > MAX_PADDING:
            raise ClientError(f"a filter addresses element {path[0]} of an array that has fewer")
        parts.members.extend([Member("", b"", b"null")] * missing)
    parts.members.append(Member(path[0], lead, _fresh(path[1:], value)))


def _fresh(path: Sequence[str], value: bytes) -> bytes:
    for step in reversed(path):
        value = b"{" + _encode(step) + b":" + value + b"}"
    return value


def _places(parts: Parts, step: str) -> list[int]:
    """Where the members called `step` are."""
    if parts.is_array:
        number = int(step) if _INDEX.fullmatch(step) else -1
        return [number] if 0 <= number < len(parts.members) else []
    # A key is seen as Latin-1, except for what it spells with escapes.
    seen = step.encode("utf-8", "surrogatepass").decode("latin-1")
    return [place for place, member in enumerate(parts.members) if member.key in (step, seen)]


def _encode(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")
