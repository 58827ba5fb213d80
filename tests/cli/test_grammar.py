"""Parsing: our own command lines, llama-swap's, and addresses."""

from __future__ import annotations

import pytest

from hostler.cli import address, goflags, parser
from hostler.cli.outcome import UsageError


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (["-config", "x.yaml"], ["serve", "--config", "x.yaml"]),
        (["--config=x.yaml"], ["serve", "--config=x.yaml"]),
        (["-config=a=b.yaml", "-listen", ":80"], ["serve", "--config=a=b.yaml", "--listen", ":80"]),
        (["-config-dir", "d", "-watch-config"], ["serve", "--config-dir", "d", "--watch-config"]),
        (
            ["-watch-config=false", "-listen=:1", "-watch-config=T"],
            ["serve", "--listen=:1", "--watch-config"],
        ),
        (
            ["-tls-cert-file", "c", "-tls-key-file=k"],
            ["serve", "--tls-cert-file", "c", "--tls-key-file=k"],
        ),
        (["serve", "-listen", "-config"], ["serve", "--listen", "-config"]),
        (["serve", "-listen"], ["serve", "--listen"]),
        (["serve", "--models", "m"], ["serve", "--models", "m"]),
        (["-version"], ["version"]),
        (["-version=true"], ["version"]),
        (["--version"], ["version"]),
        (["ps", "-config", "x"], ["ps", "-config", "x"]),
        (["run", "m.gguf", "--", "-listen", "x"], ["run", "m.gguf", "--", "-listen", "x"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_command_lines_of_llama_swap(theirs: list[str], ours: list[str]) -> None:
    assert goflags.translate(theirs) == ours


def test_switch_with_a_strange_value() -> None:
    with pytest.raises(UsageError, match="-watch-config is either true or false"):
        goflags.translate(["-watch-config=maybe"])


@pytest.mark.parametrize(
    ("text", "tls", "expected"),
    [
        (None, False, ("127.0.0.1", 8080)),
        (None, True, ("127.0.0.1", 8443)),
        (":8080", False, ("", 8080)),
        ("9000", False, ("127.0.0.1", 9000)),
        ("localhost:0", False, ("localhost", 0)),
        ("[::1]:8080", False, ("::1", 8080)),
        ("0.0.0.0:65535", True, ("0.0.0.0", 65535)),
    ],
)
def test_addresses(text: str | None, tls: bool, expected: tuple[str, int]) -> None:
    assert address.parse(text, tls=tls) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "host:http", ":65536", "::1:8080", "h:-1", "h:²"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        address.parse(text)


def test_run_takes_flags_for_the_engine() -> None:
    """They may follow our own flags, which argparse alone gets wrong."""
    arguments = parser.parse(["run", "m.gguf", "--name", "m", "--", "-c", "8", "--", "--name"])

    assert (arguments.file, arguments.name) == ("m.gguf", "m")
    assert arguments.engine_args == ["-c", "8", "--", "--name"]
    assert parser.parse(["run", "m.gguf"]).engine_args == []


@pytest.mark.parametrize(
    "argv", [["--url", "U", "ps"], ["ps", "--url", "U"], ["--url", "V", "ps", "--url", "U"]]
)
def test_server_is_named_before_or_after_the_command(argv: list[str]) -> None:
    assert parser.parse(argv).url == "U"


def test_flags_are_not_abbreviated() -> None:
    """A flag added later must not change what an old command line means."""
    with pytest.raises(SystemExit):
        parser.parse(["serve", "--watch"])


def test_tail_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser.parse(["logs", "--tail", "0"]).tail == 0
    with pytest.raises(SystemExit):
        parser.parse(["logs", "--tail", "-1"])
    with pytest.raises(SystemExit):
        parser.parse(["logs", "--tail", "ten"])
    assert "'ten' is not a number of lines" in capsys.readouterr().err
