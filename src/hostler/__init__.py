"""Hostler: one port for all your local models.

It starts the inference server a request asks for, stops the ones that must make room, waits until it is
ready, streams the answer through, and keeps a log of every process that can be trusted.
"""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    # Looked up when asked for: the machinery costs 30 ms, and engines import this package too.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hostler")
    except PackageNotFoundError:  # a source tree on PYTHONPATH that was never installed
        return "0+unknown"
