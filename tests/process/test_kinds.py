"""Commands as people write them, and which engine they start."""
# ruff: noqa: E501 - commands are as long as people write them

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.process.kinds import KINDS, engine_names, is_meant

COMMANDS = [
    ("llama.cpp", "llama-server -m /models/vllm/a.gguf --port 5800"),
    ("llama.cpp", "/opt/llama.cpp/build/bin/llama-server -m a.gguf"),
    ("llama.cpp", "C:\\llama\\llama-server.exe -m a.gguf"),
    ("llama.cpp", "python3 -m llama_cpp.server --model a.gguf"),
    ("llama.cpp", "docker run --rm --gpus all -v /models:/models -p 5800:8080 ghcr.io/ggml-org/llama.cpp:server-cuda -m /models/a.gguf"),
    ("llama.cpp", "taskset -c 0-3 nice -n 10 llama-server -m a.gguf"),
    ("llama.cpp", "env CUDA_VISIBLE_DEVICES=0 GGML_X=1 /bin/llama-server -m a.gguf"),
    ("llama.cpp", "sh -c 'cd /models && exec llama-server -m a.gguf'"),
    ("llama.cpp", "numactl --cpunodebind=0 --membind=0 llama-server -m a.gguf"),
    ("built-in", "/usr/bin/python3.12 -m hostler.engines.llamacpp -m a.gguf"),
    ("llama.cpp", "/usr/bin/python3.12 -m hostler.engines.llamacpp -m a.gguf"),
    ("vllm", "vllm serve Qwen/Qwen3-8B --port 5800"),
    ("vllm", "/venv/bin/python -m vllm.entrypoints.openai.api_server --model m"),
    ("vllm", "/venv/bin/python -u -m vllm.entrypoints.openai.api_server --model m"),
    ("vllm", "docker run --rm --name q -p 5800:8000 --ipc=host vllm/vllm-openai:v0.11.0 --model m"),
    ("vllm", "podman run --device nvidia.com/gpu=all docker.io/vllm/vllm-openai@sha256:0a1b --model m"),
    ("vllm", "uv run vllm serve m"),
    ("vllm", "bash -lc 'source /venv/bin/activate; CUDA_VISIBLE_DEVICES=1 vllm serve m'"),
    ("sglang", "python -m sglang.launch_server --model-path m"),
    ("sglang", "docker run lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path m"),
    ("ollama", "ollama serve"),
    ("ollama", "docker run -v ollama:/root/.ollama ollama/ollama"),
    ("tabbyapi", "python /opt/tabbyAPI/main.py --port 5000"),
    ("tabbyapi", "docker run ghcr.io/theroyallab/tabbyapi:latest"),
    ("koboldcpp", "python koboldcpp.py --model a.gguf"),
    ("koboldcpp", "./koboldcpp-linux-x64-cuda1150 --model a.gguf"),
    ("tgi", "text-generation-launcher --model-id m"),
    ("tgi", "docker run ghcr.io/huggingface/text-generation-inference:3.0 --model-id m"),
    ("tei", "text-embeddings-router --model-id m"),
    ("mlx", "mlx_lm.server --model m"),
    ("mlx", "python -m mlx_lm.server --model m"),
    ("whisper.cpp", "whisper-server -m a.bin"),
    ("stable-diffusion.cpp", "sd-server -m a.safetensors"),
    ("comfyui", "python /opt/ComfyUI/main.py --port 8188"),
    ("aphrodite", "aphrodite run m"),
    ("mistral.rs", "mistralrs-server --port 1234 plain -m m"),
    ("lmdeploy", "lmdeploy serve api_server m"),
    ("tensorrt-llm", "trtllm-serve m"),
    ("infinity", "infinity_emb v2 --model-id m"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "command"), COMMANDS, ids=[command[:60] for _, command in COMMANDS])
def test_the_engine_of_a_command(kind: str, command: str) -> None:
    argv = shlex.split(command, posix="\\" not in command)
    names = engine_names(argv)

    assert is_meant([kind], names)
    others = {other for other in KINDS if is_meant([other], names)}
    assert others <= {kind, *(("built-in", "llama.cpp") if kind in ("built-in", "llama.cpp") else ())}


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("llama-server", "/opt/bin/llama-server -m a.gguf"),
        ("Llama_Server", "/opt/bin/llama-server -m a.gguf"),
        ("llamacpp", "llama-server -m a.gguf"),
        ("my-engine", "/srv/my-engine.py --port 1"),
        ("my-engine", "python3 /srv/my_engine.py --port 1"),
        ("start-model.sh", "bash /srv/start-model.sh a"),
        ("tabby", "python /opt/tabby/main.py"),
    ],
)
def test_a_program_goes_by_its_own_name(engine: str, command: str) -> None:
    assert is_meant([engine], engine_names(shlex.split(command)))


@pytest.mark.parametrize(
    "command",
    ["", "sh", "sh -c", "python -m", "python -c 'import vllm'", "env", "docker run", "sleep 3", "''"],
)
def test_nothing_is_known_of_others(command: str) -> None:
    assert not {kind for kind in KINDS if is_meant([kind], engine_names(shlex.split(command)))}


@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_command_can_be_looked_at(argv: list[str]) -> None:
    engine_names(argv)
