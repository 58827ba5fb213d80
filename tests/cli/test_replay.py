"""What must hold: what was captured is sent again, to the byte, or it is said why not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import fake_api
from fake_api import Answer, Stream
from hostler.cli.main import main
from hostler.cli.outcome import CommandError
from hostler.cli.replay import request_of


def capture(body: bytes | None = b'{"model": "a", "x": 1}', **fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": 7, "model": "a/b", "req_path": "/v1/chat/completions", "resp_headers": {}, "resp_body": None,
        "req_headers": {"Content-Type": "application/json", "Authorization": "[REDACTED]", "Host": "x"},
        "req_body": None if body is None else base64.b64encode(body).decode(), "truncated": False,
    }  # fmt: skip
    return {**plain, **fields}


def test_it_is_the_same_request() -> None:
    path, headers, body = request_of(capture(), None)

    assert path == "/upstream/a/b/v1/chat/completions"
    assert headers == {"Content-Type": "application/json"}
    assert body == b'{"model": "a", "x": 1}'


def test_another_model() -> None:
    path, _, body = request_of(capture(), "c d")

    assert path == "/upstream/c%20d/v1/chat/completions"
    assert json.loads(body) == {"model": "c d", "x": 1}


@pytest.mark.parametrize(
    ("found", "model"),
    [(capture(None), None), (capture(b"form"), "other"), (capture(req_body="?"), None)],
)
def test_what_cannot_be_sent_is_said(found: dict[str, Any], model: str | None) -> None:
    with pytest.raises(CommandError):
        request_of(found, model)


def test_the_command(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with fake_api.serving() as api:
        stream = Stream(b"data: 1\n\n", b"data: 2\n\n")
        stream.end()
        api.routes["GET /api/captures/7"] = Answer.of(capture())
        api.routes["POST /upstream/a/b/v1/chat/completions"] = stream
        code = main(["replay", "7", "--url", api.url])

        assert code == 0
        assert capsysbinary.readouterr().out == b"data: 1\n\ndata: 2\n\n"
        assert api.seen[-1].headers["content-type"] == "application/json"
        assert api.seen[-1].headers["content-length"] == "22"

        assert main(["replay", "8", "--url", api.url]) == 1
