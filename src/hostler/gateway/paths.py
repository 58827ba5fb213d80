"""Which paths name a model in their body or query, and how `/upstream/{model}/{rest}` is taken apart."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

POST_ROUTES = frozenset(
    (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/reranking",
        "/rerank",
        "/reranking",
        "/infill",
        "/completion",
        "/v1/audio/speech",
        "/v1/audio/voices",
        "/v1/audio/transcriptions",
        "/v1/images/generations",
        "/v1/images/edits",
        "/sdapi/v1/txt2img",
        "/sdapi/v1/img2img",
        "/audioapi/v1/tasks/run",
        "/v/chat/completions",
        "/v/completions",
        "/v/responses",
        "/v/messages",
        "/v/messages/count_tokens",
        "/v/embeddings",
        "/v/rerank",
        "/v/reranking",
    )
)
GET_ROUTES = frozenset(("/v1/audio/voices", "/sdapi/v1/loras", "/props"))

UPSTREAM = b"/upstream/"
COMFYUI = b"/comfyui/"
# Slashes in the longest name that anybody gives a model, and more.
MAX_SEGMENTS = 32


def own_path(scope: Mapping[str, Any]) -> str:
    """The path of a request below where the application is mounted."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    return path.removeprefix(root) if root else path


def raw_path(scope: Mapping[str, Any]) -> bytes:
    """The same with the client's escaping; from a server that keeps only the decoded path, escaped anew."""
    raw: bytes | None = scope.get("raw_path")
    if not raw:
        return quote(own_path(scope), safe="/:@!$&'()*+,;=~").encode()
    root: str = scope.get("root_path", "")
    return raw.partition(b"?")[0].removeprefix(root.encode())


def engine_path(raw_path: bytes) -> bytes:
    """The path an engine gets: `/v/…` loses its version mark, `/audioapi/…` its first segment."""
    if raw_path.startswith(b"/v/"):
        return raw_path[2:]
    if raw_path.startswith(b"/audioapi/"):
        return raw_path[9:]
    return raw_path


def is_model_route(path: str, method: str) -> bool:
    """Whether a request for `path` names its model in the body or the query."""
    return (method == "POST" and path in POST_ROUTES) or (method in ("GET", "HEAD") and path in GET_ROUTES)


@dataclass(frozen=True, slots=True)
class UpstreamPath:
    """`/upstream/{name}{rest}`: `rest` keeps its escaping and is b"" when not even a slash followed."""

    name: str
    rest: bytes


def split_upstream(raw_path: bytes, known: Container[str]) -> UpstreamPath | None:
    """Take `raw_path` (which starts with `/upstream/`) apart; None when no prefix of it is a known name.

    The longest run of segments that is a name wins, so names may contain slashes, escaped or not.
    """
    segments = raw_path[len(UPSTREAM) :].split(b"/")
    for count in range(min(len(segments), MAX_SEGMENTS), 0, -1):
        name = unquote_to_bytes(b"/".join(segments[:count])).decode("utf-8", "replace")
        if name and name in known:
            rest = segments[count:]
            return UpstreamPath(name, b"/" + b"/".join(rest) if rest else b"")
    return None
