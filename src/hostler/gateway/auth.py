"""Who may ask: API keys, compared in constant time.

A key comes as the password of Basic authentication, as a Bearer token, or in `x-api-key`; the first that is
not empty counts. A failure never says which part was wrong.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable

from hostler.config.schema import ApiKey
from hostler.errors import Unauthorized
from hostler.gateway.headers import Headers


def shown_key(headers: Headers) -> str:
    """The key a request shows, "" when it shows none."""
    authorization = other = b""
    for name, value in headers:
        if name == b"authorization" and not authorization:
            authorization = value
        elif name == b"x-api-key" and not other:
            other = value
    scheme, _, rest = authorization.partition(b" ")
    scheme = scheme.lower()
    key = b""
    if scheme == b"basic":
        try:
            _, _, key = base64.b64decode(rest.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            key = b""
    elif scheme == b"bearer":
        key = rest.strip()
    return (key or other).decode("utf-8", "replace")


class KeyRing:
    """The configured keys; with none, everybody is let in."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple((key, key.key.encode()) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, headers: Headers) -> ApiKey | None:
        """The key the request shows; None when no keys are configured. Raises Unauthorized."""
        if not self._keys:
            return None
        shown = shown_key(headers).encode()
        found: ApiKey | None = None
        for key, text in self._keys:
            # Every key is compared, whatever was found before: the time tells nothing.
            if hmac.compare_digest(shown, text) and shown:
                found = key
        if found is None:
            raise Unauthorized("unauthorized: invalid or missing API key")
        return found
