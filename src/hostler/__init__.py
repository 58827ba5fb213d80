"""Hostler: one port for all your local models.

It starts the inference server a request asks for, stops the ones that must make room, waits until it is
ready, streams the answer through, and keeps a log of every process that can be trusted.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hostler")
except PackageNotFoundError:  # a source tree on PYTHONPATH that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
