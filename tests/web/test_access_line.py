"""What must hold: the access line says what happened, and nothing a client sends can forge another one."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from hostler.clock import ManualClock
from hostler.gateway.auth import KeyRing
from hostler.gateway.edge import Message
from hostler.gateway.sender import Sender
from hostler.web.app import CountedSend, Served, WebApp, access_line
from hostler.web.state import mask

LINE = re.compile(r'Request ([^"\n]*) "([^"\n]*)" (\d{3}|-) (\d+) "([^"\n]*)" (\d+\.\d{3})s')


async def _nowhere(message: Message) -> None:
    pass


def served(
    path: str = "/x",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    *,
    status: int = 0,
    size: int = 0,
    seconds: float = 0.0,
) -> Served:
    return Served("GET", path, "1.1", dict(headers), ("1.2.3.4", 5), status, size, seconds)


async def test_it_counts_what_went_through() -> None:
    sent = CountedSend(_nowhere)
    await sent({"type": "http.response.start", "status": 200, "headers": []})
    await sent({"type": "http.response.body", "body": b"12345", "more_body": True})
    await sent({"type": "http.response.body", "body": b"678"})

    line = access_line(
        served(headers=((b"user-agent", b"curl/8"),), status=sent.status, size=sent.bytes, seconds=1.23456)
    )

    assert line == 'Request 1.2.3.4 "GET /x HTTP/1.1" 200 8 "curl/8" 1.235s'


def test_an_answer_that_was_never_begun_has_no_status() -> None:
    assert access_line(served()) == ('Request 1.2.3.4 "GET /x HTTP/1.1" - 0 "" 0.000s')


def test_a_proxy_before_us_says_who_asks() -> None:
    forwarded = access_line(served(headers=((b"x-forwarded-for", b" 9.9.9.9 , 8.8.8.8"),)))
    real = access_line(served(headers=((b"x-real-ip", b"7.7.7.7"),)))

    assert forwarded.startswith('Request 9.9.9.9 "')
    assert real.startswith('Request 7.7.7.7 "')


def test_a_request_for_a_model_is_named() -> None:
    line = access_line(served(status=200, size=5)._replace(request_id=b"my-1"))

    assert line == 'Request 1.2.3.4 "GET /x HTTP/1.1" 200 5 "" 0.000s my-1'


@given(
    st.binary(max_size=300),
    st.one_of(st.just(b""), st.binary(max_size=300)),
    st.sampled_from([("1.2.3.4", 5), None]),
    st.sampled_from([0, 200, 503]),
    st.floats(0, 9),
)
async def test_a_request_that_is_served_at_once_has_the_same_line(
    agent: bytes, forwarded: bytes, client: tuple[str, int] | None, status: int, seconds: float
) -> None:
    written: list[str] = []
    log = SimpleNamespace(log_all=lambda level, lines: written.extend(lines))
    clock = ManualClock()
    app = WebApp(
        cast("Any", SimpleNamespace(hub=SimpleNamespace(proxy=log))), cast("Any", None), KeyRing([]), clock
    )
    given = {b"user-agent": agent, b"x-forwarded-for": forwarded}
    call = SimpleNamespace(given=given, client=client, sender=Sender(list(given.items()), given))
    request = SimpleNamespace(
        call=call, began=0.0, asked_path="/v1/rerank", status=status, sent=70, told=7, request_id=b"my-1"
    )
    clock.advance(seconds)
    for _ in range(2):
        app._served_at_once(cast("Any", request))
    app.write_lines()

    other = Served("POST", "/v1/rerank", "1.1", given, client, status, 77, seconds, b"my-1")
    assert written == [access_line(other)] * 2


@given(st.text(max_size=600), st.binary(max_size=600), st.binary(max_size=600))
def test_nothing_can_break_out_of_its_place(path: str, agent: bytes, forwarded: bytes) -> None:
    headers = ((b"user-agent", agent), (b"x-forwarded-for", forwarded))
    line = access_line(served("/" + path, headers, status=200, size=5))

    assert LINE.fullmatch(line)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 10_000


WORDS = st.text(st.characters(exclude_characters="*"), min_size=1, max_size=8)


@given(st.sets(WORDS, max_size=5), st.text(max_size=50), st.data())
def test_no_secret_is_shown(secrets: set[str], text: str, data: st.DataObject) -> None:
    for secret in secrets:
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + secret + text[place:]

    shown = mask(text, frozenset(secrets))

    assert not [secret for secret in secrets for piece in shown.split("***") if secret in piece]


def test_a_secret_within_another_does_not_leave_the_rest() -> None:
    assert mask("key=abcdef", frozenset({"abc", "abcdef", ""})) == "key=***"
