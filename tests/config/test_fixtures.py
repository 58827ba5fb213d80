"""What must hold: files as people write them mean what their authors expect."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.config.commands import split_command
from hostler.config.parse import Loaded, Platform
from hostler.config.show import dump_yaml

from .cases import in_one_set, model, read

FIXTURES = {path.stem: path for path in sorted((Path(__file__).parent / "fixtures").glob("*.yaml"))}
ENVIRON = {
    "FRONT_KEY": "fk-123", "SECOND_KEY": 'x\\y"z', "OPENROUTER_KEY": "or: #1", "LEVEL": "debug", "TTL": "60",
    "MODELS": "/mnt/m", "SERVER": "llama-server", "HF_TOKEN": "hf_abc", "PASS": "p'w{}$[] ${x}",
}  # fmt: skip


def loaded(number: str) -> Loaded:
    (name,) = (name for name in FIXTURES if name.startswith(f"{number}_"))
    platform: Platform = "windows" if "windows" in name else "posix"
    text = FIXTURES[name].read_text(encoding="utf-8")
    return read(text, env=ENVIRON, platform=platform, together=in_one_set)


def words(number: str, name: str, windows: bool = False) -> list[str]:
    return split_command(model(loaded(number).config, name).cmd, windows=windows)


def test_there_are_thirty() -> None:
    assert len(FIXTURES) >= 30


@pytest.mark.parametrize("name", FIXTURES)
def test_each_is_valid_and_can_be_shown_and_read_again(name: str) -> None:
    first = loaded(name[:2])
    platform: Platform = "windows" if "windows" in name else "posix"

    again = (
        read(dump_yaml(first.config, mask=False), platform=platform) if "${x}" not in repr(first) else first
    )

    assert first.warnings == []
    assert again.config.models == first.config.models
    assert again.config.routing == first.config.routing


def test_nested_macros() -> None:
    config = loaded("03").config

    assert "--ctx-size 32768 -m /m/coder-7b.gguf --temp 0.2" in model(config, "coder-7b").cmd
    assert "--ctx-size 8192\n-m /m/coder-14b-Q4_K_M.gguf" in model(config, "coder-14b").cmd
    assert model(config, "coder-14b").metadata == {"ctx": 8192, "quant": "Q4_K_M"}


def test_docker() -> None:
    found = words("04", "vllm-qwen")

    assert found[:3] == ["docker", "run", "--init"]
    assert '"device=0,1"' in found
    assert found[-1] == '{"temperature": 0.6, "top_p": 0.95}'
    assert "HF_TOKEN=hf_not_a_real_token" in found
    assert model(loaded("04").config, "mistral-small").cmd_stop == "docker stop mistral-small"


def test_podman() -> None:
    assert "/home/user/My Models:/models:Z" in words("05", "granite")
    assert "/models/granite 3.3.gguf" in words("05", "granite")


def test_several_gpus() -> None:
    found = model(loaded("06").config, "deepseek-70b")

    assert found.env[0] == "CUDA_VISIBLE_DEVICES=0,1,2,3"
    assert found.env[-1] == "EMPTY="
    assert split_command(found.cmd)[-6:] == [
        "--tensor-split",
        "24,24,24,24",
        "--split-mode",
        "row",
        "--main-gpu",
        "0",
    ]
    assert words("06", "whisper-gpu3")[-2:] == ["--inference-path", ""]


def test_groups_and_matrices() -> None:
    assert loaded("07").config.routing.groups["rag"].members == ("embed", "rerank")
    matrix = loaded("09").config.routing.matrix
    assert matrix is not None
    assert matrix.vars == {"g": "org/gemma-3-27b:q4", "q": "qwen-coder", "e": "bge m3"}
    assert list(matrix.sets) == ["small", "talk", "paint"]


def test_peers() -> None:
    peer = loaded("11").config.peers["openrouter"]

    assert peer.api_key == "or: #1"
    assert peer.filters.strip_params == ("temperature", "top_p")
    assert (peer.timeouts.response_header, peer.timeouts.connect) == (300, 30)


def test_windows() -> None:
    assert words("12", "phi-4", windows=True)[:2] == [
        r"C:\Program Files\llama.cpp\llama-server.exe",
        "--port",
    ]
    assert r"D:\LLM\gguf\phi-4-Q4_K_M.gguf" in words("12", "phi-4", windows=True)
    assert words("12", "gemma", windows=True)[-1] == r"D:\LLM\my models\gemma 3.gguf"
    assert words("13", "koboldcpp", windows=True)[0] == r"C:\AI\kobold\koboldcpp.exe"
    assert model(loaded("13").config, "tabby").cmd_stop == "taskkill /f /t /pid ${PID}"


def test_comments() -> None:
    assert words("14", "busy")[:6] == ["llama-server", "--port", "5800", "#", "not", "a"]
    assert words("14", "busy")[-2:] == ["-m", "/m/has#hash.gguf"]
    assert model(loaded("14").config, "busy").aliases == ("one",)


def test_anchors() -> None:
    config = loaded("15").config

    assert [(m.ttl, m.unload_timeout, m.unlisted) for m in config.models.values()] == [
        (900, 10, False),
        (120, 60, True),
        (5, 10, False),
    ]
    assert len(model(config, "other").env) == 2


def test_environment() -> None:
    config = loaded("16").config

    assert [k.key for k in config.api_keys] == ["fk-123", 'x\\y"z']
    assert (config.global_ttl, config.log_level) == (60, "debug")
    assert model(config, "gated").env == ("HF_TOKEN=hf_abc", "PASS=p'w{}$[] ${x}")
    assert model(config, "gated").cmd == "llama-server --port 5800 -m /mnt/m/gated.gguf"


def test_names() -> None:
    config = loaded("17").config

    assert config.preload == ("Qwen/Qwen3-8B", "llama3.3:70b")
    assert config.resolve("claude-3-5-haiku:latest") == "Qwen/Qwen3-8B"
    assert loaded("18").config.aliases == {"qwen3-instruct": "qwen3"}
    assert dict(loaded("19").config.profiles["offline"].pins) == {"giant": None, "gpt-4": "fast"}


def test_numbers_and_words() -> None:
    config = loaded("24").config

    assert (config.start_port, config.metrics_max_in_memory, config.performance.every) == (10_000, 1000, 90)
    assert (model(config, "1.5b").name, model(config, "1.5b").description) == ("1.50", "2024-05-01")
    assert model(config, "2024").metadata == {"released": "2024-05-01", "size": 1000.0, "octal": 15}
    assert model(config, "null-model").filters.strip_params == ()


def test_types_in_metadata() -> None:
    assert model(loaded("25").config).metadata == {
        "port": 5800,
        "text": "port 5800 temp 0.7 true",
        "exact": [0.7, True, 4096],
        "deep": {"a": {"b": {"c": ["m"]}}},
        "quoted": "4096",
    }


def test_no_shell() -> None:
    found = words("26", "scripted")

    assert found[:2] == ["bash", "-c"]
    assert len(found) == 3
    assert '"$MODEL_DIR/x.gguf" | tee' in found[2]


def test_older_files() -> None:
    config = loaded("30").config

    assert (config.log_level, config.log_time_format, config.log_to_stdout) == ("warn", "rfc3339", "both")
    assert model(config, "llama").cmd == "llama-server --port 10001\n--ctx-size 4096\n"
    assert config.routing.groups["(default)"].members == ("llama",)
