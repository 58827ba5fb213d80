"""Who may ask: API keys, compared in constant time.

A key comes as the password of Basic authentication, as a Bearer token, or in `x-api-key`; the first that is
not empty counts. A failure never says which part was wrong.
"""

from __future__ import annotations

import base64
import binascii

# What the module hmac has it from: that one brings OpenSSL along, 650 KB.
from _operator import _compare_digest as compare_digest
from collections.abc import Iterable, Mapping

from hostler.config.schema import ApiKey
from hostler.errors import Unauthorized


def shown_key(given: Mapping[bytes, bytes]) -> bytes:
    """The key a request shows, b"" when it shows none; `given` are the first values of its headers."""
    scheme, _, rest = given.get(b"authorization", b"").partition(b" ")
    scheme = scheme.lower()
    key = b""
    if scheme == b"bearer":
        key = rest.strip()
    elif scheme == b"basic":
        try:
            _, _, key = base64.b64decode(rest.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            key = b""
    return key or given.get(b"x-api-key", b"")


class KeyRing:
    """The configured keys; with none, everybody is let in."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple((key, key.key.encode()) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, given: Mapping[bytes, bytes]) -> ApiKey | None:
        """The key the request shows; None when no keys are configured. Raises Unauthorized."""
        if not self._keys:
            return None
        shown = shown_key(given)
        found: ApiKey | None = None
        for key, text in self._keys:
            # Every key is compared, whatever was found before: the time tells nothing.
            if compare_digest(shown, text) and shown:
                found = key
        if found is None:
            raise Unauthorized("unauthorized: invalid or missing API key")
        return found
