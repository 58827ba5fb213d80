"""Command lines written for llama-swap, turned into ours. Pure.

Its flags have one dash (two are accepted as well), take their value after a space or `=`, and its booleans
may carry `=true` or `=false`. There is no subcommand: the bare flags mean `serve`.
"""

from __future__ import annotations

from hostler.cli.outcome import UsageError

VALUED = frozenset({"config", "config-dir", "listen", "tls-cert-file", "tls-key-file"})
SWITCHES = frozenset({"watch-config"})
VERSION = frozenset({"version"})

# The words Go's strconv.ParseBool knows.
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def translate(argv: list[str]) -> list[str]:
    """`argv` with llama-swap's spellings replaced; anything else comes back unchanged."""
    if not argv:
        return argv
    if argv[0] == "serve":
        return ["serve", *_flags(argv[1:])]
    if _name(argv[0]) in VALUED | SWITCHES | VERSION:
        translated = _flags(argv)
        return ["version"] if "--version" in translated else ["serve", *translated]
    return argv


def _name(word: str) -> str:
    """The flag that `word` spells, without dashes and value; empty when it is not a flag."""
    if not word.startswith("-"):
        return ""
    return word.removeprefix("-").removeprefix("-").partition("=")[0]


def _flags(words: list[str]) -> list[str]:
    result: list[str] = []
    rest = iter(words)
    for word in rest:
        name = _name(word)
        _, equals, value = word.partition("=")
        if name in VALUED:
            result.append(f"--{name}{equals}{value}")
            if not equals:
                result.extend(taken for taken in [next(rest, None)] if taken is not None)
        elif name in SWITCHES:
            if not equals or _truth(name, value):
                result.append(f"--{name}")
        elif name in VERSION:
            result.append(f"--{name}")
        else:
            result.append(word)
    return result


def _truth(name: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(f"-{name} is either true or false, not {value!r}")
