"""Requests that may be served at once: held back until all of them has come, then offered as they are.

A small request for one of the application's `at_once` targets is offered without a scope or a task, as a
`Call`. From the third with the same head on it is known by that, and the parser never sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostler.web.call import Call
from hostler.web.cycles import CycleProtocol
from hostler.web.edge import SMALL_BODY

if TYPE_CHECKING:
    import asyncio

    from hostler.gateway.headers import Headers
    from hostler.gateway.sender import Sender

# How long a request is held back for its small body; most come with the head or right behind it. After that
# it goes the ordinary way, which has the patience for slow ones.
HELD_SECONDS = 1.0


def _nothing_waits() -> None:
    """For applications that write at once."""


class HeldProtocol(CycleProtocol):
    """One client connection, behind its parser."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at_once: frozenset[bytes] = getattr(self.app, "at_once", frozenset())
        self._flush: Callable[[], None] = getattr(self.app, "flush", _nothing_waits)
        self._in_head = False
        self._held = self._whole = False  # a request waits for its body; all of it is here
        self._again = False  # it has the headers of one before it
        self._declined = False  # it was offered before the parser saw it
        self._sender: Sender | None = None  # of the newest request that was held
        self._held_body = b""
        self._held_timer: asyncio.TimerHandle | None = None

    def _is_reading(self) -> bool:
        return self._in_head or self._held

    def _is_between(self) -> bool:
        """Whether what comes now begins a request, and the client has taken the answer to the one before it.

        One that asks on and on and reads nothing would have all those answers wait in our memory.
        """
        if self._in_head or self._held or self.flow.write_paused:
            return False
        cycle = self._cycle()
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _serve_again(self, sender: Sender, data: bytes) -> bool:
        """Serve the request in `data`, if it is known by its head; it must be between two."""
        body = sender.body_in(data)
        if body is None or len(body) > SMALL_BODY:
            return False
        served = self._offer(sender.target, None, sender, body, sender.keep_alive)
        self._declined = not served
        return served

    def _hold_again(self, headers: Headers) -> bool:
        """Hold a request back that has the headers of one that was: nothing has to be looked at again."""
        sender, parser = self._sender, self.parser
        if sender is None or not sender.says(headers) or parser.get_http_version() != "1.1":
            return False
        self.expect_100_continue = False
        self._again = True
        self._keep_alive = parser.should_keep_alive()
        return self._may_hold(headers[sender.place][1])

    def _may_hold(self, length: bytes) -> bool:
        """Hold a request back if its body is worth waiting for: small, and nothing is before it."""
        # Six digits are too many, whatever they are.
        small = 0 < len(length) < 6 and int(length) <= SMALL_BODY
        free = self._is_free() and not self.flow.write_paused
        self._held = small and free and self.parser.get_method() == b"POST"
        self._whole = False
        self._held_body = b""
        return self._held

    def _settle(self, data: bytes) -> None:
        """Offer what was held back, once all of it has come; `data` is what was read, if it began with it."""
        if not self._whole:
            if self._held_timer is None:
                self._held_timer = self.loop.call_later(HELD_SECONDS, self._open_held)
            return
        self._held = False
        if self._held_timer is not None:
            self._stop_holding()
        sender, body = self._sender, self._held_body
        assert sender is not None
        if self._again and data.startswith(b"POST ") and not sender.learnt:
            # A client that says the same for the second time says it for the third.
            sender.keep_alive = self._keep_alive
            sender.learn(data, body, self.headers[sender.place][1], self.url)
        self._held_body = b""
        if self._declined or not self._offer(self.url, self.headers, sender, body, self._keep_alive):
            self._declined = False
            self._held_body, self._whole = body, True
            self._open_held()

    def _offer(
        self, target: bytes, headers: Headers | None, sender: Sender, body: bytes, keep_alive: bool
    ) -> bool:
        """Whether the application serves a request at once."""
        call = Call(self, target, headers, sender, body, keep_alive)
        before, self.cycle, self._call = self.cycle, call, call  # type: ignore[assignment]  # all that is used
        serve_now: Callable[[Call], bool] = self.app.serve_now  # it has `at_once`
        if serve_now(call):
            return True
        self.cycle, self._call = before, None
        return False

    def _open_held(self) -> None:
        """Serve what was held back in the ordinary way, with as much of its body as there is."""
        body, whole = self._held_body, self._whole
        self._stop_holding()
        self._held_body = b""
        self._open(b"POST", "1.1", upgrade=False)
        if body:
            super().on_body(body)
        if whole:
            self._complete()

    def _stop_holding(self) -> None:
        self._held = False
        timer, self._held_timer = self._held_timer, None
        if timer is not None:
            timer.cancel()
