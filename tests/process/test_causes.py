"""Lines real engines print when they fail, and what we make of them."""
# ruff: noqa: E501 - the lines are as long as engines print them

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.core import Exit
from hostler.process.causes import Cause, guess_cause

LINES = [
    # out of memory: CUDA, ROCm, Vulkan, Metal, PyTorch, vLLM, plain memory
    ("out_of_memory", "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory"),
    ("out_of_memory", "llama_model_load: error loading model: unable to allocate CUDA0 buffer"),
    ("out_of_memory", "CUDA error: out of memory"),
    ("out_of_memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB"),
    ("out_of_memory", "torch.cuda.OutOfMemoryError: CUDA out of memory."),
    ("out_of_memory", "RuntimeError: HIP error: hipErrorOutOfMemory"),
    ("out_of_memory", "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8000.00 MiB on device 0: hipMalloc failed: out of memory"),
    ("out_of_memory", "ggml_vulkan: Device memory allocation of size 1073741824 failed. vk::Device::allocateMemory: ErrorOutOfDeviceMemory"),
    ("out_of_memory", "ggml_metal_graph_compute: command buffer 0 failed with status 5 error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
    ("out_of_memory", "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."),
    ("out_of_memory", "ValueError: Free memory on device (10.0/23.69 GiB) on startup is less than desired GPU memory utilization (0.9, 21.32 GiB)."),
    ("out_of_memory", "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 1363152896"),
    ("out_of_memory", "ggml_aligned_malloc: insufficient memory (attempted to allocate 9216.00 MB)"),
    ("out_of_memory", "MemoryError"),
    ("out_of_memory", "terminate called after throwing an instance of 'std::bad_alloc'"),
    ("out_of_memory", "fork: Cannot allocate memory"),
    # port in use
    ("port_in_use", "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080"),
    ("port_in_use", "start: couldn't bind HTTP server socket, hostname: 0.0.0.0, port: 5800"),
    ("port_in_use", "OSError: [Errno 98] Address already in use"),
    ("port_in_use", "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use"),
    ("port_in_use", "Error: listen tcp 127.0.0.1:11434: bind: address already in use"),
    ("port_in_use", "Error: listen EADDRINUSE: address already in use 127.0.0.1:3000"),
    ("port_in_use", "Failed to bind to port 8080"),
    # file not found
    ("file_not_found", "gguf_init_from_file: failed to open GGUF file '/models/missing.gguf' (No such file or directory)"),
    ("file_not_found", "gguf_init_from_file: failed to open GGUF file '/models/missing.gguf'"),
    ("file_not_found", "llama_model_load: error loading model: llama_model_loader: failed to load model from /m.gguf: /m.gguf: No such file or directory"),
    ("file_not_found", "FileNotFoundError: [Errno 2] No such file or directory: '/models/config.json'"),
    ("file_not_found", "python3: can't open file '/srv/engine.py': [Errno 2] No such file or directory"),
    ("file_not_found", "error: failed to open 'prompt.txt'"),
    ("file_not_found", "Error: open /models/a.gguf: no such file or directory"),
    # unknown flag
    ("unknown_flag", "error: invalid argument: --foo"),
    ("unknown_flag", "vllm: error: unrecognized arguments: --max-model-length 4096"),
    ("unknown_flag", "flag provided but not defined: -prot"),
    ("unknown_flag", "error: unexpected argument '--prot' found"),
    ("unknown_flag", "error: Found argument '--prot' which wasn't expected, or isn't valid in this context"),
    ("unknown_flag", "Error: unknown flag: --prot"),
    ("unknown_flag", "Error: No such option: --prot"),
    ("unknown_flag", "sleep: unrecognized option '--foo'"),
    ("unknown_flag", "sleep: invalid option -- 'x'"),
    # damaged or foreign model file
    ("bad_model", "gguf_init_from_file: invalid magic characters: 'PK', expected 'GGUF'"),
    ("bad_model", "gguf_init_from_file_impl: invalid magic characters: '<!DO', expected 'GGUF'"),
    ("bad_model", "llama_model_load: error loading model: error loading model architecture: unknown model architecture: 'qwen9'"),
    ("bad_model", "llama_model_load: error loading model: tensor 'blk.3.ffn_up.weight' data is not within the file bounds, model is corrupted or incomplete"),
    ("bad_model", "llama_model_load: error loading model: missing tensor 'output_norm.weight'"),
    ("bad_model", "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge"),
    ("bad_model", "srv    load_model: failed to load model, 'm.gguf'"),
    # the rest
    ("permission_denied", "PermissionError: [Errno 13] Permission denied: '/models/a.gguf'"),
    ("permission_denied", "/bin/sh: 1: ./engine: Permission denied"),
    ("command_not_found", "bash: line 1: llama-server: command not found"),
    ("command_not_found", "sh: 1: llama-server: not found"),
    ("command_not_found", "/usr/bin/env: ‘python4’: No such file or directory"),
    ("missing_library", "llama-server: error while loading shared libraries: libcudart.so.12: cannot open shared object file: No such file or directory"),
    ("missing_library", "dyld[123]: Library not loaded: @rpath/libggml.dylib"),
    ("missing_library", "ImportError: libcublas.so.12: cannot open shared object file: No such file or directory"),
    ("missing_library", "llama-server: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by llama-server)"),
    ("missing_module", "ModuleNotFoundError: No module named 'vllm'"),
    ("missing_module", "/usr/bin/python3: No module named vllm.entrypoints"),
    ("illegal_instruction", "Illegal instruction (core dumped)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "line"), LINES, ids=[line[:50] for _, line in LINES])
def test_a_line(kind: str, line: str) -> None:
    cause = guess_cause(["starting", line, "exiting"], Exit(code=1))

    assert cause is not None
    assert cause.kind == kind
    assert cause.message
    assert cause.advice
    assert "{" not in cause.message


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("error: invalid argument: --foo", "--foo"),
        ("vllm: error: unrecognized arguments: --bar 1", "--bar 1"),
        ("gguf_init_from_file: failed to open GGUF file '/m/a b.gguf' (No such file)", "/m/a b.gguf"),
        ("gguf_init_from_file: failed to open GGUF file '/m/a.gguf'", "/m/a.gguf"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x.json'", "x.json"),
        ("llama_model_loader: failed to load model from /m.gguf: /m.gguf: No such file or directory", "/m.gguf"),
        ("x: error while loading shared libraries: libcudart.so.12: cannot open shared object", "libcudart.so.12"),
        ("ModuleNotFoundError: No module named 'vllm'", "vllm"),
        ("bash: line 1: llama-server: command not found", "llama-server"),
        ("PermissionError: [Errno 13] Permission denied: '/m/a.gguf'", "/m/a.gguf"),
    ],
)  # fmt: skip
def test_the_name_in_the_line_is_in_the_message(line: str, name: str) -> None:
    cause = guess_cause([line], None)

    assert cause is not None
    assert cause.message.endswith(f": {name}")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "llama_model_loader: loaded meta data with 33 key-value pairs",
        "main: server is listening on http://127.0.0.1:8080",
        "INFO:     127.0.0.1:52344 - \"GET /health HTTP/1.1\" 503 Service Unavailable",
        "load_tensors: offloaded 33/33 layers to GPU",
        "CUDA : ARCHS = 890 | USE_GRAPHS = 1",
        "error: the number of slots is wrong",
    ],
)  # fmt: skip
def test_ordinary_lines_are_no_cause(line: str) -> None:
    assert guess_cause([line], Exit(code=1)) is None


def test_the_most_telling_line_wins() -> None:
    lines = [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "llama_model_load_from_file_impl: failed to load model",
        "srv    load_model: failed to load model, '/m.gguf'",
        "main: exiting due to model loading error",
    ]  # fmt: skip
    cause = guess_cause(lines, Exit(code=1))

    assert cause is not None
    assert cause.kind == "out_of_memory"


def test_of_equals_the_latest_wins() -> None:
    cause = guess_cause(["error: invalid argument: --old", "error: invalid argument: --new"], None)

    assert cause is not None
    assert cause.message.endswith("--new")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (Exit(signal=signal.SIGKILL), "out_of_memory"),
        (Exit(code=137), "out_of_memory"),
        (Exit(signal=signal.SIGILL), "illegal_instruction"),
        (Exit(code=132), "illegal_instruction"),
        (Exit(code=127), "command_not_found"),
        (Exit(code=126), "permission_denied"),
    ],
)
def test_the_way_it_ended_tells_something(end: Exit, kind: str) -> None:
    cause = guess_cause(["loading"], end)

    assert cause is not None
    assert cause.kind == kind


@pytest.mark.parametrize("end", [None, Exit(), Exit(code=0), Exit(code=1), Exit(signal=signal.SIGTERM)])
def test_nothing_is_made_up(end: Exit | None) -> None:
    assert guess_cause(["loading"], end) is None


def test_the_log_is_believed_before_the_exit() -> None:
    cause = guess_cause(["error: invalid argument: --foo"], Exit(signal=signal.SIGKILL))

    assert cause is not None
    assert cause.kind == "unknown_flag"


def test_a_kill_says_more_than_a_vague_line() -> None:
    cause = guess_cause(["failed to load model, 'm.gguf'"], Exit(signal=signal.SIGKILL))

    assert cause is not None
    assert cause.kind == "out_of_memory"


@given(st.lists(st.text(), max_size=5))
def test_any_text_is_survived(lines: list[str]) -> None:
    assert guess_cause(lines, None) is None or isinstance(guess_cause(lines, None), Cause)


def test_an_endless_line_costs_little() -> None:
    """What counts is at the beginning of a line; the rest of a monster is not even looked at."""
    assert guess_cause(["x" * 5_000_000 + " out of memory"], None) is None
