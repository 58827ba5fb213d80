"""The tiny model: small, the same every time, and llama.cpp speaks it."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.testing import tiny_gguf, write_tiny_gguf

pytest.importorskip("gguf")


def test_is_small(tmp_path: Path) -> None:
    begun = time.perf_counter()
    path = write_tiny_gguf(tmp_path / "model.gguf")

    size = path.stat().st_size
    print(f"\ntiny model: {size / 1000:.0f} kB, written in {(time.perf_counter() - begun) * 1000:.0f} ms")
    assert path.read_bytes()[:4] == b"GGUF"
    assert size < 1_000_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gguf"]


def test_is_the_same_every_time(tmp_path: Path) -> None:
    first = write_tiny_gguf(tmp_path / "a").read_bytes()

    assert write_tiny_gguf(tmp_path / "b").read_bytes() == first
    assert write_tiny_gguf(tmp_path / "c", seed=1).read_bytes() != first


def test_carries_its_name(tmp_path: Path) -> None:
    path = write_tiny_gguf(str(tmp_path / "model"), name="pet")

    assert b"general.name" in path.read_bytes()
    assert b"pet" in path.read_bytes()


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)

    with pytest.raises(ImportError, match=r"pip install 'hostler\[testing\]'"):
        write_tiny_gguf(tmp_path / "model")


class Served:
    """The model inside llama.cpp, in this very process."""

    def __init__(self, path: Path) -> None:
        native: Any = pytest.importorskip("xllamacpp")
        params = native.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 1024
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.verbosity = -1
        params.embedding = True
        params.pooling_type = native.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        self.server = native.Server(params)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def served(hostler_tiny_gguf: Path) -> Iterator[Served]:
    begun = time.perf_counter()
    served = Served(hostler_tiny_gguf)
    print(f"\ntiny model: loaded in {(time.perf_counter() - begun) * 1000:.0f} ms")
    yield served
    del served.server


def ask(served: Served, **more: Any) -> Any:
    return served.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello?"}]} | more)


@pytest.mark.wire
def test_speaks_in_words(served: Served) -> None:
    for seed in range(5):
        answer = ask(served, seed=seed, max_tokens=60, ignore_eos=True)
        words = answer["choices"][0]["message"]["content"].split()

        assert len(words) == 60
        assert set(words) <= set(tiny_gguf.LEXICON.split())


@pytest.mark.wire
def test_comes_to_an_end(served: Served) -> None:
    answers = [ask(served, seed=seed, max_tokens=900) for seed in range(5)]

    assert "stop" in {answer["choices"][0]["finish_reason"] for answer in answers}


@pytest.mark.wire
def test_reads_any_text(served: Served) -> None:
    tokens = served.post("/tokenize", {"content": "the boat – wörld ☃"})["tokens"]

    assert served.post("/detokenize", {"tokens": tokens})["content"].strip() == "the boat – wörld ☃"


@pytest.mark.wire
def test_whole_words_are_one_token(served: Served) -> None:
    assert len(served.post("/tokenize", {"content": " the boat answers"})["tokens"]) == 3 + len("s")


@pytest.mark.wire
def test_keeps_to_a_schema(served: Served) -> None:
    body = {"prompt": "the boat", "json_schema": {"const": {"a": 1}}, "n_predict": 200, "temperature": 0}

    assert json.loads(served.post("/completion", body)["content"]) == {"a": 1}


@pytest.mark.wire
def test_gives_embeddings(served: Served) -> None:
    data = served.post("/v1/embeddings", {"input": ["boat", "river"]})["data"]

    assert len(data[0]["embedding"]) == tiny_gguf.WIDTH
    assert data[0]["embedding"] != data[1]["embedding"]


@pytest.mark.wire
def test_endless_model_talks_until_it_may_not(tmp_path: Path) -> None:
    served = Served(write_tiny_gguf(tmp_path / "endless.gguf", endless=True))
    answers = [ask(served, seed=seed, max_tokens=300) for seed in range(3)]

    assert {answer["choices"][0]["finish_reason"] for answer in answers} == {"length"}
