"""What must hold: files as people write them mean what their authors expect."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.config.commands import split_command
from hostler.config.load import load
from hostler.config.parse import Loaded, Platform
from hostler.config.show import dump_yaml

from .cases import in_one_set, model, problems, read

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


def test_there_are_many() -> None:
    assert len(FIXTURES) >= 41


@pytest.mark.parametrize("name", FIXTURES)
def test_each_is_valid_and_can_be_shown_and_read_again(name: str) -> None:
    first = loaded(name[:2])
    platform: Platform = "windows" if "windows" in name else "posix"

    again = read(dump_yaml(first.config, mask=False), platform=platform)

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


def test_a_draft_model() -> None:
    found = words("31", "qwen3-32b")
    long = words("31", "qwen3-32b-long")

    assert found[:5] == ["/opt/llama.cpp/build/bin/llama-server", "--host", "127.0.0.1", "--port", "5800"]
    assert found[-4:] == ["-c", "32768", "--chat-template-kwargs", '{"enable_thinking": false}']
    assert "CUDA1" in found
    assert not [word for word in found if "#" in word or "draft" in word]
    assert long[-6:] == ["-c", "131072", "--rope-scaling", "yarn", "--rope-scale", "4"]
    filters = model(loaded("31").config, "qwen3-32b-long").filters
    assert filters.strip_params == ("temperature", "top_k")
    assert filters.set_params == {"temperature": 0.6, "chat_template_kwargs.enable_thinking": True}


def test_containers_that_are_stopped_by_name() -> None:
    config = loaded("32").config
    vllm, podman = model(config, "vllm-qwen3-coder"), model(config, "podman-granite")

    assert split_command(vllm.cmd)[2:6] == ["--init", "--rm", "--name", "vllm-qwen3-coder"]
    assert split_command(vllm.cmd)[10:15] == [
        "127.0.0.1:5801:8000", "--gpus", '"device=0,1"', "-v", "/srv/hf:/root/.cache/huggingface"
    ]  # fmt: skip
    assert "HF_TOKEN=hf_abc" in split_command(vllm.cmd)
    assert vllm.cmd_stop == "docker stop -t 20 vllm-qwen3-coder"
    assert (vllm.unload_timeout, vllm.health_check_timeout, vllm.startup_grace) == (30, 900, 60)
    assert (vllm.concurrency_limit, vllm.queue_limit) == (64, 500)
    assert split_command(podman.cmd)[10:13] == [
        "-v",
        "/srv/my models:/models:ro,Z",
        words("32", "podman-granite")[12],
    ]
    assert split_command(podman.cmd_stop) == ["podman", "stop", "--ignore", "granite"]
    assert podman.proxy == "http://127.0.0.1:5800"


def test_lists_of_variables_shared_by_anchors() -> None:
    config = loaded("33").config
    llama, qwen = model(config, "llama-3.3-70b"), model(config, "qwen2.5-72b")

    assert llama.env[1] == "CUDA_VISIBLE_DEVICES=0,1"
    assert qwen.env == (
        "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=2,3", 'EXTRA={"a": [1, 2]}'
    )  # fmt: skip
    assert (llama.health_check_timeout, qwen.health_check_timeout) == (600, 1200)
    assert (llama.timeouts.connect, qwen.timeouts.connect, qwen.timeouts.idle_conn) == (5, 10, 300)
    assert words("33", "qwen2.5-72b")[-4:] == ["-tp", "2", "--quantization", "awq_marlin"]
    assert words("33", "qwen2.5-72b")[7:9] == ["--served-model-name", "qwen2.5-72b"]


def test_a_matrix_with_costs() -> None:
    config = loaded("34").config
    matrix = config.routing.matrix

    assert matrix is not None
    assert matrix.vars["vl"] == "qwen2.5 vl"
    assert dict(matrix.evict_costs) == {"big": 50, "vl": 5, "embed": 1}
    assert list(matrix.sets.items())[-1] == ("look", "vl & e")
    assert config.preload == ("embed", "rerank", "gpt-oss:20b")
    assert dict(config.routing.fifo.priority) == {"gpt-oss:20b": 5, "embed": 100}
    assert config.routing.fifo.max_wait == 45
    assert {m.id: m.port for m in config.models.values()} == {
        "embed": 5800, "gpt-oss:120b": 5801, "gpt-oss:20b": 5802, "qwen2.5 vl": 5803, "rerank": 5804,
        "whisper": 5805,
    }  # fmt: skip
    assert words("34", "gpt-oss:120b")[-2:] == ["-ot", ".ffn_.*_exps.=CPU"]
    assert words("34", "whisper")[-1] == ""


def test_many_peers() -> None:
    config = loaded("35").config

    assert [(k.key, k.name, k.scopes) for k in config.api_keys] == [
        ("fk-123", "", ()),
        ('x\\y"z', "laptop", ("inference",)),
        ("ops-key-1", "operations", ("admin", "logs")),
    ]
    assert config.peers["workstation"].proxy == "http://192.168.7.20:8080"
    assert config.peers["workstation"].api_key == "p'w{}$[] ${x}"
    assert config.peers["mac studio"].tls.ca == "/etc/ssl/home-ca.pem"
    assert config.peers["openrouter"].filters.strip_params == ("min_p", "top_k")
    assert config.peers["openrouter"].filters.set_params_by_id == {"claude-sonnet-4.5": {"max_tokens": 8192}}
    assert config.selectors["fast"].targets == ("local", "workstation/qwen3-235b", "glm-4.6")
    assert config.selectors["best"].metadata == {"cost": 3.5}
    assert dict(config.profiles["offline"].pins) == {
        "best": "local",
        "claude-sonnet-4.5": None,
        "gpt-4o": "fast",
    }


def test_sound_and_pictures() -> None:
    config = loaded("36").config
    comfy = model(config, "comfyui_auto")

    assert (comfy.concurrency_limit, comfy.compat.ignore_websockets) == (50, True)
    assert words("36", "comfyui_auto")[2:] == [
        'cd /opt/ComfyUI && exec ./venv/bin/python main.py --port "$1" --disable-auto-launch', "comfy", "5800"
    ]  # fmt: skip
    assert (model(config, "kokoro").cwd, model(config, "kokoro").use_model_name) == (
        "/opt/kokoro-fastapi",
        "tts-1",
    )
    assert [m.send_loading_state for m in config.models.values()] == [False, True, True, True]
    assert words("36", "whisper-1")[-2:] == ["--inference-path", ""]
    assert [cause.name for cause in config.logs.causes] == ["missing_weights", "port_in_use"]
    assert config.logs.causes[0].pattern == r'error: failed to (?:load|open) ".*\.safetensors"'
    assert config.ignore_paths[2] == r"(?i)favicon\.ico$"


def test_embeddings() -> None:
    config = loaded("37").config

    assert config.routing.groups["always"].members == ("bge-m3", "tei", "own")
    assert model(config, "tei").metadata == {
        "dims": 1024, "released": "2024-11-20", "score": 0.9, "versions": [1.1, "1.10", "v1"]
    }  # fmt: skip
    assert model(config, "own").args == ("--embeddings", "--pooling", "mean", "-c", "2048")
    assert (model(config, "own").port, model(config, "own").proxy) == (6001, "http://127.0.0.1:6001")


def test_windows_paths() -> None:
    assert words("38", "qwen", windows=True)[-6:] == [
        "-m", r"D:\LLM\qwen3-8b.gguf",
        "--slot-save-path", "C:\\Users\\Zoë Müller\\.cache\\huggingface\\slots\\",
        "--alias", 'the "big" one',
    ]  # fmt: skip
    assert words("38", "unc", windows=True)[:3] == [
        r"\\nas\share\llama server\server.exe", "-m", r"\\nas\share\m.gguf"
    ]  # fmt: skip
    assert words("38", "powershell", windows=True)[-1] == r"& { & 'C:\a b\run.ps1' -Port 5800 }"
    assert model(loaded("38").config, "wsl").cmd_stop == 'wsl.exe -d Ubuntu -- pkill -f "port 5803"'
    assert model(loaded("38").config, "qwen").cmd_stop == "taskkill /f /t /pid ${PID}"


def test_anchors_in_all_places() -> None:
    config = loaded("39").config

    assert {m.id: (m.ttl, m.unlisted) for m in config.models.values()} == {
        "a": (60, True), "b": (600, False), "c": (5, True), "d": (0, False)
    }  # fmt: skip
    assert words("39", "b")[-2:] == ["--verbose", "b"]
    assert words("39", "c")[-1] == "/m/c.gguf"
    assert model(config, "b").filters.set_params == {"temperature": 0.2, "stop": ["</s>"]}
    assert model(config, "b").filters.strip_params == ("top_k",)
    assert model(config, "d").cmd_stop == "llama-server --port 5803"
    assert model(config, "d").metadata["also"] == ["see", "sea"]


def test_a_file_that_has_grown() -> None:
    config = loaded("40").config

    assert (model(config, "llama").port, model(config, "llama").proxy) == (None, "http://127.0.0.1:8999")
    assert {m.port for m in config.models.values()} == {None, 10001, 10002}
    assert (
        words("40", "qwen-unlisted")[-1]
        == "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    assert model(config, "simple").env == ("TEST=a=b=c", "NOTHING=")
    assert model(config, "docker-llama").filters.strip_params == ("temperature", "top_p")
    assert config.routing.groups["(default)"].members == ("simple",)
    assert config.metrics_max_in_memory == 1000


def test_commands_with_the_habits_of_shells() -> None:
    assert words("41", "backslashes")[5:] == [
        "--override-kv", "tokenizer.ggml.add_bos_token=bool:false", "--grammar", 'root ::= "yes" | "no"',
        "--jinja", "--seed", "-1",
    ]  # fmt: skip
    assert words("41", "folded")[-4:] == ["--logits_all", "False", "--n_ctx", "4096"]
    assert words("41", "shell")[2:] == [
        'trap "kill 0" TERM; llama-server --port 5805 -m /m/d.gguf 2>&1 | ts & wait'
    ]
    assert words("41", "json")[-1] == '{"enable_thinking":false,"x":"its"}'
    assert words("41", "quoted")[4:] == [
        "/m/my model #1.gguf",
        "--contextsize",
        "8192",
        "#",
        "not",
        "a",
        "comment",
    ]


def test_a_directory_of_files() -> None:
    config = load([], Path(__file__).parent / "fixtures" / "42_conf.d", environ={}).config

    assert list(config.models) == ["chat", "chat-large", "embed", "rerank"]
    assert [m.ttl for m in config.models.values()] == [60, 30, 0, 0]
    assert model(config, "chat").cmd == "llama-server --port 5800 --metrics -c 8192 -m /m/chat.gguf"
    assert "-c 65536" in model(config, "chat-large").cmd
    assert [k.key for k in config.api_keys] == ["first-of-two", "second-of-two"]
    assert config.preload == ("embed", "rerank")
    assert {g.id: g.members for g in config.routing.groups.values()} == {
        "small": ("embed", "rerank"), "large": ("chat", "chat-large"), "(default)": ()
    }  # fmt: skip


def test_a_macro_of_a_later_file_comes_later() -> None:
    """As in llama-swap: files are merged in order, and a macro may use only those before it."""
    chat = "macros: {chat: 'x ${PORT} ${ctx}'}\nmodels: {m: {cmd: '${chat}'}}"

    assert "it is declared later" in str(problems(chat, "macros: {ctx: 1}")[0])
    assert model(read("macros: {ctx: 1}", chat).config).cmd == "x 5800 1"
