"""Who holds a port? Asked before an engine starts, so that a stranger is not taken for the model."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECT_TIMEOUT: Final = 0.5
"""On loopback an answer takes microseconds; only a listener with a full backlog needs longer."""
RETRY_PAUSE: Final = 0.025
"""Between looks at a port that the previous run may be just releasing."""
LISTEN: Final = "0A"
COMMAND_LIMIT: Final = 200
"""Characters of a stranger's command line that go into an error."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens at a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def is_free(port: int) -> bool:
    """Whether a program on this machine could listen at `port` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # there it would let two programs share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def answers(address: str, port: int) -> bool:
    """Whether somebody listens at this loopback address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(client, (address, port))
            return True
    except TimeoutError:
        return True
    except OSError:
        return False


async def held(addresses: Iterable[str], port: int, patience: float) -> bool:
    """Whether one of the addresses is still answered when `patience` seconds are over."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    addresses = tuple(addresses)
    while True:
        for address in addresses:
            if await answers(address, port):
                break
        else:
            return False
        if loop.time() >= until:
            return True
        await asyncio.sleep(RETRY_PAUSE)


def holder(port: int) -> Holder | None:
    """The process that listens at `port`, where the system lets us see it (Linux, our own user's)."""
    if sys.platform != "linux":
        return None
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process / "fd", wanted):
            return Holder(int(process.name), _command(process))
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holds(descriptors: Path, wanted: set[str]) -> bool:
    try:
        entries = list(os.scandir(descriptors))
    except OSError:
        return False  # another user's, or gone
    for entry in entries:
        try:
            if os.readlink(entry.path) in wanted:  # noqa: PTH115 - thousands of them; plain strings do
                return True
        except OSError:
            continue
    return False


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        return words.decode("utf-8", "replace")[:COMMAND_LIMIT] or "?"
    except OSError:
        return "?"
