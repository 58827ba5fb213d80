"""Lines as engines print them, and how much each matters."""

# ruff: noqa: E501 - lines are as long as engines print them

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
        ("", None),
        ("informational text of no level", None),
    ],
)
def test_what_a_line_shows(line: str, level: Level | None) -> None:
    assert level_of(line) is level


DEBUG, INFO, WARN, ERROR = Level.DEBUG, Level.INFO, Level.WARN, Level.ERROR
STYLES = [
    # llama.cpp: with times, with prefixes alone, with neither, in colours
    (INFO, "0.00.123.456 I srv  update_slots: all slots are idle"),
    (DEBUG, "12.34.567.890 D slot get_availabl: id  0 | task 1 | selected slot"),
    (ERROR, "0.01.000.001 E llama_model_load: error loading model: missing tensor"),
    (WARN, "\x1b[34m0.00.123.456\x1b[0m \x1b[35mW \x1b[0mllama_context: n_ctx_seq is small"),
    (INFO, "I llama_model_loader: loaded meta data with 33 key-value pairs and 291 tensors"),
    (INFO, "I srv    load_model: loading model 'm.gguf'"),
    (WARN, "W common_init_from_params: KV cache shifting is not supported"),
    (ERROR, "E srv    load_model: failed to load model, 'm.gguf'"),
    (INFO, "main: server is listening on http://127.0.0.1:8080"),
    (INFO, "load_tensors: offloaded 33/33 layers to GPU"),
    (INFO, "srv  log_server_r: request: POST /v1/chat/completions 127.0.0.1 200"),
    (INFO, "slot update_slots: id  0 | task 12 | prompt processing progress, n_past = 2048"),
    (ERROR, "/src/ggml/src/ggml-cuda/ggml-cuda.cu:83: CUDA error"),
    (ERROR, "GGML_ASSERT(n_tokens <= n_batch) failed"),
    (WARN, "warning: not compiled with GPU offload support"),
    # vLLM: of its processes, with colours, its server
    (INFO, "INFO 11-27 10:00:00 [api_server.py:1289] vLLM API server version 0.11.0"),
    (INFO, "(APIServer pid=12) INFO 11-27 10:00:00 [api_server.py:1839] Starting vLLM server"),
    (ERROR, "(EngineCore pid=1) ERROR 11-27 10:00:00 [core.py:708] EngineCore failed to start."),
    (ERROR, "(EngineCore_DP0 pid=7) (Worker_TP0 pid=9) ERROR 11-27 10:00:00 [multiproc_executor.py:1] no"),
    (WARN, "\x1b[1;36m(EngineCore_DP0 pid=7)\x1b[0;0m WARNING 11-27 10:00:00 [config.py:3] Casting"),
    (INFO, '(APIServer pid=12) INFO:     127.0.0.1:51234 - "GET /health HTTP/1.1" 200 OK'),
    (ERROR, "(EngineCore_DP0 pid=7) Traceback (most recent call last):"),
    (None, '(EngineCore_DP0 pid=7)   File "/usr/lib/vllm/core.py", line 1, in run'),
    (ERROR, "(EngineCore_DP0 pid=7) ValueError: No available memory for the cache blocks."),
    (ERROR, "[rank0]: Traceback (most recent call last):"),
    (WARN, "[rank0]:[W1127 10:00:00.123456789 ProcessGroupNCCL.cpp:1496] Warning: destroy_process_group()"),
    # SGLang names a level only where the message does
    (WARN, "[2026-01-01 10:00:00 TP0] WARNING: the tokenizer is slow"),
    (INFO, "[2026-01-01 10:00:00 TP0] Decode batch. #running-req: 1, #token: 120, gen throughput: 80.1"),
    (ERROR, "[2026-01-01 10:00:00 TP1] Scheduler hit an exception: Traceback (most recent call last):"),
    (INFO, '[2026-01-01 10:00:00] INFO:     127.0.0.1:4711 - "POST /generate HTTP/1.1" 200 OK'),
    # uvicorn, Python's logging, loguru, rich
    (ERROR, "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000)"),
    (INFO, "\x1b[32mINFO\x1b[0m:     Started server process [\x1b[36m1\x1b[0m]"),
    (ERROR, "CRITICAL:root:no more"),
    (WARN, "WARNING:transformers.modeling_utils:odd weights"),
    (WARN, "2026-01-01 10:00:00.123 | WARNING  | backends.exllama:load:12 - odd"),
    (INFO, "10:00:00-123456 INFO     Loading the model"),
    (DEBUG, "[01/01/26 10:00:00] DEBUG    details                     app.py:12"),
    (WARN, "/usr/lib/python3/site-packages/torch/nn.py:12: UserWarning: odd"),
    (ERROR, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    # Go: slog, logrus, zap, klog, gin, the standard log, a panic
    (WARN, "time=2026-01-01T10:00:00.000+01:00 level=WARN source=routes.go:1 msg=low"),
    (ERROR, 'time="2026-01-01T10:00:00Z" level=error msg="no"'),
    (DEBUG, "DEBU[0000] details"),
    (ERROR, "FATA[0012] no more"),
    (ERROR, "2026-01-01T10:00:00.000+0100\tERROR\tserver/main.go:12\tno"),
    (WARN, "2026/01/01 10:00:00 WARN low memory free=12"),
    (INFO, "2026/01/01 10:00:00 listening on :11434"),
    (INFO, "I0101 10:00:00.000000       1 main.go:12] started"),
    (INFO, "[GIN] 2026/01/01 - 10:00:00 | 200 |  1.2ms | 127.0.0.1 | POST \"/api/chat\""),
    (DEBUG, "[GIN-debug] GET /api/tags --> server.List (5 handlers)"),
    (ERROR, "panic: runtime error: index out of range"),
    # Rust: tracing with and without time and colours, env_logger, a panic
    (WARN, "\x1b[2m2026-01-01T10:00:00.123456Z\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2mrouter\x1b[0m\x1b[2m:\x1b[0m slow"),
    (INFO, " INFO mistralrs_core: loading"),
    (DEBUG, "TRACE hyper::proto: read 12 bytes"),
    (INFO, "[2026-01-01T10:00:00Z INFO  text_embeddings] ready"),
    (ERROR, "thread 'main' panicked at src/main.rs:12:5:"),
    # TensorRT-LLM
    (WARN, "[TensorRT-LLM][WARNING] odd"),
    (ERROR, "[01/02/2026-10:11:12] [TRT-LLM] [E] no"),
    # JSON: whatever comes first, and as pino counts
    (WARN, '{"timestamp":"2026-01-01T10:00:00Z","level":"WARN","fields":{"message":"odd"}}'),
    (ERROR, '{"message":"' + "x" * 300 + '","severity":"ERROR"}'),
    (ERROR, '{"@timestamp":"2026-01-01T10:00:00Z","log.level":"error"}'),
    (WARN, '{"level":40,"time":1,"msg":"odd"}'),
    (None, '{"role":"assistant","content":"error"}'),
    # no level at all
    (None, "goroutine 1 [running]:"),
    (None, "    return self._call_impl(*args, **kwargs)"),
    (None, "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]"),
    (None, "I am a sentence and E is a letter"),
    (None, "done with 0 errors, no error was found"),
]  # fmt: skip


@pytest.mark.parametrize(("level", "line"), STYLES, ids=[line[:40] for _, line in STYLES])
def test_the_styles_of_engines(level: Level | None, line: str) -> None:
    assert level_of(line) is level


def test_what_follows_a_traceback_is_not_an_error_for_ever() -> None:
    lines = ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no", "  ^^^"]
    assert [level_of(line) for line in lines] == [ERROR, None, ERROR, None]
    assert level_of("slot launch_slot_: id  0 | task 1 | processing task") is INFO


def test_colours_are_taken_away() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text") == "red text"


@given(st.text(max_size=300))
def test_any_line_can_be_looked_at(line: str) -> None:
    assert level_of(line) in (None, *Level)
