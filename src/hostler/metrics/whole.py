"""Requests of which everything is known when they end: served at once, answered by one document in one piece.

Most small requests are such. Nothing is filled in on the way of them: what a row and a capture are made of is
here together, and each is made in one step.
"""

from __future__ import annotations

import msgspec

from hostler.metrics.capture_parts import RawCapture
from hostler.metrics.record import NOTHING, UNKNOWN, ActivityRow, ErrorKind, shortened, storable
from hostler.metrics.usage import own_speed, whole_usage


class Whole(msgspec.Struct, gc=False):
    """One such request, whose answer had the status 200 and no encoding; times are monotonic seconds.

    `lines` and `answer_lines` are the headers as they were sent. `held` is what its capture has taken of the
    budget, 0 where there is none.
    """

    model: str
    path: str
    request_id: str
    key: str
    run: int
    priority: int
    began: float
    first_byte: float
    content_type: str
    lines: bytes
    body: bytes
    answer_lines: bytes
    answer: bytes
    ended: float = 0.0
    held: int = 0

    def row(self, number: int, wall: float) -> ActivityRow:
        """The row that stays of it; `wall` is the time of day at which monotonic time was 0."""
        usage = whole_usage(self.path, 200, self.answer)
        tokens, reason = usage.tokens, usage.finish_reason
        began, ended = self.began, self.ended
        speed, estimated = tokens.tokens_per_second, False
        if usage.found and speed <= 0 and not usage.failed:
            own = own_speed(tokens.output, ended - began)
            speed, estimated = (own, True) if own > 0 else (speed, False)
        duration = round((ended - began) * 1000)
        # By position, in the order of the fields, as in `row_of`.
        return ActivityRow(
            number,
            round((wall + ended) * 1000),
            self.model,
            self.path,
            self.content_type,
            200,
            tokens.cached,
            tokens.draft,
            tokens.draft_accepted,
            tokens.input,
            tokens.output,
            tokens.prompt_per_second,
            speed,
            max(duration, round(usage.engine_ms)) if usage.engine_ms else duration,
            shortened(usage.error) if usage.error else "",
            {"fifo_priority": str(self.priority)} if self.priority else NOTHING,
            self.request_id,
            self.key,
            self.run,
            0,  # it has not waited,
            0,  # for nothing
            round((self.first_byte - began) * 1000),
            UNKNOWN,  # a document has no first token
            len(self.body),
            len(self.answer),
            reason if reason.isascii() else storable(reason),
            ErrorKind.ENGINE if usage.failed else ErrorKind.NONE,
            estimated,
        )

    def capture(self, number: int) -> RawCapture:
        """Its capture."""
        return RawCapture(
            number,
            self.model,
            self.path,
            self.lines,
            self.body,
            self.answer_lines,
            False,
            [self.answer],
        )
