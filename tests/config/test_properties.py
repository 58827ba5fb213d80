"""What must hold: no input gives a traceback; a configuration that is shown and read again is the same."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.config.commands import split_command
from hostler.config.diff import plan
from hostler.config.keys import walk
from hostler.config.load import load
from hostler.config.parse import Loaded, Source, parse
from hostler.config.problems import ConfigProblems
from hostler.config.secrets import MASK
from hostler.config.show import dump_yaml, to_dict

from .cases import model, problems, read

FIXTURES = [path.read_text("utf-8") for path in sorted((Path(__file__).parent / "fixtures").glob("*.yaml"))]
QUIET = settings(max_examples=150, deadline=None)


def attempt(*texts: str | bytes) -> Loaded | None:
    """Parse; anything but `ConfigProblems` is a failure of the test."""
    try:
        return parse(
            [Source(f"{i}", text) for i, text in enumerate(texts)],
            environ={"A": "v", "B": "${x}", "C": ""},
            check_matrix=lambda _matrix, _models: [],
        )
    except ConfigProblems as error:
        return None if error.errors and str(error) else pytest.fail("no errors in it")


names = st.text("abAB1-_.:/ é$", min_size=1, max_size=8)
words = st.one_of(
    st.sampled_from(
        ["${PORT}", "${MODEL_ID}", "-c", "4096", "'a b'", "# x", "\\", "\n", "${t}", "--x=1", '"q"', "é"]
    ),
    st.text("abc \\'\"#\n-=", max_size=6),
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8).filter(lambda s: "${" not in s and "\ue000" not in s and "\ue003" not in s),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc 1~.", max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
counts = st.integers(0, 10_000)
filters = st.fixed_dictionaries(
    {},
    optional={
        "stripParams": st.text("ab,. ", max_size=8) | st.lists(st.text("ab,. \\", max_size=4), max_size=3),
        "setParams": st.dictionaries(st.text("abc.", min_size=1, max_size=4), anything, max_size=3),
    },
)
models = st.fixed_dictionaries(
    {"cmd": st.lists(words, max_size=6).map(lambda w: " ".join(["engine ${PORT}", *w]))},
    optional={
        "ttl": st.integers(-1, 9999),
        "env": st.lists(st.text("AB=c d", max_size=6).map(lambda s: "K=" + s), max_size=3),
        "name": st.text(max_size=8).filter(lambda s: "${" not in s),
        "description": words.filter(lambda s: "${" not in s),
        "metadata": st.dictionaries(st.text("abc", max_size=3), anything, max_size=3),
        "filters": filters,
        "unlisted": st.booleans(),
        "concurrencyLimit": counts,
        "queueLimit": st.integers(1, 10_000),
        "startupGrace": counts,
        "logs": st.fixed_dictionaries(
            {}, optional={"maxRate": counts, "bufferBytes": st.integers(1024, 9999)}
        ),
        "checkEndpoint": st.sampled_from(["none", "/", "", "/v1/x"]),
        "timeouts": st.fixed_dictionaries({}, optional={"connect": counts, "idleConn": counts}),
        "capabilities": st.fixed_dictionaries({}, optional={"in": st.just(["text"]), "context": counts}),
        "sendLoadingState": st.booleans(),
        "macros": st.fixed_dictionaries({"t": st.sampled_from([1, 0.5, True, "x"])}),
    },
)
configurations = st.fixed_dictionaries(
    {
        "models": st.dictionaries(names, models, max_size=4),
        "macros": st.just({"t": "T"}),
    },
    optional={
        "startPort": st.integers(1, 60_000),
        "globalTTL": counts,
        "logLevel": st.sampled_from(["debug", "WARN", "error"]),
        "apiKeys": st.lists(st.text("abc\\\"'#:", min_size=1, max_size=6), max_size=3),
        "performance": st.fixed_dictionaries({"every": st.sampled_from(["5s", "1m0.5s", "7777ms", "1h"])}),
        "maxBodyMB": st.integers(1, 999),
        "logs": st.fixed_dictionaries(
            {},
            optional={
                "files": st.booleans(),
                "dir": st.text("/ab ~", max_size=5),
                "segmentBytes": st.integers(65_536, 10**9),
                "maxRate": counts,
                "causes": st.lists(
                    st.fixed_dictionaries(
                        {
                            "name": st.just("n"),
                            "pattern": st.text("ab.\\'\"", min_size=1, max_size=5).map(re.escape),
                            "message": st.text("ab:#'\"", min_size=1, max_size=5),
                        },
                        optional={"advice": st.text("ab{}", max_size=5), "engines": st.just(["x"])},
                    ),
                    max_size=2,
                ),
            },
        ),
        "store": st.fixed_dictionaries(
            {"path": st.just("a.db")}, optional={"retentionDays": counts, "maxRows": counts}
        ),
        "telemetry": st.fixed_dictionaries(
            {},
            optional={
                "endpoint": st.sampled_from(["", "http://h:4318/v1/traces"]),
                "headers": st.dictionaries(st.text("ab-", min_size=1), st.text("ab\\'\"#: ")),
                "serviceName": st.just("s"),
            },
        ),
        "peers": st.fixed_dictionaries(
            {},
            optional={
                "p q": st.fixed_dictionaries(
                    {"proxy": st.just("https://h"), "models": st.just(["x1"])},
                    optional={
                        "tls": st.fixed_dictionaries({"ca": st.text("/a", max_size=3)}),
                        "apiKey": st.text("ab", max_size=3),
                        "filters": filters,
                        "timeouts": st.fixed_dictionaries({}, optional={"connect": counts}),
                    },
                )
            },
        ),
    },
)


@QUIET
@given(configurations)
def test_shown_and_read_again(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    loaded = attempt(text)
    if loaded is None:
        return

    again = read(dump_yaml(loaded.config, mask=False))

    assert to_dict(again.config, mask=False) == to_dict(loaded.config, mask=False)
    assert plan(loaded.config, again.config).empty


@QUIET
@given(configurations)
def test_generated_configurations_are_valid(document: dict[str, Any]) -> None:
    found = problems(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    assert [str(p) for p in found if p.severity == "error"] == []


@QUIET
@given(st.text(max_size=400))
def test_any_text(text: str) -> None:
    attempt(text)


@QUIET
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    attempt(data)


pieces = st.lists(
    st.sampled_from(
        [
            "models:\n",
            "  m:\n",
            "    cmd: x ${PORT}\n",
            "&a ",
            "*a",
            "<<: ",
            "[",
            "]",
            "{",
            "}",
            "- ",
            "? ",
            ": ",
            "!!int ",
            "|\n",
            "'",
            '"',
            "${env.A}",
            "${env.B}",
            "${env.C}",
            "${env.Z}",
            "${a}",
            "macros:\n",
            "  a: ${b}\n",
            "routing: ",
            "matrix: ",
            "sets: ",
            "groups: ",
            "profiles: ",
            "selectors: ",
            "peers: ",
            "apiKeys: ",
            "\n",
            "\t",
            "#",
            "---\n",
            "...\n",
            "\ue000\ue001env.A\ue002",
            "null",
            "~",
            "1e999",
            "0x",
            "99999999999999999999",
            "!<x>",
            "%YAML 1.1\n",
            "filters: {setParamsByID: {'${MODEL_ID}': 1}}",
            "\0",
            "\ud800",
            "\u2028",
            ".nan",
            "!!binary ",
            "=",
            "2024-13-45",
            "strategy: spillover, targets: [m, m]",
            "m",
            ", ",
        ]
    ),
    max_size=25,
).map("".join)


@settings(max_examples=600, deadline=None)
@given(pieces, pieces)
def test_any_pieces_of_yaml_in_two_files(one: str, other: str) -> None:
    attempt(one)
    attempt(one, other)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIXTURES), st.integers(0, 10**6), st.integers(0, 10**6), pieces)
def test_any_damage_to_real_files(text: str, start: int, length: int, piece: str) -> None:
    at = start % (len(text) + 1)
    attempt(text[:at] + piece + text[at + length % 20 :])


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just({"m": None}),
    st.just([{}]),
    st.just({"m": {"m": ["m"]}}),
    st.dates(),
)
KEYS = sorted(set(to_dict(read("").config)) | {"groups", "matrix", "macros", "store", "logRequests"})


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
    st.sampled_from(KEYS),
    st.dictionaries(
        st.sampled_from(
            [
                "router",
                "scheduler",
                "settings",
                "use",
                "groups",
                "matrix",
                "sets",
                "vars",
                "a",
                "m",
                "activity",
                "on_startup",
                "preload",
                "path",
                "every",
                "bufferBytes",
                "ignorePaths",
                "causes",
                "headers",
                "endpoint",
                "maxRows",
                "tls",
            ]
        ),
        values,
        max_size=3,
    ),
)
def test_any_value_for_any_key(document: dict[str, Any], key: str, inner: dict[str, Any]) -> None:
    attempt(yaml.safe_dump({"models": {"m": {"cmd": "x ${PORT}"}}, **document, key: inner}))


MODEL_KEYS = [
    *to_dict(read("models: {m: {cmd: 'x ${PORT}'}}").config)["models"]["m"],
    "aliases",
    "env",
    "filters",
    "metadata",
    "macros",
    "timeouts",
    "compat",
    "capabilities",
    "args",
    "model",
    "cwd",
    "cmdStop",
    "logs",
]


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(MODEL_KEYS), values, max_size=4))
def test_any_value_for_any_key_of_a_model(inner: dict[str, Any]) -> None:
    attempt(yaml.safe_dump({"models": {"m": inner}}))


@QUIET
@given(st.text("ab \\'\"#\n\r\t", max_size=30), st.booleans())
def test_splitting_never_fails_and_quoting_undoes_it(text: str, windows: bool) -> None:
    found = split_command(text, windows=windows)

    if not windows and not any("\n" in word or "#" in word for word in found):
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in found)
        assert split_command(quoted) == found or quoted.rstrip().endswith("\\")


secret_texts = st.text("xyzXYZ0189_-/+=:#'\"\\ ${}&%é", min_size=2, max_size=20).filter(
    lambda s: (
        len(s.strip()) > 1
        and s.lower().strip() not in {"on", "no", "yes", "off", "true", "null", "none", "false"}
    )
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(secret_texts, min_size=3, max_size=3, unique=True),
    st.sampled_from(
        ["", "ttl: ${env.A}", "zz: ${env.A}", "unlisted: ${env.B}", "capabilities: {in: ['${env.A}']}"]
    ),
    st.booleans(),
)
def test_no_secret_is_in_a_dump_or_a_message(values: list[str], line: str, early: bool) -> None:
    """Values of two or three characters where they stand alone, all others everywhere."""
    one, two, key = values
    text = (
        "models:\n  model:\n    cmd: 'engine ${PORT} --key \"${env.A}\" -t ${env.B}'\n"
        "    env: ['T=${env.A}']\n"
        f"    metadata: {{'${{env.A}}': ['a ${{env.B}}', '${{env.B}}'], n: ${{env.B}}}}\n    {line}\n"
        "peers: {peer: {proxy: 'http://host', models: ['${env.B}'], apiKey: '${env.K}'}}\n"
        "telemetry: {headers: {authorization: 'Bearer ${env.K}'}}\n"
    ) + ("groups: {g: {members: ['${env.A}', '${env.B}']}}\n" if early else "")
    try:
        loaded = read(text, env={"A": one, "B": two, "K": key})
        shown = [*map(str, loaded.warnings), *leaves(to_dict(loaded.config))]
    except ConfigProblems as error:
        shown = [part for p in error.problems for part in (p.path, p.message, p.hint)]

    for value in values:
        found = re.compile(
            rf"(?<![\w.\[]){re.escape(value)}(?!\w|\.\w)" if len(value) < 4 else re.escape(value)
        )
        assert not [text for text in shown if found.search(text.replace(MASK, "\0"))]


def leaves(value: Any) -> list[str]:
    """Every text of a dump but the names of keys."""
    if isinstance(value, dict):
        names = [name for name in value if name not in KEY_NAMES]
        return names + [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [str(value)]


KEY_NAMES = {key.name for _, section in walk() for key in section.keys}

DEEP = 20_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        "{a: " * DEEP,
        "- " * DEEP,
        "? " * DEEP,
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a {<<: *a}",
        "x: &a1 [1]\n" + "\n".join(f"y{i}: &a{i} [*a{i - 1}]" for i in range(2, 3000)),
        "x: &a1 [1]\n" + "\n".join(f"y{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(2, 60)),
        "x: &a1 {k1: 1}\n" + "\n".join(f"y{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}" for i in range(2, 3000)),
        "models: {" + ", ".join(f"m{i}: {{}}" for i in range(3000)) + "}",
        "groups: {g: {members: [" + ", ".join(f"m{i}" for i in range(3000)) + "]}}",
        "macros: {" + ", ".join(f"m{i}: '${{x{i}}}'" for i in range(3000)) + "}\nx: '" + "${m1}" * 3000 + "'",
        "models: {m: {cmd: '" + "".join(f"${{x{i}}}" for i in range(3000)) + "'}}",
        "upstream: {ignorePaths: ['" + "(" * 9000 + "']}",
        "startPort: " + "9" * 100_000,
        "startPort: 0x" + "f" * 100_000,
        "startPort: " + "1." * 50_000,
        "performance: {every: " + "1h" * 50_000 + "}",
        "a: !!binary " + "A" * 100_000,
        "'" * 100_001,
        "a: |\n" + " " * 100_000,
        "#" * 1_000_000,
        "\n" * 1_000_000,
        "%TAG ! x\n---\n!y z",
    ],
)
def test_hostile_files_are_refused_or_read_soon(text: str) -> None:
    start = process_time()

    attempt(text)

    assert process_time() - start < 10


def test_two_thousand_models_with_macros_load_in_under_a_second(tmp_path: Path) -> None:
    """Time of the processor, because others may be at work on the machine; the best of five."""
    macros = "".join(
        f"  m{i}: '${{m{i - 1}}} --flag{i}'\n" if i else "  m0: engine ${MODEL_ID}\n" for i in range(10)
    )
    one = (
        "    macros: {own: %d}\n    cmd: |\n      # comment\n      ${m9} --port ${PORT}\n"
        "      -m /x/${MODEL_ID}.gguf ${own}\n"
        "    ttl: 30\n    aliases: [a%d, b%d]\n    env: [A=B]\n    metadata: {x: '${own}', port: '${PORT}'}\n"
        "    filters: {stripParams: 'a,b', setParamsByID: {'${MODEL_ID}:high': {x: 1}}}\n"
    )
    path = tmp_path / "large.yaml"
    path.write_text(
        f"macros:\n{macros}models:\n" + "".join(f"  m{i}:\n{one % (i, i, i)}" for i in range(2000))
    )
    times = []
    for _ in range(5):
        gc.collect()
        start = process_time()
        loaded = load([path], environ={})
        times.append(process_time() - start)

    assert len(loaded.config.models) == 2000
    assert model(loaded.config, "m7").metadata["x"] == 7
    assert gc.isenabled()
    assert min(times) < 1
