"""An answer in pieces that ends when its client leaves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hostler.gateway.edge import ClientGone, cancelled_when_gone, edge_of


class Streamed(Response):
    """The pieces of `body`, each sent when the client has taken the one before.

    What goes wrong with the first piece can still become an error answer: the headers go out after it.
    """

    def __init__(self, body: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(None, headers=headers)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["content-length"]
        try:
            with cancelled_when_gone(edge_of(scope, receive)):
                first = b""
                with contextlib.suppress(StopAsyncIteration):
                    first = await anext(self._body)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                if scope["method"] != "HEAD":
                    await send({"type": "http.response.body", "body": first, "more_body": True})
                    async for piece in self._body:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGone:
            pass
        finally:
            await self._body.aclose()  # type: ignore[attr-defined]  # it is a generator
