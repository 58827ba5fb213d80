"""The store as a library: what docs/log-store.md shows does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "log-store.md"


def test_the_example_of_the_documentation() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1]], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "line 0 stdout INFO first line",
        "line 0 stderr ERROR ERROR: second line",
        "third line",
        "['third line']",
    ]


def test_what_is_exported() -> None:
    import hostler.logs

    assert {name: getattr(hostler.logs, name).__name__ for name in hostler.logs.__all__} == {
        name: name for name in hostler.logs.__all__
    }
    with pytest.raises(AttributeError):
        _ = hostler.logs.Nothing
