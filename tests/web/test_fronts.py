"""A package is imported from without its own code, until somebody asks for what only that defines."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.web.fronts import leave_unopened


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "unopened_for_this_test"
    home = tmp_path / name
    home.mkdir()
    (home / "__init__.py").write_text(f"from {name}.part import Thing\nopened = True\n", encoding="utf-8")
    (home / "part.py").write_text("class Thing: pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        del sys.modules[module]


def opened(package: str) -> bool:
    return "opened" in vars(sys.modules[package])


def test_a_module_of_it_is_imported_without_it(package: str) -> None:
    leave_unopened(package)

    assert importlib.import_module(f"{package}.part").Thing
    assert not opened(package)


def test_a_name_whose_home_is_known_leaves_it_unopened(package: str) -> None:
    leave_unopened(package, Thing=f"{package}.part")

    found = importlib.import_module(package).Thing
    assert found is importlib.import_module(f"{package}.part").Thing
    assert not opened(package)


def test_any_other_name_opens_it(package: str) -> None:
    leave_unopened(package)

    module = importlib.import_module(package)
    assert module.Thing is importlib.import_module(f"{package}.part").Thing
    assert opened(package)
    with pytest.raises(AttributeError):
        module.nothing  # noqa: B018


def test_one_that_was_imported_before_stays(package: str) -> None:
    before = importlib.import_module(package)
    leave_unopened(package)

    assert sys.modules[package] is before
    assert opened(package)


def test_one_that_is_not_there_is_missed_by_who_wants_it() -> None:
    leave_unopened("no_such_package_anywhere")

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_package_anywhere")
