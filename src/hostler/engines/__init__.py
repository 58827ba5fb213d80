"""Engines that ship with Hostler, each an ordinary child process run with `python -m`."""
