"""Texts with a form of their own: URLs as Go's parser takes them, and RE2 regular expressions."""

from __future__ import annotations

import re
import warnings

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_HOST_BAD = re.compile(r"[\s<>\"{}|\\^`]")

_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7F", "blank": "\\t ",
    "cntrl": "\\x00-\\x1F\\x7F", "digit": "0-9", "graph": "!-~", "lower": "a-z",
    "print": " -~", "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_POSIX = re.compile(r"\[:([a-z]+):\]")
_REFUSED = re.compile(r"\(\?(?:[=!>(#]|<[=!])|\(\?P=")
_POSSESSIVE = re.compile(r"[*+?}]\+")
_MAX_PATTERN = 10_000


def url_problem(url: str) -> str | None:
    """Why Go's URL parser would refuse `url`, in a few words; None when it takes it."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in url):
        return "it contains a control character"
    rest = url.split("#", 1)[0]
    if rest.startswith(":"):
        return "the scheme is missing"
    scheme = _SCHEME.match(rest)
    rest = rest[scheme.end() :] if scheme else rest
    path = rest.split("?", 1)[0]
    if not path.startswith("/"):
        if scheme is None and ":" in path.split("/", 1)[0]:
            return "it begins with neither a scheme nor a path; write http://… in front"
        return None if scheme else _escape_problem(path)
    if not path.startswith("//"):
        return _escape_problem(path)
    authority, _, path = path[2:].partition("/")
    return _authority_problem(authority) or _escape_problem(path)


def _escape_problem(path: str) -> str | None:
    return "it has a % that is not followed by two hexadecimal digits" if _BAD_ESCAPE.search(path) else None


def _authority_problem(authority: str) -> str | None:
    host = authority.rpartition("@")[2]
    if _HOST_BAD.search(host):
        return "its host contains a character that hosts cannot have"
    if host.startswith("["):
        inside, closed, rest = host.partition("]")
        if not closed:
            return "its host has a [ without ]"
        if "%" in inside.replace("%25", ""):
            return "its host has a % that is not %25"
    else:
        name, colon, port = host.partition(":")
        rest = colon + port
        if _BAD_ESCAPE.search(name):
            return _escape_problem(name)
    if rest and not re.fullmatch(r":[0-9]*", rest):
        return "its port is not a number"
    return None


def compile_re2(pattern: str) -> re.Pattern[str]:
    """A regular expression in RE2's syntax, as llama-swap takes it; `re.error` when it is none."""
    if len(pattern) > _MAX_PATTERN:
        raise re.error("the expression is too long")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        try:
            return re.compile(_translate(pattern), re.ASCII)
        except (RecursionError, OverflowError, FutureWarning) as error:
            raise re.error(f"not supported: {error}") from None


def compile_cause(pattern: str) -> re.Pattern[str]:
    """The pattern of a user's cause of failure, in Python's syntax; `re.error` when it is none."""
    if len(pattern) > _MAX_PATTERN:
        raise re.error("the expression is too long")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return re.compile(pattern, re.IGNORECASE)
        except (RecursionError, OverflowError) as error:
            raise re.error(f"not supported: {error}") from None


def _translate(pattern: str) -> str:
    """RE2's spelling in Python's, for what both can do."""
    out: list[str] = []
    at = 0
    in_class = False
    while at < len(pattern):
        char = pattern[at]
        pair = pattern[at : at + 2]
        if char == "\\":
            step, text = _escape(pattern, at)
            out.append(text)
            at += step
            continue
        if in_class:
            if match := _POSIX.match(pattern, at):
                if match[1] not in _POSIX_CLASSES:
                    raise re.error(f"no character class [:{match[1]}:]")
                out.append(_POSIX_CLASSES[match[1]])
                at = match.end()
                continue
            in_class = char != "]"
            out.append("\\[" if char == "[" else char)
        elif char == "[":
            head = re.match(r"\[\^?\]?", pattern[at:])
            text = head.group() if head else char
            out.append(text.replace("]", "\\]"))
            at += len(text)
            in_class = True
            continue
        else:
            if _REFUSED.match(pattern, at) or _POSSESSIVE.match(pattern, at):
                raise re.error(f"RE2 does not have {pair}… here")
            out.append(r"\Z" if char == "$" else char)
        at += 1
    return _hoist_flags("".join(out))


def _escape(pattern: str, at: int) -> tuple[int, str]:
    char = pattern[at + 1 : at + 2]
    if char == "z":
        return 2, r"\Z"
    if char == "Q":
        end = pattern.find(r"\E", at + 2)
        end = len(pattern) if end < 0 else end
        return min(end + 2, len(pattern)) - at, re.escape(pattern[at + 2 : end])
    if match := re.match(r"\\x\{([0-9a-fA-F]{1,6})\}", pattern[at:]):
        code = int(match[1], 16)
        if code > 0x10FFFF:
            raise re.error("no such character")
        return match.end(), re.escape(chr(code))
    if char.isdigit() and char != "0":
        raise re.error("RE2 has no backreferences")
    if char in {"Z", "u", "U", "N"}:
        raise re.error(f"RE2 has no \\{char}")
    return 2, pattern[at : at + 2]


def _hoist_flags(pattern: str) -> str:
    """`a(?i)b` → `a(?i:b)`: Python takes flags for the rest only at the very beginning."""
    match = re.search(r"(?<!\\)\(\?([imsU]+)\)", pattern)
    if match is None or match.start() == 0:
        return pattern
    flags = match[1].replace("U", "")
    rest = _hoist_flags(pattern[match.end() :])
    depth = 0
    for index, char in enumerate(rest):
        if char == "\\":
            continue
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return f"{pattern[: match.start()]}(?{flags}:{rest[:index]}){rest[index:]}"
    return f"{pattern[: match.start()]}(?{flags}:{rest})"
