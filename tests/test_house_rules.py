"""Rules of this house that no linter knows."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hostler
from hostler import errors
from hostler.cli import parser

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SOURCE = Path(hostler.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
TEST_MODULES = sorted(TESTS.rglob("*.py"))

MAX_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PACKAGE_DOCSTRING = 20
GRAB_BAGS = frozenset({"utils", "util", "helpers", "helper", "common", "base", "misc"})

# Tests that may wait for the real clock, each with its reason.
MAY_SLEEP: dict[str, str] = {
    "tests/e2e/test_kill_nine.py": "the moment of death is what varies; nothing is waited for",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    """Counted from `def` to the end, without the docstring."""
    long = {
        f"{node.name}: {size}"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := _body_lines(node)) > MAX_FUNCTION_LINES
    }

    assert long == set()


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    size = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        size -= (first.end_lineno or first.lineno) - first.lineno + 1
    return size


def test_no_grab_bags() -> None:
    """A module is called after what it is about."""
    assert [name_of(path) for path in MODULES if path.stem in GRAB_BAGS] == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_package_says_what_it_is(path: Path) -> None:
    """A package's docstring defines its nouns, briefly."""
    docstring = ast.get_docstring(parse(path))

    assert docstring
    assert len(docstring.splitlines()) <= MAX_PACKAGE_DOCSTRING


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parse(path))


@pytest.mark.parametrize("path", TEST_MODULES, ids=name_of)
def test_no_test_sleeps(path: Path) -> None:
    """`sleep(0)` lets others run; anything longer is a guess about the machine."""
    if name_of(path) in MAY_SLEEP:
        return
    sleeps = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and _is_sleep(node)
    ]

    assert sleeps == []


def _is_sleep(node: ast.Call) -> bool:
    called = ast.unparse(node.func)
    if called not in {"time.sleep", "asyncio.sleep", "sleep"}:
        return False
    delay = node.args[0] if node.args else None
    return not (isinstance(delay, ast.Constant) and delay.value == 0)


def test_sleeping_tests_exist() -> None:
    """The list of exceptions holds nothing that is gone."""
    assert [name for name in MAY_SLEEP if not (ROOT / name).exists()] == []


def test_error_tree_is_drawn_as_it_is() -> None:
    """The drawing at the top of errors.py is the class tree: names, parents and statuses."""
    drawn: list[tuple[int, str, int | None]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)(?: +(\d{3})\b)?", line)
        if match:
            drawn.append((len(match[1]) // 4, match[2], int(match[3]) if match[3] else None))

    assert drawn == list(_tree(errors.HostlerError, 0))


def _tree(cls: type[errors.HostlerError], depth: int) -> Iterator[tuple[int, str, int | None]]:
    yield depth, cls.__name__, cls.status if depth else None
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every parser by the command it belongs to."""
    top = parser.build()
    result = {"": top}
    for action in top._actions:  # argparse shows what it was told in no other way
        if isinstance(action, argparse._SubParsersAction):
            result.update(action.choices)
    return result


@pytest.mark.parametrize("command", commands())
def test_docs_name_every_flag(command: str) -> None:
    """docs/cli.md has a heading for each command, and each flag below it."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    heading = f"## hostler {command}".rstrip()
    sections = dict(re.findall(r"^(## hostler[^\n]*)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    assert heading in sections

    flags = {
        option
        for action in commands()[command]._actions
        for option in action.option_strings
        if option not in {"-h", "--help"} and not (command and option in {"--url", "--api-key"})
    }
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", sections[heading]))

    assert flags - shown == set()


def test_every_flag_has_help() -> None:
    silent = [
        f"{command} {'/'.join(action.option_strings)}"
        for command, grammar in commands().items()
        for action in grammar._actions
        if action.option_strings and not action.help
    ]

    assert silent == []
