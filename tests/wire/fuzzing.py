"""Requests gone wrong: seeded, so that a case that fails can be had again.

`HOSTLER_FUZZ_CASES` asks for more cases than a test run has time for, `HOSTLER_FUZZ_SEED` for others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

CASES = int(os.environ.get("HOSTLER_FUZZ_CASES", "3000"))
SEED = int(os.environ.get("HOSTLER_FUZZ_SEED", "1"))

EVIL = b"GET /x?id=666 HTTP/1.1\r\nhost: x\r\n\r\n"
PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"%", b"\x80", b"\xff", b"0", b"-", b"+",
    b"\r\n\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b"\x0b", b"\x0c", b"#", b"?", b"//", b"..", b"http://h/",
    b"content-length: 5\r\n", b"Content-Length: 0\r\n", b"content-length : 5\r\n",
    b"content-length: 5, 5\r\n",
    b"transfer-encoding: chunked\r\n", b"transfer-encoding: identity\r\n", b"transfer-encoding:\tchunked\r\n",
    b"transfer-encoding: chunked, gzip\r\n", b"transfer-encoding: xchunked\r\n", b"transfer-encoding:\r\n",
    b"connection: close\r\n", b"connection: keep-alive\r\n", b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"expect: 100-continue\r\n", b"trailer: content-length\r\n", b"host: y\r\n",
    b"x: " + b"y" * 300 + b"\r\n",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"fffffffffffffffff\r\n", b"7fffffff\r\n",
    b"-1\r\n", b"0x5\r\n", b"5 ;a\r\n", b"5;" + b"a" * 300 + b"\r\n", b" 5\r\n", b"HTTP/1.0", b"HTTP/2.0",
    b"HTTP/1.1", b"GET", b"POST", b"CONNECT", b"PRI", EVIL,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What one connection sends, in these pieces; `number` and the seed make it again."""

    number: int
    packets: tuple[bytes, ...]

    @property
    def whole(self) -> bytes:
        return b"".join(self.packets)


def valid(number: int, dice: random.Random, path: str = "/x") -> bytes:
    """A good request that carries `number`."""
    target = f"{path}?id={number}".encode()
    body = dice.choice((b"", b"hello", EVIL, bytes(dice.randrange(256) for _ in range(dice.randrange(40)))))
    end = b" HTTP/1.1\r\nhost: x\r\naccept: */*\r\n"
    kind = dice.randrange(3)
    if kind == 0:
        return b"GET " + target + end + b"\r\n"
    if kind == 1:
        return b"POST " + target + end + b"content-length: %d\r\n\r\n" % len(body) + body
    chunks = [body[: len(body) // 2], body[len(body) // 2 :]]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return b"POST " + target + end + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def mutated(data: bytes, dice: random.Random, pieces: Sequence[bytes] = PIECES) -> bytes:
    """`data` after one to three accidents."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data) + 1)
        length = dice.choice((1, 1, 1, 2, 5, 20))
        match dice.randrange(7):
            case 0:
                data = data[:at] + data[at + length :]
            case 1:
                data = data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
            case 2:
                data = data[:at] + dice.choice(pieces) + data[at:]
            case 3:  # where it hurts: at the beginning of a line
                lines = data.split(b"\r\n")
                lines[dice.randrange(len(lines))] += b"\r\n" + dice.choice(pieces).removesuffix(b"\r\n")
                data = b"\r\n".join(lines)
            case 4:
                data = data[:at] + data[at : at + length] * 2 + data[at + length :]
            case 5 if at < len(data):
                data = data[:at] + bytes((data[at] ^ 1 << dice.randrange(8),)) + data[at + 1 :]
            case _:
                other = dice.randrange(len(data) + 1)
                data = data[:at] + data[other : other + length] + data[at:]
    return data


def case(number: int, path: str = "/x") -> Case:
    """Three requests, of which the second went wrong, cut into packets."""
    dice = random.Random(f"{SEED}/{number}")
    whole = valid(1, dice, path) + mutated(valid(2, dice, path), dice) + valid(3, dice, path)
    cuts = sorted(dice.randrange(len(whole)) for _ in range(dice.choice((0, 0, 1, 3))))
    packets = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return Case(number, tuple(packet for packet in packets if packet))
