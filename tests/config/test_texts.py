"""What must hold: URLs are taken as Go takes them, expressions as RE2 does, hints name what was meant."""

from __future__ import annotations

import re

import pytest

from hostler.config.kinds import parse_duration
from hostler.config.problems import MAX_PROBLEMS, Mark, Problem, Report, nearest
from hostler.config.texts import compile_re2, url_problem


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "http://h",
        "http://h:",
        "http://h:80/p?q#f",
        "https://u:p@h",
        "http://[::1]:80",
        "http://[fe80::1%25en0]/",
        "h/p",
        "localhost:80",
        "unix:///run/x.sock",
        "http://ü",
        "http:///x",
        "http://h/%20",
        "mailto:a",
        "?q",
        "//h",
    ],
)
def test_urls(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:80",
        ":80",
        "http://h:x",
        "http://a b",
        "http://h/%",
        "http://h/%zz",
        "http://[::1",
        "http://h\n",
        "http://a<b",
        "http://[::1]x",
        "http://h%zz",
        "a b:c",
        "http://[fe80::1%en0]/",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    assert url_problem(url)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"\.(js|css)$", "/a.js", True),
        (r"a$", "a\n", False),
        (r"^/a\z", "/a", True),
        (r"\Qa.b\E+", "a.bb", True),
        (r"\Qa.b", "axb", False),
        (r"[[:digit:]x]+$", "1x2", True),
        (r"[^[:alpha:]]", "a", False),
        (r"[]a]", "]", True),
        (r"[a[]", "[", True),
        (r"\x{41}", "A", True),
        (r"(?i)ABC", "abc", True),
        (r"x(?i)ABC", "xabc", True),
        (r"x(y(?i)A)B", "xyab", False),
        (r"(?P<n>a)", "a", True),
        (r"\d", "٣", False),
        (r"a\$", "a$", True),
    ],
)
def test_expressions(pattern: str, text: str, found: bool) -> None:
    assert bool(compile_re2(pattern).search(text)) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "a)",
        "[",
        "*",
        "a**",
        r"(?=a)",
        r"(?!a)",
        r"(?<=a)",
        r"(?<!a)",
        r"(a)\1",
        "a*+",
        "(?>a)",
        r"\Z",
        "[[:nope:]]",
        "a{2}+",
        r"\x{110000}",
        "(" * 5000,
        "x" * 20000,
    ],
)
def test_expressions_that_are_none(pattern: str) -> None:
    with pytest.raises(re.error):
        compile_re2(pattern)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("15s", 15),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5m", 30),
        ("300ms", 0.3),
        ("2us", 2e-6),
        ("1µs", 1e-6),
        ("-5s", -5),
        ("+5s", 5),
        ("5", None),
        ("", None),
        ("s", None),
        ("5 s", None),
        ("5d", None),
        ("9999999999h", None),
        ("1e3s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    found = parse_duration(text)

    assert found is None if seconds is None else found == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("healthcheckTimeout", "healthCheckTimeout"),
        ("health_check_timeout", "healthCheckTimeout"),
        ("tll", "ttl"),
        ("zzz", None),
    ],
)
def test_nearest(name: str, expected: str | None) -> None:
    assert nearest(name, ["healthCheckTimeout", "ttl", "cmd"]) == expected


def test_a_problem_reads_well() -> None:
    problem = Problem("error", "config.yaml", 12, 5, "models.llama.ttl", "must be >= -1", "use 0 for never")

    assert str(problem) == "config.yaml:12:5: models.llama.ttl: must be >= -1 (use 0 for never)"
    assert str(Problem("error", "f", 0, 0, "", "m")) == "f: m"
    assert str(Problem("error", "", 0, 0, "", "m")) == "m"


def test_a_report_has_an_end_but_never_loses_that_there_is_an_error() -> None:
    report = Report()
    for line in range(MAX_PROBLEMS + 5):
        report.warn(Mark("f", line + 1, 1), "", f"w{line}")
    report.error(Mark("f", 9999, 1), "", "wrong")

    found = report.finish(["f"], str)

    assert len(found) == MAX_PROBLEMS + 1
    assert "6 more problems" in found[-1].message
    assert any(p.severity == "error" for p in found)
