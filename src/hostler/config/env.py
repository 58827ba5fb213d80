"""`${env.NAME}`: values of environment variables, put into scalars after YAML was parsed.

In the text, a reference is first replaced by a stand-in of the same length made of private-use characters,
because `{` has a meaning in YAML: `[${env.KEY}]` would not parse. Nothing the value contains can then be
mistaken for YAML, and columns stay right.

A value arrives as it is. What looks like a macro in it (`${PORT}`) is text, and so is `${env.OTHER}`: the
`${` of a value is sealed until the end, so that it is neither expanded nor reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hostler.config.problems import Mark, Report

_REFERENCE = re.compile(r"\$\{(env\.[a-zA-Z_][a-zA-Z0-9_]*)\}")
_STAND_IN = re.compile("\ue000\ue001env\\.([a-zA-Z_][a-zA-Z0-9_]*)\ue002")
_SEALER = "\ue003"
_SEAL = _SEALER + "\ue004"
_SEALED_SEALER = _SEALER + "\ue005"
_FORBIDDEN = re.compile(r"[\n\r\0]")


def prepare(text: str) -> str:
    """The text of a source with its references made safe for a YAML parser."""
    return _REFERENCE.sub("\ue000\ue001\\1\ue002", text) if "${env." in text else text


def readable(text: str) -> str:
    """Undo `prepare`, for what is shown to people."""
    return text.replace("\ue000\ue001", "${").replace("\ue002", "}") if "\ue000" in text else text


def seal(value: str) -> str:
    """A value in which nothing is a reference."""
    return seal_sealer(value).replace("${", _SEAL)


def seal_sealer(text: str) -> str:
    """A text of the file in which references stay, and nothing looks like a seal."""
    return text.replace(_SEALER, _SEALED_SEALER)


def unseal(text: str) -> str:
    """The text as it is meant in the end."""
    if _SEALER not in text:
        return text
    return text.replace(_SEAL, "${").replace(_SEALED_SEALER, _SEALER)


class Environment:
    """The variables of one parse and the values that were used, which are secrets from then on."""

    __slots__ = ("_environ", "_report", "secrets")

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self._environ = environ
        self._report = report
        self.secrets: set[str] = set()

    def substitute(self, text: str, mark: Mark, path: str) -> tuple[str, bool]:
        """`text` with values for references, and whether there were any."""
        if "\ue000" not in text:
            return text, False
        count = 0

        def value(match: re.Match[str]) -> str:
            nonlocal count
            count += 1
            return self._value(match[1], mark, path)

        return _STAND_IN.sub(value, text), count > 0

    def _value(self, name: str, mark: Mark, path: str) -> str:
        value = self._environ.get(name)
        if value is None:
            self._report.error(
                mark, path, f"environment variable '{name}' is not set", "set it, or remove the reference"
            )
            return ""
        self.secrets.add(value)
        if _FORBIDDEN.search(value):
            self._report.error(
                mark,
                path,
                f"environment variable '{name}' contains newlines or null bytes",
                "it must be one line",
            )
            return ""
        return seal(value.encode("utf-8", "replace").decode())
