"""replay: take a captured request out of the server and send it again."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from typing import TYPE_CHECKING, Any

from hostler.cli import connect
from hostler.cli.outcome import OK, CommandError
from hostler.client import path_of

if TYPE_CHECKING:
    from argparse import Namespace

# Of a captured request: what says how its body is to be read. The rest belongs to the old connection.
KEPT_HEADERS = frozenset(("content-type", "anthropic-version", "anthropic-beta"))


def replay(arguments: Namespace) -> int:
    """Send a capture again and copy the answer to standard output."""
    client = connect.client(arguments)
    with connect.explained():
        capture = client.capture(arguments.id)
        path, headers, body = request_of(capture, arguments.model)
        with client.post(path, body, headers) as answer:
            for chunk in answer:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
    return OK


def request_of(capture: dict[str, Any], model: str | None) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of the request that `capture` is of, for `model` instead where one is named.

    It goes under `/upstream`, where nothing is changed on the way: the body has been through the filters.
    Raises CommandError when its body was not kept, or does not name a model that could be replaced.
    """
    if capture.get("truncated") and capture.get("resp_body") is None:
        raise CommandError("the request was too large to be kept whole")
    text = capture.get("req_body")
    if text is None:
        raise CommandError("the body of this request was not kept")
    try:
        body = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise CommandError("the server sent a capture that cannot be read") from error
    if model is not None:
        body = _with_model(body, model)
    kept: dict[str, str] = capture.get("req_headers") or {}
    headers = {name: value for name, value in kept.items() if name.lower() in KEPT_HEADERS}
    target = model if model is not None else str(capture.get("model") or "")
    return f"/upstream/{path_of(target)}{capture.get('req_path', '')}", headers, body


def _with_model(body: bytes, model: str) -> bytes:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError("only a request in JSON can be sent to another model")
    if "model" in document:
        document["model"] = model
    return json.dumps(document).encode()
