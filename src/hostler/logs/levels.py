"""Levels, time stamps and the shape of the proxy's own log lines.

The engines' output is never touched; all of this is about lines that Hostler itself writes. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Level(IntEnum):
    """How much a line matters; ordered."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40

    @classmethod
    def parse(cls, text: str) -> Level:
        """The level of that name in any case; what is not known is INFO."""
        return _LEVELS.get(text.strip().lower(), cls.INFO)


_LEVELS = {level.name.lower(): level for level in Level} | {"warning": Level.WARN}

# Names of our own: strftime's follow the locale, and log lines are parsed by machines.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_time(name: str, time: datetime) -> str:
    """`time` in the format called `name` (a `logTimeFormat`, in any case); "" for "" and unknown names.

    A time without a zone counts as UTC. The nanosecond formats have three zeros at the end, which is all a
    `datetime` knows.
    """
    layout = _FORMATS.get(name.strip().lower())
    return layout(time) if layout is not None else ""


def format_line(level: Level, message: str, time: str = "", prefix: str = "") -> str:
    """One line `<time ><[prefix] >[LEVEL] message\\n`; `time` comes formatted, empty parts are left out."""
    stamp = f"{time} " if time else ""
    tag = f"[{prefix}] " if prefix else ""
    return f"{stamp}{tag}[{level.name}] {message}\n"


def _weekday(time: datetime) -> str:
    return _DAYS[time.weekday()][:3]


def _month(time: datetime) -> str:
    return _MONTHS[time.month - 1]


def _hms(time: datetime) -> str:
    return f"{time.hour:02}:{time.minute:02}:{time.second:02}"


def _offset(time: datetime, separator: str = "") -> str:
    """The distance to UTC as `+0200`, or with a separator between hours and minutes."""
    minutes = (time.utcoffset() or timedelta(0)) // timedelta(minutes=1)
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    return f"{sign}{hours:02}{separator}{rest:02}"


def _zone(time: datetime) -> str:
    """The zone's abbreviation, or its offset when it has none ("UTC+02:00" is how Python says so)."""
    name = time.tzname() or "UTC"
    return _offset(time) if name.startswith(("UTC+", "UTC-")) else name


def _year(time: datetime) -> str:
    return f"{time.year % 100:02}"


def _stamp(time: datetime) -> str:
    return f"{_month(time)} {time.day:2} {_hms(time)}"


def _rfc1123(time: datetime) -> str:
    return f"{_weekday(time)}, {time.day:02} {_month(time)} {time.year:04} {_hms(time)}"


def _rfc822(time: datetime) -> str:
    return f"{time.day:02} {_month(time)} {_year(time)} {time.hour:02}:{time.minute:02}"


def _rfc850(time: datetime) -> str:
    day = f"{time.day:02}-{_month(time)}-{_year(time)}"
    return f"{_DAYS[time.weekday()]}, {day} {_hms(time)} {_zone(time)}"


def _rfc3339(time: datetime, fraction: str = "") -> str:
    zone = _offset(time, ":") if time.utcoffset() else "Z"
    return f"{time.year:04}-{time.month:02}-{time.day:02}T{_hms(time)}{fraction}{zone}"


def _rfc3339nano(time: datetime) -> str:
    fraction = f".{time.microsecond:06}".rstrip("0")
    return _rfc3339(time, "" if fraction == "." else fraction)


_FORMATS: dict[str, Callable[[datetime], str]] = {
    "ansic": lambda t: f"{_weekday(t)} {_stamp(t)} {t.year:04}",
    "unixdate": lambda t: f"{_weekday(t)} {_stamp(t)} {_zone(t)} {t.year:04}",
    "rubydate": lambda t: f"{_weekday(t)} {_month(t)} {t.day:02} {_hms(t)} {_offset(t)} {t.year:04}",
    "rfc822": lambda t: f"{_rfc822(t)} {_zone(t)}",
    "rfc822z": lambda t: f"{_rfc822(t)} {_offset(t)}",
    "rfc850": _rfc850,
    "rfc1123": lambda t: f"{_rfc1123(t)} {_zone(t)}",
    "rfc1123z": lambda t: f"{_rfc1123(t)} {_offset(t)}",
    "rfc3339": _rfc3339,
    "rfc3339nano": _rfc3339nano,
    "kitchen": lambda t: f"{t.hour % 12 or 12}:{t.minute:02}{'AM' if t.hour < 12 else 'PM'}",
    "stamp": _stamp,
    "stampmilli": lambda t: f"{_stamp(t)}.{t.microsecond // 1000:03}",
    "stampmicro": lambda t: f"{_stamp(t)}.{t.microsecond:06}",
    "stampnano": lambda t: f"{_stamp(t)}.{t.microsecond:06}000",
}
