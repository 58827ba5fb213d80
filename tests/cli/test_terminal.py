"""Tables, durations, and text that is safe to show."""

from __future__ import annotations

import io

import pytest

from hostler.cli.terminal import ERASE, StatusLine, duration, plain, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "-"),
        (0, "0.0s"),
        (9.94, "9.9s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86_400 * 3 + 3600 * 4, "3d04h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain é 模型", "plain é 模型"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\tb\rc\x00d\x9b2J", "a bcd2J"),
        ("cut \x1b[", "cut "),
        ("cut \x1b", "cut "),
    ],
)
def test_plain(raw: str, shown: str) -> None:
    assert plain(raw) == shown


def test_table_sets_numbers_flush_right() -> None:
    assert table(("A", "N"), [("x", "1"), ("long", "200")], right={"N"}) == (
        "A       N\nx       1\nlong  200\n"
    )


def test_status_line_never_wraps() -> None:
    screen = io.StringIO()
    line = StatusLine(screen, columns=10)

    line.show("x" * 50)
    line.show("y\nz")
    line.clear()

    assert screen.getvalue() == f"{ERASE}| xxxxxxx{ERASE}/ yz{ERASE}"
