"""Every test with real sockets and processes runs on both event loops."""

# pytest rewrites our modules while it imports them, and CPython 3.11 loses count of its recursion when two
# threads do that at once (a SystemError): what is otherwise imported when it is needed, by threads, is here.
import pytest

import hostler.metrics.database
import hostler.metrics.writer
import hostler.web.own
from both_loops import pytest_asyncio_loop_factories

__all__ = ["hostler", "pytest_asyncio_loop_factories"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the two ways in `lane`, the one that others test as well is not tested on both loops."""
    twice = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("lane") == "as a task"
        and item.callspec.id.startswith("asyncio")
    ]
    if twice:
        config.hook.pytest_deselected(items=twice)
        items[:] = [item for item in items if item not in set(twice)]
