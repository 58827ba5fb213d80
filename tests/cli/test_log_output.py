"""Records as they are shown: on a terminal that is safe from them, and elsewhere as whole lines."""

from __future__ import annotations

import io
from typing import Any

import pytest

from hostler.cli.log_output import BEGIN, Text
from hostler.cli.terminal import only_colours, size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def line(text: str, model: str = "a", stream: str = "stdout", **more: Any) -> dict[str, Any]:
    return {"kind": "line", "model": model, "stream": stream, "text": text, **more}


def shown(out: io.StringIO, sources: list[str], *records: dict[str, Any]) -> str:
    text = Text(out, sources)
    for record in records:
        text(record)
    text.close()
    return out.getvalue()


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


PARTS = [line("Loading 10%", partial=True), line("Loading 50%", partial=True, redrawn=True), line(" done")]


def test_elsewhere_a_line_is_whole() -> None:
    assert shown(io.StringIO(), ["a"], *PARTS, line("next")) == "Loading 50% done\nnext\n"
    assert shown(io.StringIO(), ["a"], *PARTS[:2]) == "Loading 50%\n"
    assert shown(io.StringIO(), ["a", "b"], PARTS[0], line("b1", "b")) == "[b] b1\n[a] Loading 10%\n"


def test_all_engines_are_several() -> None:
    assert shown(io.StringIO(), ["upstream"], line("1"), line("2", "b")) == "[a] 1\n[b] 2\n"
    assert shown(io.StringIO(), [], line("1")) == "[a] 1\n"


def test_times_are_shown_where_they_are_wanted() -> None:
    text = Text(out := io.StringIO(), ["a", "b"], times=True)
    text(line("1", time="2026-01-01T00:00:00.001Z"))
    assert out.getvalue() == "2026-01-01T00:00:00.001Z [a] 1\n"


def test_a_line_that_was_cut_off_is_shown_before_the_exit() -> None:
    end = {"kind": "exit", "model": "a", "exit": "exit code 1"}
    assert shown(io.StringIO(), ["a"], PARTS[0], end, line("next")) == "Loading 10%\nnext\n"


def test_on_a_terminal_a_line_is_shown_as_it_grows() -> None:
    assert shown(Terminal(), ["a"], *PARTS) == f"Loading 10%{BEGIN}Loading 50% done\n"


def test_lines_of_others_do_not_get_into_it() -> None:
    told = shown(Terminal(), ["a"], PARTS[0], line("oops", stream="stderr"), line(" 20%"))
    assert told == "Loading 10%\noops\nLoading 10% 20%\n"


def test_prefixes_have_colours_on_a_terminal() -> None:
    told = shown(Terminal(), ["a", "bb"], line("1"), line("2", "bb"), line("3"))
    assert told == "\x1b[36ma\x1b[0m | 1\n\x1b[33mbb\x1b[0m | 2\n\x1b[36ma \x1b[0m | 3\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nobody_gets_colours_who_wants_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    gap = {"kind": "gap", "model": "a", "missed": 3}
    told = shown(Terminal(), ["a", "b"], line("\x1b[31m1\x1b[0m"), gap)
    assert told == "a | 1\na | [hostler] gap: 3 bytes missed\n"


def test_a_terminal_is_told_of_runs_and_why_they_failed() -> None:
    end = {
        "kind": "exit",
        "model": "a",
        "run": 2,
        "exit": "exit code 1",
        "cause": {"message": "no \x1b[2J memory"},
    }
    told = shown(Terminal(), ["a"], {"kind": "start", "model": "a", "run": 2, "reason": "api"}, end)
    assert "run 2 started: api" in told
    assert "run 2 ended: exit code 1: no  memory" in told


def test_engines_may_colour_a_terminal_and_no_more() -> None:
    assert only_colours("\x1b[31mred\x1b[2J\x07") == "\x1b[31mred\x1b[0m"
    assert only_colours("plain\x1b]0;title\x07") == "plain"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1400, "1.4 kB"),
        (31_000_000, "31.0 MB"),
        (2 * 10**14, "200 TB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text
