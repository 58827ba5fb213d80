"""What must hold: no message tells an API key or a value of the environment."""

from __future__ import annotations

import pytest

from hostler.config.secrets import MASK, Secrets, mask

from .cases import problems

SECRETS = {"A": "s3cr3t-value", "B": "tiny", "C": "abc", "P": "pass word!"}


@pytest.mark.parametrize(
    "text",
    [
        "startPort: ${env.A}",
        "logToStdout: ${env.A}",
        "models: {m: {cmd: 'x ${PORT}', ttl: '${env.P}', proxy: '127.0.0.1:${env.A}'}}",
        "models: {'${env.A}': {cmd: ''}, '${env.B}': {ttl: -7}}",
        "groups: {g: {members: ['${env.A}', '${env.B}', '${env.C}']}}",
        "routing: {scheduler: {settings: {fifo: {priority: {'${env.P}': 1}}}}}",
        "selectors: {s: {strategy: '${env.A}', targets: ['${env.B}']}}",
        "profiles: {s: {pins: {a: '${env.A}', '${env.B}': '${env.C}'}}}",
        "macros: {'${env.P}': 1, '${env.A}': [1]}\nmodels: {m: {cmd: '${t} ${env.A}'}}",
        "upstream: {ignorePaths: ['(${env.A}']}",
        "apiKeys: ['s3cr3t-value', 'pass word!', 'tiny']\ngroups: {g: {members: [tiny, s3cr3t-value]}}",
        "apiKeys: {s3cr3t-value: 1}\npeers: {p: {apiKey: tiny}}\ngroups: {g: {members: [tiny]}}",
        "apiKeys: [{key: pass word!}]",
        "models: {m: {cmd: 'x ${PORT}', capabilities: {in: ['${env.A}']}, aliases: ['${env.B}', ab, ab]}}",
        "'${env.A}': 1\nlogLevel: '${env.B}'\nstartPort: 0",
        "apiKeys: [*tiny]",
    ],
)
def test_secrets_are_in_no_message(text: str) -> None:
    found = problems(text, env=SECRETS)

    assert found
    said = "\n".join(str(problem) + repr(problem) for problem in found)
    assert not [value for value in SECRETS.values() if value in said]


def test_short_values_are_masked_where_they_stand_alone_only() -> None:
    found = problems("groups: {g: {members: ['${env.C}', 'xabcx']}}", env=SECRETS)

    assert any(MASK in problem.message for problem in found)
    assert any("xabcx" in problem.message for problem in found)


def test_a_value_is_hidden_whatever_is_in_it() -> None:
    """What looks like a macro in a value is kept apart while the file is read, and still hidden."""
    env = {"A": "p${PORT}q${env.B}RZ", "B": "b"}
    text = (
        "macros: {'${env.A}': 1}\ngroups: {'g': {members: ['x${env.A}y']}}\n"
        "selectors: {s: {strategy: '${env.A}'}}"
    )

    said = "\n".join(map(str, problems(text, env=env)))

    assert "contains invalid characters" in said
    assert "RZ" not in said
    assert "p$" not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("key and keys", "key and keys"),
        ("long-secret", MASK),
        ("xlong-secretx", f"x{MASK}x"),
        ("k!", MASK),
        ("ak!b", f"a{MASK}b"),
        ("from-env", MASK),
        ("xfrom-envx", f"x{MASK}x"),
        ("abc", MASK),
        ("K=abc", f"K={MASK}"),
        ("xabcx", "xabcx"),
        ("--port 60 -c 1600 -t 60.5", f"--port {MASK} -c 1600 -t 60.5"),
        ("true or 7", "true or 7"),
        ("long-secret, long-secrets", f"{MASK}, {MASK}"),
    ],
)
def test_the_rule(text: str, shown: str) -> None:
    secrets = Secrets(
        ["long-secret", "k!", "long-secrets", "", " "], ["from-env", "abc", "60", "true", "7", "", "  "]
    )

    assert mask(text, secrets) == shown


def test_sentences_of_ours_stay_sentences() -> None:
    secrets = Secrets(["a", "bc"], ["12", "false"])

    assert (
        secrets.in_prose("apiKeys[12]: a bcd is bc or 12") == f"apiKeys[12]: {MASK} bcd is {MASK} or {MASK}"
    )
    assert mask("a", secrets) == MASK
    assert Secrets().in_prose("x") == "x"


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "http://u:p%26s%2F%20%22w%27%5C@h",
        "http://u:p%26s/%20%22w%27%5C@h",
        "q=p%26s%2F+%22w%27%5C",
        r'{"key": "p&s/ \"w\'\\"}'.replace(r"\'", "'"),
        "sh -c 'p&s/ \"w'\"'\"'\\'",
        "sh -c 'p&s/ \"w'\\''\\'",
        "yaml: 'p&s/ \"w''\\'",
    ],
)
def test_other_spellings_are_hidden(text: str, plain: bool) -> None:
    secret = "p&s/ \"w'\\"
    secrets = frozenset([secret]) if plain else Secrets([secret])

    shown = mask(text, secrets)

    assert MASK in shown
    assert "w" not in shown


def test_a_plain_set_is_hidden_everywhere() -> None:
    assert mask("xabx 1", frozenset({"ab", "", "1"})) == f"x{MASK}x {MASK}"
    assert mask("x", frozenset()) == "x"


def test_secrets_are_a_set_that_tells_nothing_by_accident() -> None:
    secrets = Secrets(["key-1"], ["value-1", "ab ", "no"])

    assert set(secrets) == {"key-1", "value-1", "ab ", "ab"}


def test_keys_of_a_file_that_cannot_be_used_are_hidden() -> None:
    found = problems(
        "apiKeys: [front-door]\n", "groups: {front-door: [", "apiKeys: [front-door]\nfront-door: x: y"
    )

    assert found
    assert "front" not in "\n".join(map(str, found))
