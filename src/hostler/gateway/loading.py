"""What a streaming chat client is told while its model loads: `sendLoadingState`.

The text goes out as reasoning, in the chunks of the chat API, so that clients show it and keep it apart from
the answer. It says what is really happening, only when that changes, and ends the moment the model is ready:
it never holds the first token back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from hostler.clock import Clock
from hostler.core import State
from hostler.errors import HostlerError
from hostler.gateway.answers import error_event
from hostler.gateway.edge import Send
from hostler.gateway.headers import Headers
from hostler.process.progress import Progress

PATHS = frozenset((b"/v1/chat/completions", b"/v/chat/completions"))
# llama-swap's rhythm; a person reads no faster.
INTERVAL = 0.75
# How often something is said at least, so that nobody on the way takes the stream for dead.
HEARTBEAT = 10.0
# Clients look for this line to know where the loading text begins and ends.
MARK = "━━━━━"
LINE_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the wait stands: the place in the queue from 1, what the engine does, what it printed last."""

    state: State
    position: int | None
    progress: Progress | None
    last_line: str


class LoadingStream:
    """The loading text of one request; `run` says it until it is cancelled.

    Nothing is sent before `run` has its first turn, so a model that is ready at once costs nothing.
    """

    def __init__(
        self,
        send: Send,
        model: str,
        look: Callable[[], Snapshot],
        *,
        request_id: bytes,
        headers: Headers,
        clock: Clock,
    ) -> None:
        self.begun = False
        self._send = send
        self._model = model
        self._look = look
        self._headers = headers
        self._clock = clock
        self._began = clock.monotonic()
        self._chunk = {
            "id": f"chatcmpl-{request_id.decode('latin-1')}",
            "object": "chat.completion.chunk",
            "created": int(clock.wall().timestamp()),
            "model": model,
        }

    async def run(self) -> None:
        """Begin the answer, and tell what changes."""
        headers: Headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *self._headers,
        ]
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._say(f"{MARK}\nllama-swap loading model: {self._model}\n")
        said = ""
        said_at = self._clock.monotonic()
        while True:
            text = describe(self._look())
            now = self._clock.monotonic()
            if text != said or now - said_at >= HEARTBEAT:
                await self._say(f"{text} ({now - self._began:.0f} s)\n")
                said, said_at = text, now
            await asyncio.sleep(INTERVAL)

    async def ready(self) -> None:
        """The model is ready: the last words, in one piece."""
        await self._say(f"Done! ({self._clock.monotonic() - self._began:.2f}s)\n{MARK}\n \n")

    async def failed(self, error: HostlerError, path: str) -> None:
        """There will be no answer: an event that clients know for an error, and the end of the stream."""
        body = error_event(error, path)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _say(self, text: str) -> None:
        choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
        data = b"data: " + msgspec.json.encode({**self._chunk, "choices": [choice]}) + b"\n\n"
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


def describe(snapshot: Snapshot) -> str:
    """One line about a wait."""
    if snapshot.state is not State.STARTING and snapshot.position is not None:
        return f"Queue position: #{snapshot.position}"
    parts = ["Loading"]
    if snapshot.progress is not None:
        parts = [snapshot.progress.stage.capitalize()]
        if snapshot.progress.fraction is not None:
            parts.append(f"{snapshot.progress.fraction:.0%}")
    line = "".join(char for char in snapshot.last_line if char.isprintable()).strip()[:LINE_CHARACTERS]
    if line and (snapshot.progress is None or snapshot.progress.fraction is None):
        parts.append(f"– {line}")
    return " ".join(parts)
