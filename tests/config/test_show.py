"""What must hold: what is shown is what runs, can be read again, and keeps its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.config.schema import Config
from hostler.config.secrets import MASK
from hostler.config.show import dump_yaml, to_dict

from .cases import M, read

EXAMPLE = (Path(__file__).parents[2] / "config.example.yaml").read_text(encoding="utf-8")


def test_the_example_is_read_again_as_it_was() -> None:
    config = read(EXAMPLE).config

    again = read(dump_yaml(config, mask=False))

    assert again.config == config
    assert again.warnings == []


def test_what_is_shown_is_expanded() -> None:
    text = "macros: {s: 'srv --port ${PORT}'}\nglobalTTL: 7\nmodels: {m: {cmd: '${s} -m ${MODEL_ID}'}}"

    shown = to_dict(read(text).config)["models"]["m"]

    assert shown["cmd"] == "srv --port 5800 -m m"
    assert shown["port"] == 5800
    assert shown["proxy"] == "http://localhost:5800"
    assert shown["ttl"] == 7


def test_a_matrix_and_named_keys_are_shown() -> None:
    text = M + "matrix: {vars: {v: m}, evict_costs: {v: 2}, sets: {s: v}}\napiKeys: [{key: k, name: n}, l]\n"
    config = read(text).config

    assert to_dict(config)["routing"]["router"]["settings"]["matrix"]["sets"] == {"s": "v"}
    assert to_dict(config)["apiKeys"] == [{"key": MASK, "name": "n", "models": [], "scopes": []}, MASK]
    assert read(dump_yaml(config, mask=False)).config == config


@pytest.mark.parametrize("mask", [True, False])
def test_secrets_are_masked(mask: bool) -> None:
    text = (
        "apiKeys: [front-door]\nmodels: {m: {cmd: 'x ${PORT} --key ${env.K}', env: ['T=${env.T}'], "
        "metadata: {'${env.T}': ['a ${env.K} b', '${env.N}']}, ttl: ${env.N}}}\n"
        "peers: {p: {proxy: 'http://u:${env.K}@h', models: [x], apiKey: back-door}}\n"
    )
    secrets = {"K": "swordfish", "T": "tiny", "N": "123456"}

    shown = dump_yaml(read(text, env=secrets).config, mask=mask)

    for secret in ("front-door", "back-door", *secrets.values()):
        assert (secret in shown) is not mask
    assert (MASK in shown) is mask


def test_secrets_are_in_no_repr() -> None:
    config = read(
        "apiKeys: [front-door]\npeers: {p: {proxy: 'http://h', models: [x], apiKey: back-door}}"
    ).config

    assert "front-door" in config.secrets
    assert "door" not in repr(config)


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "0o17", "012", "1_0", "~", "", " a ", "tab\t", "\u2028", "2024-01-01", "- a", "a: b", "#"),
        *("a\nb\n", "a\n\n b", " a\nb", "a \nb", "a\n", "a\n\n", "\n", ".5", "<<", "=", "1e3", "0x", "+1"),
        *(
            "y",
            "é😀",
            "\x07",
            "'\"",
            "%",
            "${x}",
            "a ${PORT}\nb",
            "${env.HOME}",
            "${PID}x",
            "$${x",
            "${a b}",
            "\ue003\ue004",
        ),
    ],
)
def test_texts_survive(text: str) -> None:
    config = read(M, env={}).config
    changed = Config(
        models={
            k: type(m)(
                id=m.id,
                cmd=m.cmd,
                port=m.port,
                proxy=m.proxy,
                name=text,
                ttl=0,
                metadata={"k": [text, {text: text}]},
            )
            for k, m in config.models.items()
        },
        routing=config.routing,
    )

    again = read(dump_yaml(changed)).config

    assert again.models == changed.models
