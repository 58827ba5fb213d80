"""What must hold: a llama-swap file means here what it means there, and mistakes are told with a place."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.config.parse import Loaded, Source, parse
from hostler.config.problems import ConfigProblems, Problem
from hostler.core import ModelId

MODEL = "models:\n  m:\n    cmd: engine --port ${PORT}\n"


def read(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    return parse([Source("c.yaml", text)], environ=environ or {})


def problems(text: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigProblems) as caught:
        read(text, environ)
    return list(caught.value.problems)


def complaints(text: str) -> list[Problem] | None:
    """What is wrong with a file, None when nothing is; anything but a ConfigProblems is a bug."""
    try:
        read(text)
    except ConfigProblems as error:
        return list(error.problems)
    return None


def test_defaults() -> None:
    config = read(MODEL).config

    model = config.models[ModelId("m")]
    assert model.cmd == "engine --port 5800"
    assert (model.port, model.proxy) == (5800, "http://localhost:5800")
    assert (model.check_endpoint, model.health_check_timeout, model.ttl) == ("/health", 120, 0)
    assert (model.concurrency_limit, model.queue_limit, model.unload_timeout) == (0, 1000, 10)
    assert config.log_to_stdout == "proxy"
    assert config.routing.use == "group"
    assert config.routing.fifo.max_wait == 60


def test_an_empty_file_is_valid() -> None:
    assert read("").config.models == {}


def test_ports_count_up_in_the_order_of_ids() -> None:
    config = read(
        "startPort: 9000\nmodels:\n  b: {cmd: 'e ${PORT}'}\n  a: {cmd: 'e ${PORT}'}\n"
        "  c: {cmd: e, proxy: 'http://127.0.0.1:1'}\n"
    ).config

    assert {str(model.id): model.port for model in config.models.values()} == {
        "a": 9000,
        "b": 9001,
        "c": None,
    }


def test_macros_may_use_those_declared_before_and_keep_their_type() -> None:
    config = read(
        "macros:\n  base: engine\n  full: ${base} --port ${PORT} --name ${MODEL_ID}\n  wait: 7\n"
        "models:\n  m:\n    macros: {base: other}\n    cmd: ${full}\n"
        "    ttl: ${wait}\n    name: in ${wait} s\n"
    ).config

    model = config.models[ModelId("m")]
    assert model.cmd == "other --port 5800 --name m"
    assert model.ttl == 7
    assert model.name == "in 7 s"


@pytest.mark.parametrize("value", ['a\\b"c', "x: y # z", "'", "[1, 2]", "ä"])
def test_environment_values_arrive_unchanged_and_are_secrets(value: str) -> None:
    config = read(MODEL + "    env: ['K=${env.K}']\n", {"K": value}).config

    assert config.models[ModelId("m")].env == (f"K={value}",)
    assert value in config.secrets


def test_a_missing_environment_variable_is_named_with_its_line() -> None:
    (problem,) = problems(MODEL + "    env: ['K=${env.MISSING}']\n")

    assert "MISSING" in problem.message
    assert problem.line == 4


def test_comments_may_name_what_is_not_set() -> None:
    assert read("# ${env.MISSING}\n" + MODEL).config.models


def test_aliases_resolve_and_may_not_be_given_twice() -> None:
    config = read(MODEL + "    aliases: [x, y]\n").config
    assert config.resolve("x") == ModelId("m")
    assert config.resolve("z") is None

    found = problems(MODEL + "    aliases: [x]\n  n:\n    cmd: e ${PORT}\n    aliases: [x]\n")
    assert any("x" in problem.message for problem in found)


def test_groups_have_a_default_group_for_the_others() -> None:
    config = read(
        "models:\n  a: {cmd: 'e ${PORT}'}\n  b: {cmd: 'e ${PORT}'}\n  c: {cmd: 'e ${PORT}'}\n"
        "groups:\n  pair: {swap: false, members: [a, b]}\n"
    ).config

    groups = config.routing.groups
    assert groups["pair"].members == ("a", "b")
    assert (groups["pair"].swap, groups["pair"].exclusive, groups["pair"].persistent) == (False, True, False)
    assert groups["(default)"].members == ("c",)


def test_a_member_that_names_nothing_is_found() -> None:
    (problem,) = problems(MODEL + "groups:\n  g:\n    members: [m, ghost]\n")

    assert "ghost" in str(problem)
    assert problem.line == 6


def test_unknown_keys_are_warnings_with_the_nearest_known_one() -> None:
    (warning,) = read("healthcheckTimeout: 20\n" + MODEL).warnings

    assert (warning.line, warning.column) == (1, 1)
    assert "healthCheckTimeout" in str(warning)


def test_all_problems_are_told_at_once_each_with_its_line() -> None:
    found = problems("logToStdout: sometimes\nstartPort: 0\nmodels:\n  m:\n    cmd: ''\n    ttl: -5\n")

    assert {problem.line for problem in found} >= {1, 2, 6}
    assert all(str(problem).startswith("c.yaml:") for problem in found)


def test_duplicate_keys_are_an_error() -> None:
    (problem,) = problems(MODEL + MODEL)

    assert "models" in str(problem)


def test_a_numeric_model_id_does_not_make_the_models_vanish() -> None:
    config = read("models:\n  123: {cmd: 'e ${PORT}'}\n  m: {cmd: 'e ${PORT}'}\n").config

    assert set(config.models) == {"123", "m"}


def test_numbers_keep_their_spelling_where_text_is_wanted() -> None:
    assert read(MODEL + "    name: 1.10\n").config.models[ModelId("m")].name == "1.10"


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("on", True), ("'no'", False), ("true", True)])
def test_boolean_words(word: str, value: bool) -> None:
    assert read(MODEL + f"    unlisted: {word}\n").config.models[ModelId("m")].unlisted is value


def test_anchors_and_merge_keys() -> None:
    config = read(
        "base: &base {ttl: 5, cmd: 'e ${PORT}'}\n"
        "models:\n  m:\n    <<: *base\n  n:\n    <<: *base\n    ttl: 6\n"
    ).config

    assert [model.ttl for model in config.models.values()] == [5, 6]


def test_a_gguf_file_needs_no_command() -> None:
    model = read("models:\n  m:\n    model: /x.gguf\n    args: --embeddings -c 512\n").config.models[
        ModelId("m")
    ]

    assert (model.model, model.args) == ("/x.gguf", ("--embeddings", "-c", "512"))
    assert model.proxy == f"http://127.0.0.1:{model.port}"


def test_secrets_are_in_no_message() -> None:
    text = MODEL + "    ttl: ${env.TTL}\napiKeys: [hunter2, 'a b']\n"

    found = problems(text, {"TTL": "swordfish"})

    assert found
    assert not any(secret in str(problem) for problem in found for secret in ("hunter2", "swordfish", "a b"))


@given(st.text(max_size=300))
def test_no_text_at_all_gives_anything_but_problems(text: str) -> None:
    assert complaints(text) is None or complaints(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "[" * 10_000,
        "models: {m: " * 500,
        "a: &a [x,x,x,x,x,x,x,x]\n" + "\n".join(f"b{i}: &b{i} [*a,*a,*a,*a]" for i in range(40)),
        "models: !!python/object/apply:os.system [x]",
        "models: {? [a]: b}",
        "\x00",
        "ttl: " + "9" * 10_000,
        "models:\n\t- x",
    ],
)
def test_hostile_files_give_problems_or_nothing(text: str) -> None:
    assert complaints(text) is None or complaints(text)
