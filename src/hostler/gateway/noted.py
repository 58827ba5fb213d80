"""A request that was served at once, written down as late as that can be: mostly in one step, at its end.

What has to be known until then is at hand in the request itself. Only where its answer comes in pieces, has
another status than 200 or is a stream, or where its engine is told of a trace, is a record filled in on the
way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.gateway.observe import observe
from hostler.gateway.relay import Passage
from hostler.metrics.whole import Whole

if TYPE_CHECKING:
    from hostler.config.schema import ApiKey
    from hostler.fleet.lease import Held
    from hostler.gateway.edge import Call
    from hostler.gateway.known_answers import KnownAnswer
    from hostler.gateway.observe import Observed
    from hostler.gateway.pipeline import Gateway
    from hostler.metrics.recorder import Recorder


class Noted(Passage):
    """The passage of such a request. `_sent` is its key, the fields that were sent and its body, as long as
    nothing of it is written down.
    """

    _gateway: Gateway
    _call: Call
    _held: Held | None
    model: str
    path: str
    request_id: bytes
    began: float
    _sent: tuple[ApiKey | None, bytes, bytes] | None = None

    def _write_down(self, recorder: Recorder, key: ApiKey | None, fields: bytes, body: bytes) -> bytes:
        """Begin to write the request down; returns the fields that its engine gets."""
        assert self._held is not None
        self._sent = None
        self.observed = observed = observe(
            recorder,
            self._gateway.clock,
            model=self.model,
            path=self.path,
            request_id=self.request_id,
            key=key,
            given=self._call.given,
            began=self.began,
        )
        observed.granted(self._held.lease, self.began)
        return observed.sending_lines(fields, body)

    def _observe(self) -> Observed | None:
        """What is written down of the request, begun now if that was not needed before."""
        recorder = self._gateway.recorder
        if self._sent is not None and recorder is not None:
            self._write_down(recorder, *self._sent)
        return self.observed

    def _observe_whole(self, known: KnownAnswer, values: list[bytes], body: bytes, came: float) -> None:
        """Write all of the request down, where there is nothing unusual about it in one step."""
        recorder, sent, held = self._gateway.recorder, self._sent, self._held
        if recorder is None or held is None:
            return
        lines = known.lines(values)
        if sent is not None and known.document is not None:
            key, fields, asked = sent
            whole = Whole(
                self.model,
                self.path,
                self.request_id.decode("latin-1"),
                key.name if key is not None else "",
                held.lease.run,
                held.lease.priority,
                self.began,
                came,
                known.document,
                fields,
                asked,
                lines,
                body,
            )
            if recorder.finish_whole(whole):
                self._sent = None
                return
        observed = self._observe()
        assert observed is not None
        observed.answering(known.head.status, lines, known.head.given, came)
        if body:
            observed.passed(body)
