"""A fake Hostler for the commands that ask one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fake_api import FakeApi, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A fake Hostler that the commands find by themselves."""
    monkeypatch.delenv("HOSTLER_API_KEY", raising=False)
    with serving() as fake:
        monkeypatch.setenv("HOSTLER_URL", fake.url)
        yield fake
