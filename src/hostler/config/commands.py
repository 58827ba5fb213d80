"""Command strings: from the text of `cmd` to the words a process is started with. No shell is involved.

Steps, in order: drop comment lines, join lines that end in a backslash, split into words. The two sets of
splitting rules (POSIX and Windows) are those of llama-swap, mistakes included: people's files rely on them.
"""

from __future__ import annotations

import re

_BACKSLASH = "\\"
_ESCAPABLE = frozenset('$`"\\\n')  # inside double quotes
_SPACE_POSIX = frozenset(" \t\n")
_SPACE_WINDOWS = frozenset(" \t\n\r")
_PLAIN = re.compile(r"[^\s\"'\\]+")


def strip_comments(text: str) -> str:
    """`text` without the lines whose first visible character is `#`, wherever they are."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not line.strip().startswith("#"))


def split_command(text: str, *, windows: bool = False) -> list[str]:
    """The words of a command; empty when there are none."""
    lines: list[str] = []
    for line in strip_comments(text).split("\n"):
        trimmed = line.strip()
        lines.append(trimmed[:-1] + " " if trimmed.endswith(_BACKSLASH) else line)
    joined = "\n".join(lines)
    return _split_windows(joined) if windows else _split_posix(joined)


def _split_posix(text: str) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text):
        char = text[at]
        if char in _SPACE_POSIX:
            if word is not None:
                words.append("".join(word))
                word = None
            at += 1
            continue
        if char == _BACKSLASH and text[at + 1 : at + 2] in {"", "\n"}:  # joins lines, starts no word
            at += 2
            continue
        word = [] if word is None else word
        if char == "'":
            end = text.find("'", at + 1)
            end = len(text) if end < 0 else end
            word.append(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            at = _double_quoted(text, at + 1, word)
        elif char == _BACKSLASH:
            word.append(text[at + 1])
            at += 2
        else:
            match = _PLAIN.match(text, at)
            part = match.group() if match else char
            word.append(part)
            at += len(part)
    if word is not None:
        words.append("".join(word))
    return words


def _double_quoted(text: str, at: int, word: list[str]) -> int:
    """Add what stands between `at` and the closing quote to `word`; the position after the quote."""
    while at < len(text):
        char = text[at]
        if char == '"':
            return at + 1
        if char == _BACKSLASH and text[at + 1 : at + 2] in _ESCAPABLE:
            word.append(text[at + 1].replace("\n", ""))
            at += 2
        else:
            word.append(char)
            at += 1
    return at


def _split_windows(text: str) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    at = 0
    while at < len(text):
        char = text[at]
        if char in _SPACE_WINDOWS and not quoted:
            if word is not None:
                words.append("".join(word))
                word = None
            at += 1
            continue
        word = [] if word is None else word
        if char == _BACKSLASH:
            end = at
            while end < len(text) and text[end] == _BACKSLASH:
                end += 1
            count, at = end - at, end
            if text[at : at + 1] != '"':
                word.append(_BACKSLASH * count)
                continue
            word.append(_BACKSLASH * (count // 2))
            if count % 2:
                word.append('"')
                at += 1
        elif char == '"':
            if quoted and text[at + 1 : at + 2] == '"':
                word.append('"')
                at += 2
            else:
                quoted = not quoted
                at += 1
        else:
            word.append(char)
            at += 1
    if word is not None:
        words.append("".join(word))
    return words
