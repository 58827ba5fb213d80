"""Lines as engines print them while they load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.process.progress import Progress, progress_of


@pytest.mark.parametrize(
    ("line", "stage", "fraction"),
    [
        (
            "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:03<00:03,  1.6s/it]",
            "loading weights",
            0.5,
        ),
        ("Capturing CUDA graph shapes:  23%|##3       | 8/35 [00:02<00:07]", "capturing CUDA graphs", 0.23),
        (
            "INFO 11-02 10:11:12 [gpu_model_runner.py:1770] Starting to load model Qwen/Qwen3-8B...",
            "loading weights",
            None,
        ),
        ("INFO 11-02 [default_loader.py:262] Loading weights took 3.41 seconds", "weights loaded", None),
        ("[2026-01-01 10:00:00] Load weight begin. avail mem=23.10 GB", "loading weights", None),
        ("....................", "loading weights", 0.2),
        ("." * 140, "loading weights", 1.0),
        (
            "load_tensors: loading model tensors, this can take a while... (mmap = true)",
            "loading weights",
            None,
        ),
        ("llama_model_loader: loaded meta data with 33 key-value pairs", "reading the model file", None),
        ("llama_context: constructing llama_context", "making the context", None),
        (
            "common_init_from_params: warming up the model with an empty run - please wait ...",
            "warming up",
            None,
        ),
        ("0.00.009.043 I srv          init: loading model", "loading weights", None),
        ("0.00.009.576 I srv    load_model: loading model '/m/a.gguf'", "loading weights", None),
        (
            "0.02.057.790 I cmn          init: llama threadpool init, n_threads = 2",
            "making the context",
            None,
        ),
        ("0.03.269.507 I srv    load_model: initializing, n_slots = 4", "making the context", None),
        ("Downloading shards: 10%|#\rDownloading shards: 75%|#######", "downloading", 0.75),
        ("loading tensors from model.gguf 30/60", "loading weights", 0.5),
    ],
)
def test_what_a_line_says(line: str, stage: str, fraction: float | None) -> None:
    assert progress_of([line]) == Progress(stage, fraction)


def test_the_newest_line_that_says_something_counts() -> None:
    lines = ["llama_model_loader: x", "load_tensors: loading model tensors", "print_info: arch = llama", ""]

    assert progress_of(lines) == Progress("loading weights")
    assert progress_of(["hello", "GET /health"]) is None


@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_line_can_be_looked_at(lines: list[str]) -> None:
    found = progress_of(lines)
    assert found is None or found.fraction is None or 0.0 <= found.fraction <= 1.0
