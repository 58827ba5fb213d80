"""Everything that awaits is tested on both event loops."""

from __future__ import annotations

from both_loops import pytest_asyncio_loop_factories  # noqa: F401 - a hook
