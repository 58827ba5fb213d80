"""Where an engine listens: the parts of a `proxy` URL, split once when the configuration is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from hostler.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A server and the path prefix under which its API lives.

    `prefix` has no trailing slash and is empty for the root. `host` has no brackets around an IPv6 address.
    `authority` is what goes into a `Host` header, `root` the prefix as it goes into a request line.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    authority: bytes = field(init=False, repr=False, compare=False)
    root: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        text = host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"
        object.__setattr__(self, "authority", text.encode("ascii", "replace"))
        object.__setattr__(self, "root", self.prefix.encode())

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Split `url`; raises ConfigError when it is not an http or https URL with a host."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"invalid proxy URL {url!r}: {error}") from error
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ConfigError(f"invalid proxy URL {url!r}: expected http://HOST:PORT or https://HOST:PORT")
        return cls(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], parts.path.rstrip("/"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"
