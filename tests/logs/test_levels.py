"""Level names, time formats, and the shape of a line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hostler.logs.levels import Level, format_line, format_time

CET = timezone(timedelta(hours=1), "CET")
BARE = timezone(timedelta(hours=-3, minutes=-30))
TIME = datetime(2026, 3, 5, 14, 7, 9, 120_000, tzinfo=CET)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("debug", Level.DEBUG),
        ("INFO", Level.INFO),
        (" Warn ", Level.WARN),
        ("warning", Level.WARN),
        ("error", Level.ERROR),
        ("loud", Level.INFO),
        ("", Level.INFO),
    ],
)
def test_parse_is_lenient(text: str, level: Level) -> None:
    assert Level.parse(text) is level


def test_levels_are_ordered() -> None:
    assert Level.DEBUG < Level.INFO < Level.WARN < Level.ERROR


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ansic", "Thu Mar  5 14:07:09 2026"),
        ("unixdate", "Thu Mar  5 14:07:09 CET 2026"),
        ("rubydate", "Thu Mar 05 14:07:09 +0100 2026"),
        ("rfc822", "05 Mar 26 14:07 CET"),
        ("rfc822z", "05 Mar 26 14:07 +0100"),
        ("rfc850", "Thursday, 05-Mar-26 14:07:09 CET"),
        ("rfc1123", "Thu, 05 Mar 2026 14:07:09 CET"),
        ("rfc1123z", "Thu, 05 Mar 2026 14:07:09 +0100"),
        ("rfc3339", "2026-03-05T14:07:09+01:00"),
        ("rfc3339nano", "2026-03-05T14:07:09.12+01:00"),
        ("kitchen", "2:07PM"),
        ("stamp", "Mar  5 14:07:09"),
        ("stampmilli", "Mar  5 14:07:09.120"),
        ("stampmicro", "Mar  5 14:07:09.120000"),
        ("stampnano", "Mar  5 14:07:09.120000000"),
        ("RFC3339", "2026-03-05T14:07:09+01:00"),
        ("", ""),
        ("iso", ""),
    ],
)
def test_time_formats(name: str, expected: str) -> None:
    assert format_time(name, TIME) == expected


def test_time_corner_cases() -> None:
    midnight = datetime(2026, 12, 31, 0, 5, tzinfo=UTC)
    assert format_time("kitchen", midnight) == "12:05AM"
    assert format_time("rfc3339", midnight) == "2026-12-31T00:05:00Z"
    assert format_time("rfc3339nano", midnight) == "2026-12-31T00:05:00Z"
    assert format_time("rfc1123", midnight) == "Thu, 31 Dec 2026 00:05:00 UTC"
    assert format_time("rfc822", midnight.astimezone(BARE)) == "30 Dec 26 20:35 -0330"
    assert format_time("rfc3339", midnight.astimezone(BARE)) == "2026-12-30T20:35:00-03:30"
    assert format_time("unixdate", midnight.replace(tzinfo=None)) == "Thu Dec 31 00:05:00 UTC 2026"


def test_line_leaves_empty_parts_out() -> None:
    assert format_line(Level.INFO, "ready") == "[INFO] ready\n"
    assert format_line(Level.WARN, "slow", "3:04PM") == "3:04PM [WARN] slow\n"
    assert format_line(Level.ERROR, "gone", prefix="fleet") == "[fleet] [ERROR] gone\n"
    assert format_line(Level.DEBUG, "x", "t", "p") == "t [p] [DEBUG] x\n"
