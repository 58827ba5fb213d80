"""Every test with real sockets and processes runs on both event loops."""

# pytest rewrites our modules while it imports them, and CPython 3.11 loses count of its recursion when two
# threads do that at once (a SystemError): what is otherwise imported when it is needed, by threads, is here.
import hostler.metrics.database
import hostler.metrics.writer
import hostler.web.own
from both_loops import pytest_asyncio_loop_factories

__all__ = ["hostler", "pytest_asyncio_loop_factories"]
