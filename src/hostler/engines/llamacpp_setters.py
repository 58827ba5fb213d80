"""What the flags of the built-in llama.cpp engine do beyond setting one attribute, and how values are read.

Setters are given the parameter object and the module of its enumerations; nothing here imports xllamacpp.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hostler.engines.flags import (
    Flag,
    Reader,
    Setter,
    Words,
    assign,
    comma_list,
    file_text,
    one_of,
    real,
    special,
    whole,
)


def _words(enum: str, prefix: str, words: str) -> Words:
    """Words whose members are spelt like them, in capitals."""
    return Words(enum, {word: prefix + word.upper().replace("-", "_") for word in words.split()})


CACHE_TYPES: Final = _words("ggml_type", "GGML_TYPE_", "f32 f16 bf16 q8_0 q4_0 q4_1 iq4_nl q5_0 q5_1")
POOLING: Final = _words("llama_pooling_type", "LLAMA_POOLING_TYPE_", "none mean cls last rank")
ROPE: Final = _words("llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_", "none linear yarn")
SPLIT: Final = _words("llama_split_mode", "LLAMA_SPLIT_MODE_", "none layer row tensor")
NUMA: Final = _words("ggml_numa_strategy", "GGML_NUMA_STRATEGY_", "distribute isolate numactl")
REASONING: Final = _words(
    "common_reasoning_format", "COMMON_REASONING_FORMAT_", "none auto deepseek deepseek-legacy"
)
DRAFTING: Final = _words(
    "common_speculative_type",
    "COMMON_SPECULATIVE_TYPE_",
    "none draft-simple draft-eagle3 draft-mtp ngram-simple ngram-map-k ngram-map-k4v ngram-mod ngram-cache",
)
PRIORITY: Final = Words(
    "ggml_sched_priority",
    {
        str(level): f"GGML_SCHED_PRIO_{name}"
        for level, name in enumerate(("LOW", "NORMAL", "MEDIUM", "HIGH", "REALTIME"), start=-1)
    },
)
_FLASH_WORDS: Final = {"ENABLED": "on enabled true 1", "DISABLED": "off disabled false 0", "AUTO": "auto -1"}
FLASH: Final = Words(
    "llama_flash_attn_type",
    {
        word: f"LLAMA_FLASH_ATTN_TYPE_{member}"
        for member, words in _FLASH_WORDS.items()
        for word in words.split()
    },
)
YES_NO: Final = {"on": 1, "off": 0, "auto": -1}
EXPERTS: Final = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"


# ---- setters with more to do than one attribute ----------------------------------------------------------


def host(params: Any, native: Any, value: str) -> None:
    params.hostnames = [value]


def add_to(path: str) -> Setter:
    """Add the words of a list to what earlier flags put there."""

    def setter(params: Any, native: Any, value: list[str]) -> None:
        assign(params, path, list(getattr(params, path)) + value)

    return setter


def flash(params: Any, native: Any, value: str) -> None:
    params.flash_attn_type = FLASH.member(native, value)


def load_mode(locked: bool | None, mapped: bool | None) -> Setter:
    """Change one of the two halves of the load mode and keep the other as it is."""

    def setter(params: Any, native: Any, value: Any) -> None:
        modes = native.llama_load_mode
        now = params.load_mode
        keep_locked = now in (modes.LLAMA_LOAD_MODE_MLOCK, modes.LLAMA_LOAD_MODE_MMAP_MLOCK)
        keep_mapped = now not in (modes.LLAMA_LOAD_MODE_NONE, modes.LLAMA_LOAD_MODE_MLOCK)
        want = (keep_mapped if mapped is None else mapped, keep_locked if locked is None else locked)
        name = {
            (True, True): "MMAP_MLOCK",
            (True, False): "MMAP",
            (False, True): "MLOCK",
            (False, False): "NONE",
        }[want]
        params.load_mode = getattr(modes, "LLAMA_LOAD_MODE_" + name)

    return setter


def direct_io(params: Any, native: Any, value: Any) -> None:
    params.load_mode = native.llama_load_mode.LLAMA_LOAD_MODE_DIRECT_IO


def reranking(params: Any, native: Any, value: Any) -> None:
    params.embedding = True
    params.pooling_type = POOLING.member(native, "rank")


def tensor_split(params: Any, native: Any, value: list[float]) -> None:
    room = len(params.tensor_split)
    if len(value) > room:
        raise ValueError(f"at most {room} devices")
    params.tensor_split = value + [0.0] * (room - len(value))


def spare_memory(params: Any, native: Any, value: list[int]) -> None:
    room = len(params.fit_params_target)
    if len(value) > room:
        raise ValueError(f"at most {room} devices")
    # One amount stands for every device.
    params.fit_params_target = value * room if len(value) == 1 else value + [value[-1]] * (room - len(value))


def lora(params: Any, native: Any, value: list[tuple[str, float]]) -> None:
    added = [native.CommonAdapterLoraInfo(path, scale) for path, scale in value]
    params.lora_adapters = list(params.lora_adapters) + added


def overrides(params: Any, native: Any, value: str) -> None:
    earlier = params.tensor_buft_overrides
    params.tensor_buft_overrides = f"{earlier},{value}" if earlier else value


def experts_on_cpu(params: Any, native: Any, layers: int) -> None:
    overrides(params, native, ",".join(rf"blk\.{layer}{EXPERTS}=CPU" for layer in range(layers)))


def template_kwargs(params: Any, native: Any, value: dict[str, Any]) -> None:
    known = dict(params.default_template_kwargs)
    params.default_template_kwargs = known | {key: json.dumps(item) for key, item in value.items()}


def grammar(params: Any, native: Any, value: str) -> None:
    """Rules must come with their kind: without one they count as none."""
    params.sampling.grammar = native.CommonGrammar(native.common_grammar_type.COMMON_GRAMMAR_TYPE_USER, value)


def json_schema(params: Any, native: Any, value: dict[str, Any]) -> None:
    """The user's kind here too: the kind for output formats must begin with the template's own words."""
    grammar(params, native, native.json_schema_to_grammar(value))


def drafting(params: Any, native: Any, value: list[str]) -> None:
    params.speculative.types = [DRAFTING.member(native, word) for word in value]


def draft_model(params: Any, native: Any, value: str) -> None:
    params.speculative.draft.mparams.path = value
    if params.speculative.types == [DRAFTING.member(native, "none")]:
        drafting(params, native, ["draft-simple"])


def _sampler(path: str, mark: str) -> Setter:
    """Set a sampling value and mark it as the user's, or the model file's own defaults would win."""

    def setter(params: Any, native: Any, value: Any) -> None:
        assign(params, "sampling." + path, value)
        bits = native.common_params_sampling_config
        bit = getattr(bits, "COMMON_PARAMS_SAMPLING_CONFIG_" + mark)
        params.sampling.user_sampling_config = int(params.sampling.user_sampling_config) | int(bit)

    return setter


def marked(names: str, path: str, mark: str, about: str, reader: Reader = real) -> Flag:
    metavar = "N" if reader is whole else "X" if reader is real else "TEXT"
    return special(names, _sampler(path, mark), about, reader, metavar=metavar)


# ---- readers ---------------------------------------------------------------------------------------------


def layers(value: str) -> int:
    return {"auto": -1, "all": -2}.get(value) or whole(value)


def seed(value: str) -> int:
    """-1 is llama.cpp's sign for any seed, kept in 32 bits."""
    return whole(value) & 0xFFFFFFFF


def port(value: str) -> int:
    number = whole(value)
    if not 0 <= number <= 65535:
        raise ValueError("a number from 0 to 65535 is wanted")
    return number


def slower(value: str) -> float:
    factor = real(value)
    if factor <= 0:
        raise ValueError("a number above 0 is wanted")
    return 1.0 / factor


def shares(value: str) -> list[float]:
    return [real(share) for share in comma_list(value.replace("/", ","))]


def adapters(value: str) -> list[tuple[str, float]]:
    return [(path, 1.0) for path in comma_list(value)]


def scaled_adapters(value: str) -> list[tuple[str, float]]:
    """`FILE:SCALE`, several between commas."""
    found = []
    for item in comma_list(value):
        path, colon, scale = item.rpartition(":")
        if not colon:
            raise ValueError("FILE:SCALE is wanted")
        found.append((path, real(scale)))
    return found


def drafting_words(value: str) -> list[str]:
    return [one_of(DRAFTING.members)(word) for word in comma_list(value)]


def key_file(value: str) -> list[str]:
    return [line.strip() for line in file_text(value).splitlines() if line.strip()]


def yes_no(value: str) -> int:
    return YES_NO[one_of(YES_NO)(value)]


def on_off(value: str) -> bool:
    return bool(one_of(("on", "off"))(value) == "on")


def mebibytes(value: str) -> list[int]:
    amounts = [whole(amount) * 1024 * 1024 for amount in comma_list(value)]
    if not amounts:
        raise ValueError("whole numbers between commas are wanted")
    return amounts


def timeout(params: Any, native: Any, value: int) -> None:
    params.timeout_read = value
    params.timeout_write = value
