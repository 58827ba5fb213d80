"""Every test with real sockets and processes runs on both event loops."""

from both_loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
