"""The table of llama-server's flags, against a stand-in for CommonParams and against the real one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from hostler.engines.flags import Flag, FlagError, apply, read, spellings
from hostler.engines.llamacpp_flags import HELP, TABLE, VERSION

NAMES = spellings(TABLE)

# The flags of llama-server people use; each must stay in the table under each of its spellings.
IN_USE = """
-m --model --host --port -c --ctx-size -n --predict --n-predict -b --batch-size -ub --ubatch-size -ngl
--gpu-layers --n-gpu-layers -np --parallel -t --threads -tb --threads-batch --threads-http -a --alias
--embeddings --embedding --reranking --rerank --pooling --jinja --no-jinja --chat-template
--chat-template-file --chat-template-kwargs --reasoning-format --reasoning-budget -fa --flash-attn -ctk
--cache-type-k -ctv --cache-type-v --mmproj --no-mmproj --api-key --api-key-file --api-prefix --metrics
--props --slots --no-slots --no-webui --no-ui --mlock --no-mmap --numa -sm --split-mode -ts --tensor-split
-mg --main-gpu --rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx
--yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast --lora --lora-scaled --no-warmup
--warmup -s --seed --temp --temperature --top-k --top-p --min-p --repeat-penalty --repeat-last-n
--presence-penalty --frequency-penalty -to --timeout --cache-reuse -cb --cont-batching -nocb
--no-cont-batching --swa-full --context-shift --no-context-shift -kvu --kv-unified -no-kvu -v --verbose
--log-verbosity --log-disable --version -h --help -md --model-draft --draft-max --draft-min -ngld -ot
--override-tensor -cmoe --cpu-moe -ncmoe --n-cpu-moe -nkvo --no-kv-offload --slot-save-path --keep -cram
--cache-ram --grammar --grammar-file -j --json-schema --samplers
"""


class Whatever:
    """Has every attribute, so it stands for any parameter object or module of enumerations."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value: Any = Whatever(f"{self._name}.{name}".lstrip("."))
        if name in {"lora_adapters", "api_keys"}:
            value = []
        elif name in {"tensor_split", "fit_params_target"}:
            value = [0.0] * 4
        elif name == "tensor_buft_overrides":
            value = ""
        elif name == "default_template_kwargs":
            value = {}
        elif name == "user_sampling_config" or name.startswith("COMMON_PARAMS_SAMPLING"):
            value = 1
        setattr(self, name, value)
        return value

    def __call__(self, *args: Any) -> Any:
        return (self._name, *args)

    def __repr__(self) -> str:
        return self._name


def example(flag: Flag, folder: Path) -> list[str]:
    """A value `flag` takes."""
    if flag.reader is None:
        return []
    file = folder / "file"
    file.write_text('{"type": "object"}', encoding="utf-8")
    special = {"JSON": '{"type": "object"}', "FILE:SCALE": "a:0.5", "X,X,…": "1,2", "MIB,…": "64"}
    special |= {
        "PATTERN=BUFFER,…": "nothing=CPU",
        "WORDS": "draft-simple",
        "KEYS": "a,b",
        "NAMES": "none",
        "HOST": "127.0.0.1",
    }
    special |= {"N": "3", "X": "0.5", "FILE": str(file)}
    return [special.get(flag.metavar, flag.metavar.split("|")[-1])]


ALL_FLAGS = list(dict.fromkeys(NAMES.values()))


@pytest.mark.parametrize("name", IN_USE.split())
def test_flag_is_known(name: str) -> None:
    assert name in NAMES


@pytest.mark.parametrize("flag", ALL_FLAGS, ids=lambda flag: flag.name)
def test_every_spelling_is_taken(flag: Flag, tmp_path: Path) -> None:
    for name in flag.names:
        value = example(flag, tmp_path)
        settings = read([name, *value], TABLE)

        assert [setting.flag for setting in settings] == [flag]
        apply(settings, Whatever(), Whatever())


@pytest.mark.parametrize("flag", ALL_FLAGS, ids=lambda flag: flag.name)
def test_library_takes_every_flag(flag: Flag, tmp_path: Path) -> None:
    """The installed xllamacpp has every attribute and every enumeration the table speaks of."""
    native = pytest.importorskip("xllamacpp")

    apply(read([flag.names[0], *example(flag, tmp_path)], TABLE), native.CommonParams(), native)


@pytest.mark.parametrize("flag", ALL_FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_explained(flag: Flag) -> None:
    assert flag.about.endswith(".")
    assert (flag.reader is None) == (flag.metavar == "")
    assert flag.setter is not None or flag in (HELP, VERSION)


def real_params(*argv: str) -> Any:
    native = pytest.importorskip("xllamacpp")
    params = native.CommonParams()
    apply(read(argv, TABLE), params, native)
    return params


@pytest.mark.parametrize(
    ("argv", "mode"),
    [
        (["--mlock"], "MMAP_MLOCK"),
        (["--no-mmap"], "NONE"),
        (["--mlock", "--no-mmap"], "MLOCK"),
        (["--no-mmap", "--mlock"], "MLOCK"),
        (["--no-mmap", "--mmap"], "MMAP"),
        (["--direct-io"], "DIRECT_IO"),
    ],
)
def test_load_mode_has_two_halves(argv: list[str], mode: str) -> None:
    assert real_params(*argv).load_mode.name == f"LLAMA_LOAD_MODE_{mode}"


def test_user_sampling_is_marked() -> None:
    """Otherwise sampling values in the model file would win over the command line."""
    bits = pytest.importorskip("xllamacpp").common_params_sampling_config
    sampling = real_params("--temp", "0.25", "--top-k", "7").sampling

    assert (sampling.temp, sampling.top_k) == (0.25, 7)
    wanted = bits.COMMON_PARAMS_SAMPLING_CONFIG_TEMP | bits.COMMON_PARAMS_SAMPLING_CONFIG_TOP_K
    assert sampling.user_sampling_config == wanted


def test_lists_grow() -> None:
    params = real_params("--api-key", "a,b", "--api-key", "c", "--lora", "x", "--lora-scaled", "y:0.5")

    assert params.api_keys == ["a", "b", "c"]
    assert [(adapter.path, adapter.scale) for adapter in params.lora_adapters] == [("x", 1.0), ("y", 0.5)]


def test_reranking_is_embedding_with_ranks() -> None:
    params = real_params("--reranking")

    assert params.embedding
    assert params.pooling_type.name == "LLAMA_POOLING_TYPE_RANK"


def test_values_with_meanings() -> None:
    assert real_params("-ngl", "all").n_gpu_layers == -2
    assert real_params("-ngl", "auto").n_gpu_layers == -1
    assert real_params("--seed", "-1").sampling.seed == 0xFFFFFFFF
    assert real_params("--rope-scale", "4").rope_freq_scale == 0.25
    assert real_params("--fit", "off").fit_params is False
    assert real_params("-fitt", "2").fit_params_target[:2] == [2 * 1024 * 1024] * 2
    assert real_params("-ts", "3,1").tensor_split[:3] == [3.0, 1.0, 0.0]
    assert real_params("-fa").flash_attn_type.name == "LLAMA_FLASH_ATTN_TYPE_ENABLED"
    assert real_params("--reasoning", "off").enable_reasoning == 0
    assert real_params("--timeout", "5").timeout_write == 5
    assert "blk\\.1" in real_params("-ncmoe", "2").tensor_buft_overrides


def test_template_values_are_json() -> None:
    params = real_params("--chat-template-kwargs", '{"think": false, "tone": "dry"}')

    assert params.default_template_kwargs == {"think": "false", "tone": '"dry"'}


def test_grammar_has_a_kind() -> None:
    for argv in (["--grammar", 'root ::= "a"'], ["-j", '{"type": "object"}']):
        grammar = real_params(*argv).sampling.grammar

        assert grammar.type.name == "COMMON_GRAMMAR_TYPE_USER"
        assert not grammar.empty()


def test_draft_model_chooses_a_way_to_draft() -> None:
    speculative = real_params("-md", "draft.gguf").speculative

    assert [kind.name for kind in speculative.types] == ["COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE"]
    chosen = real_params("--spec-type", "ngram-mod", "-md", "draft.gguf").speculative
    assert [kind.name for kind in chosen.types] == ["COMMON_SPECULATIVE_TYPE_NGRAM_MOD"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--port", "70000"], "a number from 0 to 65535 is wanted"),
        (["--rope-scale", "0"], "a number above 0 is wanted"),
        (["--lora-scaled", "file"], "FILE:SCALE is wanted"),
        (["-fitt", ","], "whole numbers between commas"),
        (["--spec-type", "magic"], "one of none, draft-simple"),
        (["--fit", "maybe"], "one of on, off"),
    ],
)
def test_values_that_cannot_be(argv: list[str], message: str) -> None:
    with pytest.raises(FlagError, match=message):
        read(argv, TABLE)


def test_library_refuses(tmp_path: Path) -> None:
    with pytest.raises(FlagError, match=r"error: --override-tensor 'a=Nowhere' was refused"):
        real_params("-ot", "a=Nowhere")
    with pytest.raises(FlagError, match=r"error: --tensor-split .* was refused: at most"):
        real_params("-ts", ",".join(["1"] * 1000))


def test_table_needs_no_library() -> None:
    module = importlib.import_module("hostler.engines.llamacpp_setters")

    assert not hasattr(module, "xllamacpp")
