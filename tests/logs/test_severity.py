"""Lines as engines print them, and how much each matters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.logs.levels import Level
from hostler.logs.severity import level_of, plain


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("INFO 11-02 10:11:12 [core.py:61] Initializing a V1 LLM engine", Level.INFO),
        ("(EngineCore_0 pid=71) ERROR 11-02 10:11:12 [core.py:700] EngineCore failed to start.", Level.ERROR),
        ("WARNING 11-02 10:11:12 [config.py:3] Casting torch.bfloat16 to torch.float16.", Level.WARN),
        ('INFO:     127.0.0.1:51234 - "POST /v1/chat/completions HTTP/1.1" 200 OK', Level.INFO),
        ("\x1b[32mINFO\x1b[0m:     Uvicorn running on http://0.0.0.0:8000", Level.INFO),
        ("WARNING:root:something is odd", Level.WARN),
        ("2026-01-02 03:04:05,678 - my.module - ERROR - broken", Level.ERROR),
        ("2026-01-02 03:04:05,678 DEBUG details", Level.DEBUG),
        ("[2026-01-02 03:04:05] WARNING server_args.py:100: unusual", Level.WARN),
        ('time=2026-01-02T03:04:05Z level=WARN msg="low memory"', Level.WARN),
        ("2026-01-02T03:04:05.123456Z  WARN text_generation_launcher: slow", Level.WARN),
        ("[2026-01-02T03:04:05Z ERROR my_crate::module] no", Level.ERROR),
        ('{"level":"error","ts":1,"msg":"no"}', Level.ERROR),
        ("0.00.123.456 W llama_context: n_ctx_seq (4096) < n_ctx_train (8192)", Level.WARN),
        ("E0102 03:04:05.000000    12 file.cc:1] no", Level.ERROR),
        ("ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device", Level.ERROR),
        ("llama_model_load: error loading model: missing tensor", Level.ERROR),
        ("warning: no usable GPU found", Level.WARN),
        ("Traceback (most recent call last):", Level.ERROR),
        ("panic: runtime error", Level.ERROR),
        ("[WARN] listening on everything", Level.WARN),
        ("main: server is listening on http://127.0.0.1:8080", None),
        ("load_tensors: offloaded 33/33 layers to GPU", None),
        ("", None),
        ("informational text of no level", None),
    ],
)
def test_what_a_line_shows(line: str, level: Level | None) -> None:
    assert level_of(line) is level


def test_colours_are_taken_away() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text") == "red text"


@given(st.text(max_size=300))
def test_any_line_can_be_looked_at(line: str) -> None:
    assert level_of(line) in (None, *Level)
