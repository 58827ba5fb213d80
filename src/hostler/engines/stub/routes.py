"""Which request gets which answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from hostler.engines.stub import answers, websocket
from hostler.engines.stub.answers import Answer
from hostler.engines.stub.options import STREAMS, OptionError, Options, for_request
from hostler.engines.stub.output import log, print_lines
from hostler.engines.stub.wire import Request, Response, Stats, Takeover

EXIT_PAUSE: Final = 0.05  # lets the answer to /stub/exit reach the client first
LINES_LIMIT: Final = 100_000_000  # /stub/print answers when it is done; it must be some day

Whole = Callable[[Answer], dict[str, Any]]
Pieces = Callable[[Answer, bool], Iterator[bytes]]

GENERATING: Final[dict[str, tuple[Whole, Pieces]]] = {
    "/v1/chat/completions": (answers.chat, lambda a, usage: answers.chat_events(a, with_usage=usage)),
    "/v1/completions": (answers.completion, lambda a, usage: answers.completion_events(a, with_usage=usage)),
    "/completion": (answers.native, lambda a, _: answers.native_events(a)),
    "/infill": (answers.native, lambda a, _: answers.native_events(a)),
    "/v1/responses": (answers.response, lambda a, _: answers.response_events(a)),
    "/v1/messages": (answers.message, lambda a, _: answers.message_events(a)),
}
EMBEDDING: Final = ("/v1/embeddings",)
RANKING: Final = ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking")


class Routes:
    """The stub's one handler; `ready` is set from outside."""

    def __init__(self, options: Options, stats: Stats) -> None:
        self.options = options
        self.stats = stats
        self.ready = False

    async def handle(self, request: Request) -> Response | Takeover:
        """Answer `request`."""
        try:
            if request.path.startswith("/stub/"):
                return await self._control(request)
            if request.path == "/health":
                return await self._health()
            if not self.ready:
                return error(503, "Loading model", "unavailable_error")
            return await self._serve(request)
        except OptionError as wrong:
            return error(400, str(wrong))

    async def _health(self) -> Response:
        if self.options.hang_health:
            await asyncio.Event().wait()
        return as_json({"status": "ok"}) if self.ready else as_json({"status": "loading"}, 503)

    async def _serve(self, request: Request) -> Response | Takeover:
        path = request.path
        if path == "/echo" or path.startswith("/echo/"):
            return as_json(echo(request))
        if path == "/ws":
            return websocket.accept(request)
        if path == "/v1/models" and request.method in ("GET", "HEAD"):
            model = {"id": self.options.model, "object": "model", "created": 0, "owned_by": "stub"}
            return as_json({"object": "list", "data": [model]})
        if request.method != "POST":
            return error(404, f"{request.method} {path}: no such route", "not_found_error")
        if path == "/v1/audio/transcriptions":
            return await self._transcribe(request)
        if path in GENERATING or path in EMBEDDING or path in RANKING or path == "/v1/messages/count_tokens":
            return await self._answer(path, request)
        return error(404, f"POST {path}: no such route", "not_found_error")

    async def _answer(self, path: str, request: Request) -> Response:
        body = json_body(request)
        options = for_request(self.options, body)
        if options.first_delay > 0:
            await asyncio.sleep(options.first_delay)
        if options.status != 200:
            return error(options.status, f"the stub was told to answer {options.status}", "stub_error")
        if path in EMBEDDING:
            return as_json(answers.embeddings(options, body))
        if path in RANKING:
            return as_json(answers.ranks(options, body))
        if path == "/v1/messages/count_tokens":
            return as_json({"input_tokens": answers.count_tokens(body)})
        whole, pieces = GENERATING[path]
        said = answers.answer(options, body)
        if not body.get("stream"):
            await asyncio.sleep(options.chunk_delay * len(said.pieces))
            return as_json(whole(said))
        wanted = body.get("stream_options")
        with_usage = isinstance(wanted, dict) and bool(wanted.get("include_usage"))
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        return Response(200, headers, answers.paced(said, pieces(said, with_usage)))

    async def _transcribe(self, request: Request) -> Response:
        """Says how large the file in the form was, and which model the form named."""
        parts = form(request)
        if "file" not in parts:
            return error(400, "a multipart form with a part called file is wanted")
        model = parts.get("model", b"").decode("utf-8", "replace") or self.options.model
        await asyncio.sleep(self.options.first_delay)
        return as_json({"text": f"{len(parts['file'])} bytes of sound", "model": model})

    async def _control(self, request: Request) -> Response:
        """What tests tell the process itself; open even while it loads."""
        action = request.path.removeprefix("/stub/")
        if action == "stats":
            stats = self.stats
            # This request is none of those it is asked about.
            return as_json({"requests": stats.requests - 1, "active": stats.active - 1, "gone": stats.gone})
        body = json_body(request) if request.body else {}
        if action == "exit":
            code = body.get("code", 0)
            log(f"exiting with code {code}")
            asyncio.get_running_loop().call_later(EXIT_PAUSE, os._exit, int(code))
            return as_json({"exiting": code})
        if action == "print":
            return await self._print(body)
        return error(404, f"/stub/{action}: no such control", "not_found_error")

    async def _print(self, body: dict[str, Any]) -> Response:
        stream = body.get("stream", "stdout")
        try:
            count, start = int(body.get("lines", 1)), int(body.get("start", 1))
            length, rate = int(body.get("bytes", 0)), float(body.get("rate", 0))
        except (TypeError, ValueError):
            return error(400, "lines, start, bytes and rate are numbers")
        if stream not in STREAMS or not 0 <= count <= LINES_LIMIT:
            return error(400, f"stream is one of {', '.join(STREAMS)}; lines 0 to {LINES_LIMIT}")
        after = await asyncio.to_thread(
            print_lines, count, start=start, stream=stream, length=length, rate=rate
        )
        return as_json({"printed": after - start, "next": after})


def as_json(value: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(value).encode())


def error(status: int, message: str, kind: str = "invalid_request_error") -> Response:
    """An error in the shape of llama-server's."""
    return as_json({"error": {"code": status, "message": message, "type": kind}}, status)


def json_body(request: Request) -> dict[str, Any]:
    """The body as an object; raises OptionError."""
    try:
        body = json.loads(request.body)
    except ValueError:
        raise OptionError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise OptionError("the body is not a JSON object")
    return body


def echo(request: Request) -> dict[str, Any]:
    """What arrived, for the sender to compare."""
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body_bytes": len(request.body),
        "body_sha256": hashlib.sha256(request.body).hexdigest(),
    }


def form(request: Request) -> dict[str, bytes]:
    """The parts of a multipart form by name."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if boundary is None:
        return {}
    parts: dict[str, bytes] = {}
    for part in (b"\r\n" + request.body).split(b"\r\n--" + boundary[1].encode("latin-1"))[1:]:
        head, blank, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if blank and name is not None:
            parts[name[1].decode("utf-8", "replace")] = content
    return parts
