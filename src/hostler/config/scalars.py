"""What a YAML scalar means to gopkg.in/yaml.v3, which is the reader that users' files were written for.

YAML 1.2 words for booleans and null, YAML 1.1 octal numbers beside the newer ones, underscores in numbers,
dates recognised when unquoted. Python's own YAML resolver follows 1.1 and is not used.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import datetime
from decimal import Decimal


class Timestamp(str):
    """An unquoted date; it keeps its spelling and is text everywhere but in macros, which refuse it."""

    __slots__ = ()


Value = None | bool | int | float | str

_WORDS: dict[str, Value] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_NUMERIC_START = frozenset("+-0123456789.")
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,19})", re.ASCII)
_PREFIXED = re.compile(r"([+-]?)0(?:[xX]([0-9a-fA-F]+)|[bB]([01]+)|[oO]?([0-7]+))", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?:[Tt]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2}))"
    r"|(?: ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.[0-9]+)?))?",
    re.ASCII,
)
MAX_NUMBER = 400
"""Digits beyond this cannot be a number any field holds (the largest float has 309)."""


def resolve(text: str) -> Value:
    """The value of an unquoted, untagged scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START or len(text) > MAX_NUMBER:
        return text
    if text[0] != "." and _is_date(text):
        return Timestamp(text)
    number = _number(text if text[0] == "." else text.replace("_", ""))
    return text if number is None else number


def resolve_tagged(tag: str, text: str, plain: bool) -> Value:
    """The value of a scalar with an explicit tag; ValueError when the text is not of that kind."""
    short = tag.removeprefix("tag:yaml.org,2002:")
    if short == "binary":
        return _binary(text)
    if short not in {"bool", "int", "float", "null", "timestamp"}:
        return text
    value = resolve(text)
    kinds = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, float | int) and not isinstance(value, bool),
        "null": value is None,
        "timestamp": isinstance(value, Timestamp),
    }
    if not kinds[short]:
        raise ValueError(f"is tagged !!{short} but is not one")
    return float(value) if short == "float" and isinstance(value, int) else value


def bool_word(text: str) -> bool | None:
    """The YAML 1.1 words that a field of type bool takes besides real booleans."""
    lower = text.lower()
    if text not in {lower, lower.upper(), lower.capitalize()}:
        return None
    if lower in {"y", "yes", "on"}:
        return True
    return False if lower in {"n", "no", "off"} else None


def go_text(value: Value) -> str:
    """The text of a value inside a longer text: what Go prints for `%v`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return "<nil>" if value is None else str(value)


def kind_of(value: Value) -> str:
    """How to call a value in a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int):
        return "a whole number"
    return "a number" if isinstance(value, float) else "text"


def _number(text: str) -> int | float | None:
    if _DECIMAL.fullmatch(text):
        return _bounded(int(text))
    if match := _PREFIXED.fullmatch(text):
        sign, hexadecimal, binary, octal = match.groups()
        digits, base = (hexadecimal, 16) if hexadecimal else (binary, 2) if binary else (octal, 8)
        value = int(digits, base)
        value = -value if sign == "-" else value
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        return None if math.isinf(number) else number
    return None


def _bounded(value: int) -> int | float:
    return value if -(2**63) <= value < 2**64 else float(value)


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day, *clock = (int(part) if part else 0 for part in match.groups())
    hour, minute, second = (a or b for a, b in zip(clock[:3], clock[3:], strict=True))
    try:
        datetime(max(year, 1), month, day, hour, minute, second)  # noqa: DTZ001 - only asks whether it exists
    except ValueError:
        return False
    return True


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise ValueError("is tagged !!binary but is not base64 of text") from None


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e+" in text and abs(value) < 1e21:  # Go writes whole digits up to 1e21, Python up to 1e16
        return format(Decimal(text), "f")
    return text.removesuffix(".0")
