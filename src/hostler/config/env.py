"""`${env.NAME}`: values of environment variables, put into scalars after YAML was parsed.

In the text, a reference is first replaced by a stand-in of the same length made of private-use characters,
because `{` has a meaning in YAML: `[${env.KEY}]` would not parse. Nothing the value contains can then be
mistaken for YAML, and columns stay right.

A value may use macros (`${PORT}`), as it may in llama-swap. A `${…}` in it that is no macro of the
configuration is just text; it is sealed until the end, so that it is neither expanded nor reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from hostler.config.problems import Mark, Report

_REFERENCE = re.compile(r"\$\{(env\.[a-zA-Z_][a-zA-Z0-9_]*)\}")
_STAND_IN = re.compile("\ue000\ue001env\\.([a-zA-Z_][a-zA-Z0-9_]*)\ue002")
_SEAL = "\ue003\ue004"
_SEALED = re.compile(_SEAL + r"([a-zA-Z0-9_-]+)\}")
_FORBIDDEN = re.compile(r"[\n\r\0]")


def prepare(text: str) -> str:
    """The text of a source with its references made safe for a YAML parser."""
    return _REFERENCE.sub("\ue000\ue001\\1\ue002", text) if "${env." in text else text


def readable(text: str) -> str:
    """Undo `prepare`, for what is shown to people."""
    return text.replace("\ue000\ue001", "${").replace("\ue002", "}") if "\ue000" in text else text


def unseal(text: str) -> str:
    """The text as it is meant in the end."""
    return text.replace(_SEAL, "${") if _SEAL in text else text


def open_macros(text: str, names: Collection[str]) -> str:
    """Let the references to known macros take part in expansion."""
    if _SEAL not in text:
        return text
    return _SEALED.sub(lambda m: f"${{{m[1]}}}" if m[1] in names else m[0], text)


class Environment:
    """The variables of one parse and the values that were used, which are secrets from then on."""

    __slots__ = ("_environ", "_report", "sealed", "secrets")

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self._environ = environ
        self._report = report
        self.secrets: set[str] = set()
        self.sealed = False
        """Whether some value contains `${`."""

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
                mark, path, f"environment variable '{name}' contains newlines or null bytes", "use one line"
            )
            return ""
        value = value.encode("utf-8", "replace").decode()
        if "${" not in value:
            return value
        self.sealed = True
        return _REFERENCE.sub(self._inner, value).replace("${", _SEAL)

    def _inner(self, match: re.Match[str]) -> str:
        """A reference inside a value: one level is looked up, as llama-swap does; unknown ones are text."""
        name = match[1].removeprefix("env.")
        value = self._environ.get(name)
        if value is None or _FORBIDDEN.search(value):
            return match[0]
        self.secrets.add(value)
        return value
