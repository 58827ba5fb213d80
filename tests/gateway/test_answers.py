"""What must hold: an error has the shape the client asked for, and its status says whose fault it is."""

import json

from hostler.errors import BackedOff, ClientError, NotFound, RequestTimeout, StartFailed, Unauthorized
from hostler.gateway.answers import error_answer, error_event


def test_json_is_the_openai_shape() -> None:
    status, headers, body = error_answer(NotFound("no <model>", param="model"))

    assert status == 404
    assert dict(headers)[b"content-type"] == b"application/json"
    assert json.loads(body) == {
        "src": "hostler",
        "error": {
            "message": "no <model>",
            "type": "invalid_request_error",
            "param": "model",
            "code": "not_found",
        },
    }


def test_details_are_carried() -> None:
    status, _, body = error_answer(StartFailed("m", details={"log": ["a"]}))

    assert status == 502
    assert json.loads(body)["error"]["details"] == {"log": ["a"]}


def test_anthropics_paths_get_its_outer_type() -> None:
    _, _, body = error_answer(ClientError("m"), path="/v1/messages")

    assert json.loads(body)["type"] == "error"
    assert error_event(ClientError("m"), "/v1/messages").startswith(b"event: error\ndata: {")
    assert error_event(ClientError("m"), "/v1/completions").startswith(b"data: {")


def test_text_and_html_where_accept_asks() -> None:
    _, text_headers, text = error_answer(NotFound("a <b>"), accept=b"text/plain")
    _, html_headers, page = error_answer(NotFound("a <b>"), accept=b"Text/HTML,*/*")

    assert dict(text_headers)[b"content-type"].startswith(b"text/plain")
    assert text == b"hostler: a <b>"
    assert dict(html_headers)[b"content-type"].startswith(b"text/html")
    assert b"a &lt;b&gt;" in page


def test_headers_that_go_with_a_status() -> None:
    assert dict(error_answer(BackedOff("m", retry_after=7))[1])[b"retry-after"] == b"7"
    assert b"www-authenticate" in dict(error_answer(Unauthorized("m"))[1])
    assert dict(error_answer(RequestTimeout("m"))[1])[b"connection"] == b"close"
