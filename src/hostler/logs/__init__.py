"""Logs that can be trusted: bytes with absolute positions, read through cursors.

A *monitor* is the log of one process, of the proxy, or of several of them together. It keeps the newest
bytes in a *ring*. A *cursor* is an epoch and a position; a *follower* reads from a cursor on, history and
live alike, and is told exactly how many bytes it missed. The writer never waits for anybody.
"""
