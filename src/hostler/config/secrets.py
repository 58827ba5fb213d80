"""Which values are secret, and the one function that hides them. Pure.

Secret are API keys, whatever else the file declares as such (keys for peers, headers for telemetry), and
every value that came from `${env.NAME}`. They are hidden by what they are, not by where they stand, so that a
value is hidden in a command line, in an error and in a log alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Self
from urllib.parse import quote, quote_plus

MASK: Final = "***"

SHORT: Final = 4
"""Characters below which a value occurs in texts by accident: `on` in `one`, `60` in `1600`."""

_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "none"})

_ALONE = r"(?<![\w.]){}(?!\w|\.\w)"
_ALONE_IN_PROSE = r"(?<![\w.\[]){}(?!\w|\.\w)"
"""A number is not hidden where it is the index in `apiKeys[12]`: that is no value of the file."""


class Secrets(frozenset[str]):
    """The secret values of a configuration, with the expressions that find them made once.

    `keys` are hidden wherever they occur, however short they are. `values`, which came from the environment,
    too, but those of fewer than four characters only where they stand alone: a variable that holds `60` would
    shred every text otherwise. Not secret among them are words such as `true`, and single characters.
    """

    __slots__ = ("_anywhere", "_prose")

    _anywhere: re.Pattern[str] | None
    _prose: re.Pattern[str] | None

    def __new__(cls, keys: Iterable[str] = (), values: Iterable[str] = ()) -> Self:
        written = {form for key in keys for form in (key, key.strip()) if key.strip()}
        outside = {form for value in values for form in (value, value.strip()) if _is_secret(form)}
        self = super().__new__(cls, written | outside)
        everywhere = written | {value for value in outside if len(value) >= SHORT}
        self._anywhere = _pattern(everywhere, self - everywhere)
        long = {secret for secret in self if len(secret) >= SHORT}
        self._prose = _pattern(long, self - long, prose=True)
        return self

    def in_prose(self, text: str) -> str:
        """One of our own sentences without secrets.

        Keys of fewer than four characters are hidden only where they stand alone: a sentence in which every
        `a` is hidden explains nothing, and does not tell the key either.
        """
        return text if self._prose is None else self._prose.sub(MASK, text)


def mask(text: str, secrets: frozenset[str]) -> str:
    """`text` without `secrets`, also where they are written as in URLs, JSON or a shell.

    For a plain set every value is hidden wherever it occurs.
    """
    if not secrets:
        return text
    pattern = secrets._anywhere if isinstance(secrets, Secrets) else _of_plain(secrets)
    return text if pattern is None else pattern.sub(MASK, text)


def _is_secret(value: str) -> bool:
    if len(value) <= 1 and value.isascii() and (value.isalnum() or not value):
        return False
    return bool(value.strip()) and value.lower() not in _WORDS


@lru_cache(maxsize=8)  # a configuration has one; tests make more
def _of_plain(secrets: frozenset[str]) -> re.Pattern[str] | None:
    return _pattern(secrets, ())


def _pattern(anywhere: Iterable[str], alone: Iterable[str], prose: bool = False) -> re.Pattern[str] | None:
    """One expression for all, longer ones first: what is inside another leaves nothing of that one behind."""
    found: dict[str, str] = {form: re.escape(form) for secret in anywhere for form in _forms(secret)}
    for secret in alone:
        edges = _ALONE_IN_PROSE if prose and secret.isdigit() else _ALONE
        found.setdefault(secret, edges.format(re.escape(secret)))
    ordered = sorted((form for form in found if form), key=lambda form: (-len(form), form))
    return re.compile("|".join(found[form] for form in ordered)) if ordered else None


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written: as it is, in a URL, in JSON, in a shell's quotes, with escapes."""
    yield secret
    if len(secret) < SHORT or (secret.isascii() and secret.isalnum()):
        return
    encodable = secret.encode("utf-8", "replace").decode()
    yield from (quote(encodable, safe=""), quote(encodable), quote_plus(encodable))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (secret.replace("'", "'\"'\"'"), secret.replace("'", r"'\''"), secret.replace("'", "''"))
    yield secret.encode("unicode_escape").decode()
