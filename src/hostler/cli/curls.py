"""Commands to try, for the model that was just put on the air. Pure."""

from __future__ import annotations

import json
import shlex


def chat(url: str, model: str, question: str, *, stop: str = "", stream: bool = False) -> str:
    """A `curl` line that asks `model` a question."""
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 80,
    }
    if stop:
        body["stop"] = stop
    if stream:
        body["stream"] = True
    return (
        f"curl {'-N ' if stream else ''}{url}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f"    -d {shlex.quote(json.dumps(body))}"
    )


def one_model(url: str, model: str) -> str:
    """What `hostler run` prints."""
    return f"\n{model} is served at {url} and loads with the first request:\n\n" + _list(
        [chat(url, model, "Name three rivers.", stream=True)]
    )


def two_models(url: str, first: str, second: str, *, stop: str = "", program: str = "hostler") -> str:
    """What `hostler demo` prints."""
    flag = "" if url == "http://127.0.0.1:8080" else f" --url {url}"
    return f"\nTwo models, one port: {url} (Ctrl-C stops everything). In another terminal:\n\n" + _list(
        [
            f"{program} logs{flag} -f",
            chat(url, first, "What is the capital of France?", stop=stop),
            chat(url, second, "What is the largest ocean?", stop=stop),
            chat(url, first, "Why is the sky blue?", stop=stop, stream=True),
            f"{program} ps{flag}",
            f"curl -N {url}/logs/stream/{first}",
        ]
    )


def _list(lines: list[str]) -> str:
    return "".join(f"  {line}\n\n" for line in lines)
