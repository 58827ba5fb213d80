"""What must hold: hop-by-hop headers end here, everything else travels unchanged."""

from typing import Any

from hostler.gateway import headers as module
from hostler.gateway.headers import Headers, first_values
from hostler.gateway.sinks import ResponseHead


def request_headers(headers: Headers, **options: Any) -> Headers:
    return module.request_headers(headers, first_values(headers), **options)


def response_headers(headers: Headers, request_id: bytes = b"") -> Headers:
    return module.response_headers(headers, first_values(headers), request_id)


def test_ordinary_request_headers_travel_in_order_and_framing_is_ours() -> None:
    sent = request_headers(
        [
            (b"host", b"example"),
            (b"content-type", b"application/json"),
            (b"content-length", b"7"),
            (b"transfer-encoding", b"chunked"),
            (b"expect", b"100-continue"),
            (b"x-custom", b"1"),
            (b"x-custom", b"2"),
        ],
        client=None,
        length=9,
    )

    assert sent == [
        (b"host", b"example"),
        (b"content-type", b"application/json"),
        (b"x-custom", b"1"),
        (b"x-custom", b"2"),
        (b"content-length", b"9"),
    ]


def test_what_connection_names_is_hop_by_hop_too() -> None:
    headers = [
        (b"connection", b"keep-alive, X-Secret"),
        (b"x-secret", b"a"),
        (b"keep-alive", b"5"),
        (b"x", b"y"),
    ]

    assert request_headers(headers, client=None, length=None) == [(b"x", b"y")]
    assert response_headers(headers) == [(b"x", b"y")]
    twice = [*headers, (b"connection", b"x"), (b"connection", b"close")]
    assert response_headers(twice) == []
    usual = [(b"connection", b"close"), (b"close", b"1"), (b"connection", b"x"), (b"x", b"y")]
    assert request_headers(usual, client=None, length=None) == []


def test_the_client_is_appended_to_x_forwarded_for() -> None:
    sent = request_headers([(b"x-forwarded-for", b"10.0.0.1")], client="127.0.0.1", length=None)

    assert sent == [(b"x-forwarded-for", b"10.0.0.1, 127.0.0.1")]


def test_credentials_for_us_are_not_passed_on() -> None:
    headers = [(b"authorization", b"Bearer k"), (b"x-api-key", b"k"), (b"accept", b"*/*")]

    assert request_headers(headers, client=None, length=None, drop_credentials=True) == [(b"accept", b"*/*")]
    assert request_headers(headers, client=None, length=None) == headers


def test_event_streams_ask_not_to_be_buffered_once() -> None:
    plain = [(b"content-type", b"text/event-stream; charset=utf-8")]
    told = [*plain, (b"x-accel-buffering", b"yes")]

    def answered(headers: Headers) -> Headers:
        return module.answer_headers(ResponseHead(200, headers, first_values(headers), events=True), b"id")

    assert answered(plain) == [*plain, (b"x-request-id", b"id"), (b"x-accel-buffering", b"no")]
    assert answered(told) == [*told, (b"x-request-id", b"id")]
