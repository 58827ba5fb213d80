"""What must hold: a proxy URL means the same place however it is spelled, or is refused."""

import pytest

from hostler.errors import ConfigError
from hostler.gateway.origin import Origin


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://127.0.0.1:5800", Origin("http", "127.0.0.1", 5800), b"127.0.0.1:5800"),
        ("http://localhost", Origin("http", "localhost", 80), b"localhost"),
        ("https://host/base/", Origin("https", "host", 443, "/base"), b"host"),
        ("http://[::1]:9/x", Origin("http", "::1", 9, "/x"), b"[::1]:9"),
    ],
)
def test_parts(url: str, origin: Origin, authority: bytes) -> None:
    assert Origin.parse(url) == origin
    assert Origin.parse(url).authority == authority
    assert Origin.parse(str(origin)) == origin


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x", "http://", "http://x:99999", "http://[::1"])
def test_what_is_not_a_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match="invalid proxy URL"):
        Origin.parse(url)
