"""What must hold: no message tells an API key or a value of the environment."""

from __future__ import annotations

import pytest

from hostler.config.problems import MASK

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
