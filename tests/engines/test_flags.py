"""The machinery of flags, without any engine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hostler.engines.flags import (
    FlagError,
    Group,
    Words,
    apply,
    choice,
    comma_list,
    file_text,
    help_text,
    json_object,
    number,
    pair,
    read,
    real,
    special,
    spellings,
    switch,
    text,
    to,
)

COLOURS = Words("colour", {"red": "COLOUR_RED"})
TABLE = (
    Group(
        "Some",
        (
            number("-c --ctx-size", "deep.size", "How much."),
            number("--share", "share", "A part.", real),
            text("-n --name", "name", "A name."),
            switch("--loud", "loud", "Say more."),
            *pair("-b --batching", "batching", "Together."),
            choice("--colour", "colour", "Which.", COLOURS),
            special(
                "--flash", to("flash"), "Quick.", str, metavar="on|off", implied="on", bare=("on", "off")
            ),
        ),
    ),
)


def settings_of(*argv: str) -> list[tuple[str, object]]:
    return [(setting.flag.name, setting.value) for setting in read(argv, TABLE)]


def test_reads_in_order() -> None:
    assert settings_of("-c", "5", "--share", "0.5", "--loud", "--name", "-x", "--no-batching") == [
        ("--ctx-size", 5),
        ("--share", 0.5),
        ("--loud", True),
        ("--name", "-x"),
        ("--no-batching", False),
    ]


def test_value_after_equals_sign() -> None:
    assert settings_of("--ctx-size=7", "--name=a=b") == [("--ctx-size", 7), ("--name", "a=b")]


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        (["--flash"], ["on"]),
        (["--flash", "off"], ["off"]),
        (["--flash", "--loud"], ["on", True]),
        (["--loud", "--flash"], [True, "on"]),
    ],
)
def test_value_that_may_be_left_out(argv: list[str], values: list[object]) -> None:
    assert [value for _, value in settings_of(*argv)] == values


@pytest.mark.parametrize("spelling", ["-nob", "-no-b", "--no-batching"])
def test_pair_has_every_opposite(spelling: str) -> None:
    assert settings_of(spelling) == [("--no-batching", False)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--ctx-siz", "error: invalid argument: --ctx-siz\ndid you mean --ctx-size?"),
        ("--ctx_size", "error: invalid argument: --ctx_size\ndid you mean --ctx-size?"),
        ("--ctxsize=4", "error: invalid argument: --ctxsize=4\ndid you mean --ctx-size?"),
        ("--loud=1", "error: invalid argument: --loud=1\ndid you mean --loud?"),
        ("--wholly-unlike", "error: invalid argument: --wholly-unlike\n--help lists what this engine takes"),
        ("stray", "error: invalid argument: stray\n--help lists what this engine takes"),
    ],
)
def test_unknown_flag(word: str, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        settings_of("--loud", word)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-c"], "error: -c needs a value (N)"),
        (["-c", "many"], "error: invalid value for -c: 'many' (a whole number is wanted)"),
        (["--share", "x"], "error: invalid value for --share: 'x' (a number is wanted)"),
        (["--colour", "sad"], "error: invalid value for --colour: 'sad' (one of red)"),
    ],
)
def test_wrong_value(argv: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        settings_of(*argv)

    assert str(caught.value) == message


def test_apply_writes_what_was_asked() -> None:
    params = SimpleNamespace(deep=SimpleNamespace(size=0), loud=False, colour=None)
    native = SimpleNamespace(colour=SimpleNamespace(COLOUR_RED="the red"))

    apply(read(["-c", "3", "--loud", "--colour", "red"], TABLE), params, native)

    assert (params.deep.size, params.loud, params.colour) == (3, True, "the red")


def test_apply_says_what_was_refused() -> None:
    with pytest.raises(FlagError, match=r"error: --ctx-size 3 was refused: .*deep"):
        apply(read(["-c", "3"], TABLE), object(), None)


def test_one_spelling_belongs_to_one_flag() -> None:
    twice = (Group("Twice", (switch("--a", "a", ""), switch("--a --b", "b", ""))),)

    with pytest.raises(ValueError, match="--a is in the table twice"):
        spellings(twice)


def test_help_shows_every_flag() -> None:
    page = help_text("usage: it", TABLE)

    assert page.startswith("usage: it\n\nSome:\n  -c, --ctx-size N\n        How much.\n")
    assert all(name in page for name in spellings(TABLE))


def test_readers(tmp_path: Path) -> None:
    file = tmp_path / "template"
    file.write_text("hello", encoding="utf-8")

    assert file_text(str(file)) == "hello"
    assert comma_list("a, b,,c") == ["a", "b", "c"]
    assert json_object('{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("value", ["[1]", "{", ""])
def test_json_that_is_no_object(value: str) -> None:
    with pytest.raises(ValueError, match="a JSON object is wanted"):
        json_object(value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")

    with pytest.raises(ValueError, match="cannot be read: No such file"):
        file_text(str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="cannot be read: it is not UTF-8"):
        file_text(str(tmp_path / "binary"))
