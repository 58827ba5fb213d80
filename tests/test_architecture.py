"""Imports point one way, and the pure cores stay pure."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import hostler

ROOT = Path(__file__).parent.parent
SOURCE = Path(hostler.__file__).parent

# What a pure module may not even name. import-linter holds the same for the modules it can list; here are
# those that are pure by rule rather than by name.
IMPURE = frozenset(
    {
        "asyncio",
        "http",
        "multiprocessing",
        "selectors",
        "shutil",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "urllib.request",
    }
)
FILES = frozenset({"io", "os"})  # pathlib names things; what looks at them is in LOOKS
LOOKS = frozenset({"open", "exists", "is_dir", "is_file", "iterdir", "glob", "read_bytes", "read_text"})

PURE_CONFIG = sorted(
    path
    for path in (SOURCE / "config").glob("*.py")
    if path.name not in {"load.py", "watch.py", "__init__.py"}
)
PURE_CLI = [SOURCE / "cli" / f"{name}.py" for name in ("address", "adhoc", "goflags", "parser")]


def imported(path: Path) -> set[str]:
    """Every module `path` imports while it runs (imports for type checkers alone do not count)."""
    found: set[str] = set()
    for node in _runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _runtime_nodes(tree: ast.AST) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        nodes.append(child)
        nodes.extend(_runtime_nodes(child))
    return nodes


def test_contracts_hold() -> None:
    """`lint-imports` finds nothing."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run(
        [sys.executable, "-c", program, "--config", ".importlinter", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_part_has_its_place() -> None:
    """A new package or module at the top appears in the contracts."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    named = (
        " ".join(
            contracts[section][key]
            for section in contracts.sections()
            for key in ("layers", "source_modules")
            if key in contracts[section]
        )
        .replace("(", " ")
        .replace(")", " ")
        .split()
    )
    parts = {
        f"hostler.{path.stem}"
        for path in SOURCE.iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    } - {"hostler.__init__", "hostler.__main__", "hostler.testing"}  # testing may import what it tests

    assert parts - set(named) == set()


@pytest.mark.parametrize("path", PURE_CONFIG + PURE_CLI, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_pure_modules_touch_nothing(path: Path) -> None:
    """Configuration (but for load.py and watch.py) and the pure parts of the command line do no I/O."""
    calls = {
        node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }

    assert imported(path) & (IMPURE | FILES) == set()
    assert calls & LOOKS == set()


def test_only_web_knows_the_server() -> None:
    """uvicorn and Starlette are named in hostler.web and nowhere else."""
    users = {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        if any(name.split(".")[0] in {"uvicorn", "starlette"} for name in imported(path))
    }

    assert users <= {"web"}
