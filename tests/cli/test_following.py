"""logs: every byte once, the last lines when asked, and a clear end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_api import Answer, FakeApi, Stream
from hostler.cli.following import last_lines
from hostler.cli.handover import Handover
from hostler.cli.main import main

TEXT = b"one\ntwo\nthree\nfo"


def test_last_lines() -> None:
    assert last_lines([TEXT], 2) == b"three\nfo"
    assert last_lines([TEXT + b"ur\n"], 2) == b"three\nfour\n"
    assert last_lines([b"tw", b"o\nth", b"ree\n"], 1) == b"three\n"
    assert last_lines([TEXT], 0) == b""
    assert last_lines([TEXT], 99) == TEXT
    assert last_lines([], 5) == b""


@given(st.lists(st.binary(max_size=8).map(lambda data: data.replace(b"\x00", b"\n"))), st.integers(0, 6))
def test_last_lines_however_they_arrive(chunks: list[bytes], count: int) -> None:
    """How the bytes were cut on the way makes no difference."""
    lines = _lines(b"".join(chunks))

    assert last_lines(chunks, count) == b"".join(lines[len(lines) - min(count, len(lines)) :])


def _lines(text: bytes) -> list[bytes]:
    *whole, partial = text.split(b"\n")
    return [line + b"\n" for line in whole] + ([partial] if partial else [])


@pytest.mark.wire
@pytest.mark.parametrize(
    ("argv", "path"),
    [
        (["logs"], "/logs"),
        (["logs", "proxy"], "/logs/proxy"),
        (["logs", "upstream"], "/logs/upstream"),
        (["logs", "org/model"], "/logs/org/model"),
    ],
)
def test_history(argv: list[str], path: str, api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The bytes pass as they are, whatever they are."""
    text = b"\xff\x00\r\n\x1b[31mred" + bytes(range(256))
    api.routes[f"GET {path}"] = Answer(text, type="text/plain")

    assert main(argv) == 0
    assert capfdbinary.readouterr() == (text, b"")


@pytest.mark.wire
def test_tail_of_the_history(api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    api.routes["GET /logs/m"] = Answer(TEXT, type="text/plain")

    assert main(["logs", "m", "--tail", "2"]) == 0
    assert capfdbinary.readouterr().out == b"three\nfo"


@pytest.mark.wire
def test_follow_until_the_server_ends(api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = Stream(b"history\n", b"live")
    log.end()
    api.routes["GET /logs/stream/m"] = log

    assert main(["logs", "-f", "--raw", "m"]) == 0

    out, err = capfdbinary.readouterr()
    assert out == b"history\nlive"
    assert err == b"hostler: the server ended the log stream\n"


@pytest.mark.wire
def test_follow_without_history(api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = Stream(b"new\n")
    log.end()
    api.routes["GET /logs/stream?no-history"] = log

    assert main(["logs", "--follow", "--raw", "--no-history"]) == 0
    assert capfdbinary.readouterr().out == b"new\n"


@pytest.mark.wire
def test_follow_over_a_broken_connection(api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What came is printed; that it is not all is said, and is a failure."""
    log = Stream(b"some\n")
    log.breaks()
    api.routes["GET /logs/stream"] = log

    assert main(["logs", "-f", "--raw"]) == 1

    out, err = capfdbinary.readouterr()
    assert out == b"some\n"
    assert err == b"hostler: the connection to Hostler broke in the middle of the log\n"


@pytest.mark.wire
def test_tail_and_follow(api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = Stream(b"1\n2\n", b"3\n")
    log.end()
    api.routes["GET /logs/stream/m"] = log

    assert main(["logs", "-f", "--raw", "--tail", "2", "m"]) == 0
    assert capfdbinary.readouterr().out == b"2\n3\n"


@pytest.mark.wire
def test_tail_goes_by_the_first_pause(api: FakeApi) -> None:
    """What comes after a pause is live and not subject to --tail."""
    log = Stream(b"1\n2\n")

    source = Handover(log.chunks())
    assert last_lines(source.until_pause(), 1) == b"2\n"
    log.write(b"3\n4\n")

    assert source.take(10) == b"3\n4\n"
    log.end()


def test_flags_that_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "--no-history"]) == 2
    assert main(["logs", "-f", "--no-history", "--tail", "3"]) == 2
    assert "--no-history" in capsys.readouterr().err


@pytest.mark.wire
def test_unknown_source(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    message = "invalid logger. Use 'proxy', 'upstream' or a model's ID: 'a'"
    api.routes["GET /logs/x"] = Answer.of({"error": {"message": message}}, 400)

    assert main(["logs", "x"]) == 1
    assert capsys.readouterr().err == f"hostler: {message}\n"
