"""Hostler: one port for all your local models.

It starts the inference server a request asks for, stops the ones that must make room, waits until it is
ready, streams the answer through, and keeps a log of every process that can be trusted.
"""

__all__ = ["__version__"]

# The one place that says it; the build reads it from here. Looking it up in the installed package would cost
# 20 ms and 1.5 MB.
__version__ = "0.1.0"
