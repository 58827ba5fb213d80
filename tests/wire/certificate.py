"""A certificate that nobody has signed."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest


def make(folder: Path) -> tuple[str, str]:
    """Files with a certificate for another host's name, and its key; skips the test without openssl."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2 -subj /CN=x"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    return str(certificate), str(key)


def server_context(files: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def client_context(files: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files[0])
    context.check_hostname = False
    return context
