"""What must hold: the JSON schema and the parser agree, and both agree with the types."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.config import keys, keys_model
from hostler.config import schema as types
from hostler.config.compose import compose
from hostler.config.decode import untyped
from hostler.config.env import Environment
from hostler.config.jsonschema import schema
from hostler.config.kinds import Section
from hostler.config.nodes import child
from hostler.config.problems import Report
from hostler.config.reference import paths

from .cases import M, pairs_only, problems

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.yaml"))

LENIENT = jsonschema.Draft7Validator(schema())
STRICT = jsonschema.Draft7Validator(schema(strict=True))


def tree(text: str) -> Any:
    """A text as the values that a validator looks at."""
    report = Report()
    node = compose(
        "c", text, Environment(dict.fromkeys(re.findall(r"env\.(\w+)", text), "7"), report), report
    )
    assert node is not None
    return untyped(node)


def test_both_are_schemas() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.Draft7Validator.check_schema(schema(strict=True))


def test_the_file_for_editors_is_current() -> None:
    """Made anew with `hostler check --schema > docs/config.schema.json`."""
    assert json.loads((ROOT / "docs" / "config.schema.json").read_text(encoding="utf-8")) == schema(
        strict=True
    )


def test_the_example_passes() -> None:
    assert problems(EXAMPLE, check_matrix=None) == []
    assert [e.message for e in STRICT.iter_errors(tree(EXAMPLE))] == []


def test_the_example_shows_every_key() -> None:
    node = compose("c", EXAMPLE, Environment({}, Report()), Report())
    missing = []
    for path in paths():
        older = path.split(".")[0] in {"groups", "matrix", "logRequests"}
        name = path.split(".")[-1]
        shown = re.search(rf"\b{re.escape(name)}\b`?:", EXAMPLE) if older else _shown(node, path)
        if not shown:
            missing.append(path)
    assert missing == []


def _shown(node: Any, path: str) -> bool:
    """Whether some entity has the key: `<id>` stands for any name, `[]` for any item."""
    head, _, rest = path.partition(".")
    if head.startswith("<"):
        below = list(node.items.values()) if hasattr(node, "keys") else []
    elif head.endswith("[]"):
        below = list(getattr(child(node, head[:-2]), "items", []))
    else:
        found = child(node, head)
        below = [] if found is None else [found]
    return any(not rest or _shown(item, rest) for item in below)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_fixtures_pass_the_schema(path: Path) -> None:
    assert [e.message for e in LENIENT.iter_errors(tree(path.read_text(encoding="utf-8")))] == []


def m(line: str) -> str:
    return f"models: {{m: {{cmd: 'x ${{PORT}}', {line}}}}}\n"


INVALID = [
    "startPort: 0",
    "startPort: x",
    "startPort: '5'",
    "startPort: true",
    "startPort: [1]",
    "globalTTL: -1",
    "unloadTimeout: -1",
    "logToStdout: all",
    "logLevel: [a]",
    "sendLoadingState: maybe",
    "sendLoadingState: 1",
    "sendLoadingState: 'true'",
    "maxBodyMB: 0",
    "performance: {every: 5}",
    "performance: {every: often}",
    "store: {path: ' '}",
    "store: {}",
    "ui: {activity: {session_id: x}}",
    "upstream: {ignorePaths: x}",
    "apiKeys: ['']",
    "apiKeys: ['a b']",
    "apiKeys: [~]",
    "apiKeys: x",
    "apiKeys: [{name: n}]",
    "apiKeys: [[a]]",
    "logs: {bufferBytes: 5}",
    "logs: {keepRuns: 0}",
    "logs: {maxBytes: -1}",
    "logs: 5",
    "macros: [a]",
    "macros: {PID: 1}",
    "macros: {a.b: 1}",
    f"macros: {{{'a' * 64}: 1}}",
    "macros: {a: [1]}",
    "macros: {a: }",
    "models: [a]",
    "models: {m: x}",
    "models: {m: }",
    "models: {m: {}}",
    "models: {m: {cmd: ''}}",
    "models: {m: {cmd: ' '}}",
    "models: {m: {cmd: '# x'}}",
    "models: {m: {cmd: x}}",
    "models: {m: {model: ''}}",
    "models: {m: {cmd: x, proxy: }}",
    m("ttl: -2"),
    m("ttl: x"),
    m("unloadTimeout: -1"),
    m("aliases: a"),
    m("env: {A: b}"),
    m("name: [a]"),
    m("unlisted: 5"),
    m("queueLimit: -1"),
    m("queueLimit: 0"),
    m("logs: {maxRate: -1}"),
    m("filters: {stripParams: [[a]]}"),
    "apiKeys: [{key: b, scopes: [x]}]",
    "apiKeys: [{key: b, scopes: [~]}]",
    "apiKeys: [{key: b, scopes: ['']}]",
    "apiKeys: [{key: b, scopes: admin}]",
    "logs: {maxRate: -1}",
    "logs: {segmentBytes: 65535}",
    "logs: {dir: [a]}",
    "logs: {causes: {a: b}}",
    "logs: {causes: [a]}",
    "logs: {causes: [~]}",
    "logs: {causes: [{}]}",
    "logs: {causes: [{name: n, pattern: p}]}",
    "logs: {causes: [{name: ' ', pattern: p, message: m}]}",
    "logs: {causes: [{name: n, pattern: p, message: m, engines: ['']}]}",
    "store: {path: a, retentionDays: -1}",
    "store: {path: a, maxRows: -1}",
    "store: {retentionDays: 1}",
    "telemetry: {endpoint: 'localhost:4317'}",
    "telemetry: {endpoint: 'http://'}",
    "telemetry: {headers: [a]}",
    "telemetry: {headers: {'a b': c}}",
    "telemetry: {serviceName: ' '}",
    "telemetry: x",
    "peers: {p: {proxy: 'https://h', models: [x], tls: {verify: maybe}}}",
    "peers: {p: {proxy: 'https://h', models: [x], tls: no}}",
    m("startupGrace: -1"),
    m("port: 0"),
    m("port: 65536"),
    m("filters: []"),
    m("filters: {setParams: []}"),
    m("filters: {setParamsByID: {a: 5}}"),
    m("macros: {PORT: 1}"),
    m("metadata: 5"),
    m("timeouts: {connect: x}"),
    m("compat: {ignoreWebsockets: x}"),
    m("capabilities: {in: [video]}"),
    m("capabilities: {out: [~]}"),
    m("capabilities: {context: -1}"),
    m("capabilities: {tools: 5}"),
    m("logs: {bufferBytes: 1}"),
    "peers: {p: }",
    "peers: {p: {models: [a]}}",
    "peers: {p: {proxy: '', models: [a]}}",
    "peers: {p: {proxy: h}}",
    "peers: {p: {proxy: h, models: []}}",
    "peers: {p: {proxy: h, models: }}",
    M + "groups: {g: {members: m}}",
    M + "groups: {g: {swap: 5}}",
    M + "groups: {g: {members: [m]}}\nmatrix: {sets: {s: m}}",
    M + "groups: {g: {}}\nrouting: {router: {use: group}}",
    M + "matrix: {sets: {s: m}}\nrouting: {router: {use: group}}",
    M + "groups: {g: {}}\nrouting: {router: {settings: {groups: {h: {}}}}}",
    M + "matrix: {sets: {}}",
    M + "matrix: {vars: {v: m}}",
    M + "matrix: {sets: {s: m}, vars: {a_b: m}}",
    M + "matrix: {sets: {s: m}, evict_costs: {m: 0}}",
    "routing: {router: {use: rings}}",
    "routing: {router: {use: matrix}}",
    "routing: {scheduler: {use: lifo}}",
    M + "routing: {router: {use: matrix, settings: {matrix: {sets: {}}}}}",
    M + "routing: {scheduler: {settings: {fifo: {priority: {m: x}}}}}",
    "routing: {scheduler: {settings: {fifo: {maxWait: -1}}}}",
    "routing: {scheduler: {settings: {fifo: {maxWait: x}}}}",
    "profiles: [a]",
    "profiles: {p: [a]}",
    "profiles: {p: }",
    "profiles: {p: {pins: {}}}",
    M + "profiles: {p: {pins: {' ': m}}}",
    M + "selectors: {s: {targets: [m]}}",
    M + "selectors: {s: {strategy: x, targets: [m]}}",
    M + "selectors: {s: {strategy: pin}}",
    M + "selectors: {s: {strategy: pin, targets: []}}",
    M + "selectors: {s: {strategy: spillover, targets: [m], settings: {spillover: 0}}}",
    "hooks: {on_startup: {preload: m}}",
    "hooks: x",
]

VALID = [
    "{}",
    "models: ",
    M,
    "startPort: 1",
    "startPort: ~",
    "startPort: 5.0",
    "logLevel: trace",
    "store: ",
    "apiKeys: [5]",
    "sendLoadingState: yes",
    "sendLoadingState: 'Off'",
    "performance: {every: 1h5m}",
    "x-own: 5\nother: [1]",
    "apiKeys: [a, {key: b, scopes: [inference, logs, admin]}]",
    "apiKeys: [{key: b, scopes: ~, models: []}]",
    "logs: {maxRate: 0, dir: '', segmentBytes: 65536, causes: []}",
    "logs: {causes: [{name: n, pattern: p, message: m}, {name: n, pattern: 5, message: m, engines: [x]}]}",
    "store: {path: a, retentionDays: 0, maxRows: 0}",
    "telemetry: {endpoint: '', headers: {x-y: 1}}",
    "telemetry: {endpoint: 'HTTPS://h:4318/v1/traces', serviceName: s}",
    "telemetry: ",
    m("filters: {stripParams: [a, 5]}"),
    m("filters: {stripParams: []}"),
    m("logs: {maxRate: ~}"),
    m("logs: {maxRate: 0}"),
    m("queueLimit: 1"),
    "peers: {p: {proxy: 'https://h', models: [x], tls: {verify: no}}}",
    "peers: {p: {proxy: 'https://h', models: [x], tls: ~}}",
    "macros: {t: 5}\nstartPort: ${t}\nsendLoadingState: ${t}".replace("${t}\ns", "7\ns").replace(
        "${t}", "no"
    ),
    m("ttl: '${MODEL_ID}'").replace("'${MODEL_ID}'", "-1"),
    m("timeouts: {connect: ~}"),
    m("filters: ~, env: ~"),
    "models: {m: {cmd: x, proxy: 'http://h'}}",
    "models: {m: {cmd: x, port: 5, proxy: 'http://h'}}",
    "models: {m: {model: a, args: '-c 5'}}",
    "models: {m: {model: a, args: [-c, 5]}}",
    "models: {m: {cmd: 5, proxy: 'http://h'}}",
    "models: {m: {cmd: x, port: 5}}",
    M + "groups: {g: ~}",
    M + "groups: {}\nmatrix: {sets: {s: m}}",
    M + "matrix: {sets: {s: m}, evict_costs: {m: 1}}",
    M + "routing: {router: {settings: {matrix: {vars: {a_b: zz}}, groups: {g: {members: [m]}}}}}",
    M + "routing: {router: {use: matrix, settings: {matrix: {sets: {s: m}}}}}",
    M + "profiles: {p: {pins: {a: ~, b: m}}}",
    M + "selectors: {s: {strategy: pin, targets: [m], settings: {spillover: 0}}}",
    "routing: ",
    "routing: {scheduler: {settings: {fifo: {maxWait: 5}}}}",
    M + "groups: {g: {members: [m]}}\nrouting: {scheduler: {use: fifo}}",
]


@pytest.mark.parametrize("text", INVALID)
def test_both_refuse(text: str) -> None:
    assert any(p.severity == "error" for p in problems(text, check_matrix=pairs_only))
    assert list(LENIENT.iter_errors(tree(text)))


@pytest.mark.parametrize("text", VALID)
def test_both_accept(text: str) -> None:
    assert [str(p) for p in problems(text) if p.severity == "error"] == []
    assert [e.message for e in LENIENT.iter_errors(tree(text))] == []


@pytest.mark.parametrize(
    "text", [m("ttll: 5"), M + "hooks: {on_start: {}}", M + "groups: {g: {member: [m]}}", "modles: {}"]
)
def test_the_strict_one_refuses_what_the_parser_warns_of(text: str) -> None:
    assert any("unknown key" in p.message for p in problems(text))
    assert list(STRICT.iter_errors(tree(text)))
    assert not list(LENIENT.iter_errors(tree(text)))


OTHER_NAMES = {
    "in": "inputs",
    "out": "outputs",
    "globalTTL": "global_ttl",
    "maxBodyMB": "max_body_mb",
    "setParamsByID": "set_params_by_id",
}
RESOLVED = {"ttl", "unloadTimeout", "healthCheckTimeout", "sendLoadingState", "store"}
"""Keys whose default in the file stands for a value from elsewhere."""


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (keys.ROOT, types.Config),
        (keys_model.MODEL, types.Model),
        (keys_model.TIMEOUTS, types.Timeouts),
        (keys_model.CAPABILITIES, types.Capabilities),
        (keys.GROUP, types.Group),
        (keys.FIFO, types.Fifo),
        (keys.LOGS, types.Logs),
        (keys.LOG_CAUSE, types.LogCause),
        (keys.ROOT.by_name["telemetry"].kind, types.Telemetry),
        (keys.PEER.by_name["tls"].kind, types.Tls),
    ],
)
def test_defaults_are_those_of_the_types(section: Section, kind: type) -> None:
    assert isinstance(section, Section)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in section.keys:
        name = OTHER_NAMES.get(key.name) or re.sub("(?=[A-Z])", "_", key.name).lower()
        found = fields.get(name)
        if found is None or key.name in RESOLVED or found.default is dataclasses.MISSING:
            continue
        if not isinstance(key.kind, Section):
            assert key.default == found.default, key.name


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place; `GONE` takes it away."""
    result = copy.deepcopy(document)
    inside = result
    for step in path[:-1]:
        inside = inside[step]
    if value is GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return result


GONE = object()
BASE = [tree(text) for text in (EXAMPLE, *(path.read_text(encoding="utf-8") for path in FIXTURES))]
VALUES = [
    None,
    True,
    False,
    "",
    " ",
    "x",
    "yes",
    "true",
    "5",
    "5s",
    0,
    1,
    5,
    -1,
    -5,
    70_000,
    2.5,
    10**30,
    GONE,
]
VALUES += [
    [],
    ["x"],
    [None],
    [[]],
    [5],
    {},
    {"x": 1},
    {"x": None},
    {"x": {}},
    {"x": ["x"]},
    "http://h",
]
EXPRESSIBLE = re.compile(
    r"expected (a whole number|true or false|text|a list|a mapping)|must be >= |must be <= |must be one of|"
    r"is required|too large|must not be empty|empty api key|neither cmd nor model|empty command|"
    r"invalid modality"
)


def both(text: str) -> tuple[list[str], list[str]]:
    """What the parser and the schema say against a text."""
    said = [str(p) for p in problems(text, env=defaultdict(lambda: "7")) if p.severity == "error"]
    return said, [f"{list(e.absolute_path)}: {e.message[:200]}" for e in LENIENT.iter_errors(tree(text))]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(BASE), st.data())
def test_both_judge_any_change_alike(document: Any, data: st.DataObject) -> None:
    """Whatever the schema refuses, the parser refuses; the other way round for all a schema can say."""
    text = EXAMPLE
    by_macro = False  # what a macro makes of a value, no schema can say
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(places(document))))
        by_macro = by_macro or "macros" in path
        document = changed(document, path, data.draw(st.sampled_from(VALUES)))
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        if not isinstance(document, dict) or not list(places(document)):
            break

    parser, against = both(text)

    assert not against or parser, against
    assert against or by_macro or not [line for line in parser if EXPRESSIBLE.search(line)]
