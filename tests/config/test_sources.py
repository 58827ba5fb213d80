"""What must hold: §0 and §1 of the compatibility notes – YAML as yaml.v3 reads it, several files as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hostler.config import compose
from hostler.config.load import find_sources, load, store_problem
from hostler.config.problems import ConfigProblems

from .cases import Case, M, bad, get, model, of_m, ok, problems, read, table, warned


def with_m(line: str) -> str:
    return f"models:\n  m:\n    cmd: x ${{PORT}}\n    {line}\n"


@table(
    ok("§0 empty file", "", get("models"), {}),
    ok("§0 comments only", "# nothing\n---\n", get("start_port"), 5800),
    ok("§0 all files empty", ("", "# x"), get("models"), {}),
    bad("§0 root is a list", "- a\n", "top-level YAML must be a mapping", (1, 1)),
    bad("§0 root is a word", "hello", "top-level YAML must be a mapping"),
    bad("§0 the file is named", (M, "- a\n"), "f1.yaml"),
    bad(
        "§0 duplicate keys",
        "startPort: 1\nlogLevel: info\nstartPort: 2\n",
        "given twice (first in line 1)",
        (3, 1),
    ),
    bad("§0 duplicate keys below", "models:\n  m: {cmd: 'x ${PORT}', ttl: 1, ttl: 2}\n", "models.m.ttl"),
    bad(
        "§0 duplicate keys of two types",
        "models:\n  1: {cmd: 'x ${PORT}'}\n  '1': {cmd: 'x ${PORT}'}\n",
        "twice",
    ),
    warned("§0 unknown key", "healthcheckTimeout: 20\n" + M, "did you mean `healthCheckTimeout`?"),
    warned("§0 unknown key of a model", with_m("check_endpoint: /"), "did you mean `checkEndpoint`?"),
    warned("§0 unknown key of another place", with_m("stripParams: a"), "belongs in models.<id>.filters"),
    warned("§0 unknown key far from all", with_m("zzzzzz: 1"), "models.m.zzzzzz: unknown key, ignored"),
    ok(
        "§0 unknown key that holds anchors",
        "defs: &d {ttl: 3}\nmodels: {m: {<<: *d, cmd: 'x ${PORT}'}}",
        of_m("ttl"),
        3,
    ),
    ok("§0 keys of one's own", "x-y: 1\n_a: 2\n.b: 3\n" + M),
    *(
        ok(f"§0 bool from {word}", with_m(f"unlisted: {word}"), of_m("unlisted"), value)
        for word, value in {
            "true": True,
            "True": True,
            "FALSE": False,
            "y": True,
            "Y": True,
            "yes": True,
            "Yes": True,
            "on": True,
            "ON": True,
            "n": False,
            "no": False,
            "NO": False,
            "off": False,
            "'yes'": True,
            '"off"': False,
        }.items()
    ),
    bad("§0 bool from quoted true", with_m('unlisted: "true"'), "remove the quotes"),
    bad("§0 bool from quoted false", with_m("unlisted: 'false'"), "expected true or false"),
    bad("§0 bool from number", with_m("unlisted: 1"), "expected true or false, found a whole number"),
    bad("§0 bool from odd case", with_m("unlisted: yEs"), "expected true or false"),
    bad("§0 int from quoted number", with_m('ttl: "5"'), "remove the quotes", (4, 10)),
    bad("§0 int from text", with_m("ttl: 5s"), "expected a whole number, found text"),
    bad("§0 int from bool", with_m("ttl: true"), "expected a whole number"),
    bad("§0 int too large", with_m("ttl: 99999999999999999999"), "too large"),
    warned("§0 int from float", with_m("ttl: 5.9"), "5 is used", of_m("ttl"), 5),
    ok("§0 int from whole float", with_m("ttl: 5.0"), of_m("ttl"), 5),
    ok("§0 int in hexadecimal", with_m("ttl: 0x10"), of_m("ttl"), 16),
    ok("§0 int in octal", with_m("ttl: 0o17"), of_m("ttl"), 15),
    ok("§0 int in older octal", with_m("ttl: 017"), of_m("ttl"), 15),
    ok("§0 int in binary", with_m("ttl: 0b101"), of_m("ttl"), 5),
    ok("§0 int with underscores", with_m("ttl: 1_000"), of_m("ttl"), 1000),
    ok("§0 text from int", with_m("name: 12"), of_m("name"), "12"),
    ok("§0 text keeps spelling of numbers", with_m("name: 1.10"), of_m("name"), "1.10"),
    ok("§0 text keeps spelling of dates", with_m("name: 2024-05-01"), of_m("name"), "2024-05-01"),
    ok("§0 text from bool", with_m("name: True"), of_m("name"), "True"),
    ok("§0 text from binary", with_m("name: !!binary aGk="), of_m("name"), "hi"),
    bad("§0 bad binary", with_m("name: !!binary '%'"), "not base64"),
    bad("§0 bad tag", with_m("ttl: !!int x"), "tagged !!int"),
    ok("§0 tag on quoted number", with_m('ttl: !!int "7"'), of_m("ttl"), 7),
    ok("§0 null keeps the default", with_m("checkEndpoint:"), of_m("check_endpoint"), "/health"),
    ok("§0 ~ keeps the default", with_m("ttl: ~"), of_m("ttl"), 0),
    ok("§0 null list", with_m("env: null"), of_m("env"), ()),
    bad("§0 list from text", with_m("aliases: a"), "write it as a list"),
    bad("§0 text from list", with_m("name: [a]"), "expected text, found a list"),
    bad("§0 mapping from text", with_m("filters: a"), "expected a mapping of keys to values, found text"),
    ok("§0 anchor and alias", "models: {m: {cmd: &c 'x ${PORT}', cmdStop: *c}}", of_m("cmd_stop"), "x 5800"),
    ok(
        "§0 merge", "a: &a {ttl: 1, name: n}\nmodels: {m: {<<: *a, ttl: 2, cmd: 'x ${PORT}'}}", of_m("ttl"), 2
    ),
    ok(
        "§0 merge of several: the first wins",
        "a: &a {ttl: 1}\nb: &b {ttl: 2, name: n}\nmodels: {m: {cmd: 'x ${PORT}', <<: [*a, *b]}}",
        lambda c: (model(c).ttl, model(c).name),
        (1, "n"),
    ),
    bad("§0 merge of a word", "models: {m: {<<: x, cmd: 'x ${PORT}'}}", "takes a mapping"),
    bad("§0 alias of nothing", "models: {m: *x}", "not defined above"),
    bad("§0 alias of itself", "a: &a [*a]", "the very value it is part of"),
    bad("§0 key that is a list", "? [a]\n: b\n", "a key must be a plain word"),
    warned("§0 second document", M + "---\na: 1\n", "only the first document"),
    ok(
        "§1 numeric ids",
        "models: {123: {cmd: 'x ${PORT}'}, true: {cmd: x, proxy: 'http://a'}}",
        lambda c: list(c.models),
        ["123", "true"],
    ),
    *(
        ok(
            f"weakness 2: the id {spelling} keeps its spelling",
            f"models: {{{spelling}: {{cmd: 'x ${{PORT}} ${{MODEL_ID}}', aliases: [z]}},"
            " o: {cmd: '${PORT}'}}\n"
            f"groups: {{g: {{members: [{spelling}]}}}}\nhooks: {{on_startup: {{preload: [{spelling}]}}}}\n"
            f"selectors: {{s: {{strategy: pin, targets: [{spelling}]}}}}\n"
            f"profiles: {{p: {{pins: {{a: {spelling}}}}}}}\n",
            lambda c: (c.aliases["z"], c.models[c.aliases["z"]].cmd.split()[-1], c.preload),
            (spelling, spelling, (spelling,)),
        )
        for spelling in ("123", "1.10", "0x10", "007", "true", "No", "1e3", "2024-05-01", "-1", ".5", "1_000")
    ),
    ok(
        "weakness 2: an id that is null",
        "models: {~: {cmd: 'x ${PORT}'}, null: {cmd: 'x ${PORT}'}}",
        lambda c: list(c.models),
        ["~", "null"],
    ),
    ok(
        "weakness 2: other keys that are numbers",
        with_m("metadata: {1: a, 2.50: {true: b}}\n    filters: {setParams: {5: 6}}"),
        lambda c: (model(c).metadata, model(c).filters.set_params),
        ({"1": "a", "2.50": {"true": "b"}}, {"5": 6}),
    ),
    ok(
        "weakness 2: texts that look like numbers",
        with_m("aliases: [1.10, 007, 1e3]\n    env: [1=2]\n    useModelName: 1.50\n    checkEndpoint: 1.0"),
        lambda c: (model(c).aliases, model(c).env, model(c).use_model_name, model(c).check_endpoint),
        (("1.10", "007", "1e3"), ("1=2",), "1.50", "1.0"),
    ),
    ok(
        "§1 dates in metadata stay",
        with_m("metadata: {d: 2024-05-01, t: 2024-05-01T10:00:00Z}"),
        of_m("metadata"),
        {"d": "2024-05-01", "t": "2024-05-01T10:00:00Z"},
    ),
    ok(
        "§1 what JSON cannot say stays text",
        with_m("metadata: {a: .inf, b: .nan, 1: x}"),
        of_m("metadata"),
        {"a": ".inf", "b": ".nan", "1": "x"},
    ),
)
def test_yaml(case: Case) -> None:
    case.check()


@table(
    ok(
        "§0.1 mappings recurse",
        ("logLevel: warn\nui: {activity: {session_id: [A]}}", M),
        get("log_level"),
        "warn",
    ),
    ok("§0.1 models of both", (M, "models: {n: {cmd: 'x ${PORT}'}}"), lambda c: sorted(c.models), ["m", "n"]),
    ok(
        "§0.1 lists are joined",
        (M + "apiKeys: [a, b]", "apiKeys: [b, c]"),
        lambda c: [k.key for k in c.api_keys],
        ["a", "b", "b", "c"],
    ),
    ok("§0.1 equal values", ("startPort: 7000", "startPort: 7000"), get("start_port"), 7000),
    bad("§0.1 different values", ("startPort: 7000", "\nstartPort: 7001"), 'conflict at "startPort"', (2, 1)),
    bad("§0.1 the second file is named", ("startPort: 7000", "startPort: 7001"), "f1.yaml"),
    bad("§0.1 equal text, other type", ("logTimeFormat: 1", "logTimeFormat: '1'"), "conflict"),
    bad("§0.1 different kinds", ("apiKeys: [a]", "apiKeys: {a: b}"), "incompatible YAML node kinds"),
    ok("§0.1 empty yields", ("startPort:", "startPort: 7000"), get("start_port"), 7000),
    ok("§0.1 empty yields the other way", ("startPort: 7000", "startPort:"), get("start_port"), 7000),
    ok("§0.1 ~ yields, too", ("startPort: 7000", "startPort: ~"), get("start_port"), 7000),
    bad("§0.1 a model twice", (M, M), 'duplicate model "m"', (2, 3)),
    bad("§0.1 a group twice", (M + "groups: {g: {members: [m]}}", "groups: {g: {}}"), 'duplicate group "g"'),
    bad(
        "§0.1 a peer twice",
        ("peers: {p: {proxy: 'http://a', models: [x]}}", "peers: {p: {}}"),
        'duplicate peer "p"',
    ),
    bad(
        "§0.1 a selector twice",
        (M + "selectors: {s: {strategy: pin, targets: [m]}}", "selectors: {s: {}}"),
        "duplicate",
    ),
    bad(
        "§0.1 a profile twice",
        (M + "profiles: {s: {pins: {a: m}}}", "profiles: {s: {}}"),
        'duplicate profile "s"',
    ),
    bad(
        "§0.1 sets twice", (M + "matrix: {sets: {a: m}}", "matrix: {sets: {b: m}}"), 'duplicate matrix "sets"'
    ),
    bad(
        "§0.1 newer groups twice",
        (
            M + "routing: {router: {settings: {groups: {g: {members: [m]}}}}}",
            "routing: {router: {settings: {groups: {g: {}}}}}",
        ),
        'duplicate group "g"',
    ),
    bad(
        "§0.1 vars twice",
        (M + "matrix: {vars: {a: m}, sets: {s: a}}", "matrix: {vars: {b: m}}"),
        'matrix "vars"',
    ),
    bad(
        "§0.1 evict_costs twice",
        (M + "matrix: {evict_costs: {m: 1}, sets: {s: m}}", "matrix: {evict_costs: {m: 1}}"),
        'duplicate matrix "evict_costs"',
    ),
    ok(
        "§0.1 parts of a matrix in two files",
        (M + "matrix: {sets: {s: a}}", "matrix: {vars: {a: m}}"),
        lambda c: c.routing.matrix is not None and c.routing.matrix.vars,
        {"a": "m"},
    ),
    bad(
        "§0.1 newer matrix twice",
        (
            M + "routing: {router: {use: matrix, settings: {matrix: {sets: {s: m}}}}}",
            "routing: {router: {settings: {matrix: {sets: {t: m}}}}}",
        ),
        'duplicate matrix "sets"',
    ),
    bad(
        "§0.1 a matrix that is no mapping", (M + "matrix: {sets: {s: m}}", "matrix: x"), "expected a mapping"
    ),
    ok(
        "§0.1 preload is joined",
        (M + "hooks: {on_startup: {preload: [m]}}", "hooks: {on_startup: {preload: [m]}}"),
        get("preload"),
        ("m", "m"),
    ),
    ok(
        "§0.1 three files",
        ("startPort: 7000", M, "logLevel: warn"),
        lambda c: (c.start_port, c.log_level),
        (7000, "warn"),
    ),
    bad("§0.1 a list and a word", ("apiKeys: [a]", "apiKeys: a"), "incompatible YAML node kinds"),
    bad(
        "§0.1 a conflict below",
        ("ui: {activity: {session_id: x}}", "ui: {activity: {session_id: y}}"),
        'conflict at "ui.activity.session_id"',
    ),
    ok("§0.1 equal macros", ("macros: {a: x}", "macros: {a: x}\n" + M), get("start_port"), 5800),
    ok(
        "§0.1 macros of a later file are seen in an earlier one",
        ("models: {m: {cmd: 'x ${b} ${PORT}'}}", "macros: {b: 7}"),
        of_m("cmd"),
        "x 7 5800",
    ),
    bad(
        "§0.1 anchors of another file",
        ("x-a: &a {ttl: 1}", "models: {m: {<<: *a, cmd: 'x ${PORT}'}}"),
        "not defined above",
    ),
    ok("weakness 7: null yields", (M + "store: null", "store: {path: a.db}"), get("store_path"), "a.db"),
    bad("§0.1 models that are no mapping", (M, "models: [m]"), "expected a mapping"),
    ok(
        "§0.1 macros of both",
        ("macros: {a: 1}", "macros: {b: '${a}2'}\nmodels: {m: {cmd: 'x ${b} ${PORT}'}}"),
        of_m("cmd"),
        "x 12 5800",
    ),
    bad("§0.1 a macro with two values", ("macros: {a: 1}", "macros: {a: 2}"), 'conflict at "macros.a"'),
    ok(
        "§0.1 anchors belong to their file",
        (
            "x-a: &a {ttl: 1}\nmodels: {m: {<<: *a, cmd: 'x ${PORT}'}}",
            "x-b: &a {ttl: 2}\nmodels: {n: {<<: *a, cmd: 'x ${PORT}'}}",
        ),
        lambda c: (model(c).ttl, model(c, "n").ttl),
        (1, 2),
    ),
    ok(
        "§0.1 merged keys yield to plain ones",
        ("x-a: &a {logLevel: warn}\n<<: *a", "logLevel: error"),
        get("log_level"),
        "error",
    ),
    bad("§1 env before merging", ("startPort: 7000", "startPort: ${env.P}"), "conflict", env={"P": "7001"}),
)
def test_merging(case: Case) -> None:
    case.check()


def test_order_is_files_then_directory_by_name(tmp_path: Path) -> None:
    """§0: only files that end exactly in .yml or .yaml, only at the top level, sorted."""
    inside = tmp_path / "conf.d"
    (inside / "sub.yaml").mkdir(parents=True)
    for name in ("b.yaml", "a.yml", "c.YAML", "d.yaml.bak", "notes.txt"):
        (inside / name).write_text("")
    (tmp_path / "linked").write_text(M)
    (inside / "z.yaml").symlink_to(tmp_path / "linked")
    first = tmp_path / "main.yaml"
    first.write_text("")

    found = find_sources([first], inside)

    assert [path.name for path in found] == ["main.yaml", "a.yml", "b.yaml", "z.yaml"]
    assert "m" in load([first], inside, environ={}).config.models


def test_sources_that_are_none(tmp_path: Path) -> None:
    """§0: at least one of the two is needed, and at least one file."""
    with pytest.raises(ConfigProblems, match="neither"):
        find_sources()
    with pytest.raises(ConfigProblems, match="no configuration sources found"):
        find_sources([], tmp_path)
    with pytest.raises(ConfigProblems, match="cannot be read"):
        load([tmp_path / "missing.yaml"], environ={})
    with pytest.raises(ConfigProblems, match="cannot be read"):
        load([], tmp_path / "missing", environ={})
    with pytest.raises(ConfigProblems):
        load([Path("a\0b")], environ={})


def test_a_file_is_not_read_twice(tmp_path: Path) -> None:
    """§0: a file that is also in the directory is an error."""
    path = tmp_path / "a.yaml"
    path.write_text(M)

    with pytest.raises(ConfigProblems, match="also present"):
        find_sources([path], tmp_path)
    with pytest.raises(ConfigProblems, match="twice"):
        find_sources([path, path])


def test_store_paths(tmp_path: Path) -> None:
    """§4 store: whether the file can be used is looked at on loading."""
    (tmp_path / "a.db").write_text("")
    path = tmp_path / "c.yaml"
    path.write_text(f"store: {{path: '{tmp_path}'}}\n")

    assert store_problem(str(tmp_path / "a.db")) is None
    assert store_problem(str(tmp_path / "new.db")) is None
    assert "is a directory" in str(store_problem(str(tmp_path)))
    assert "not writable" in str(store_problem(str(tmp_path / "none" / "a.db")))
    assert "not writable" in str(store_problem("a\0b"))
    with pytest.raises(ConfigProblems, match="is a directory"):
        load([path], environ={})


def test_encodings() -> None:
    assert read(b"\xef\xbb\xbf" + M.encode()).config.models
    assert read(M.encode("utf-16")).config.models
    (problem,) = problems(b"a: 1\nb: \xff")
    assert (problem.line, problem.column) == (2, 4)


def test_syntax_errors_have_places_and_hints() -> None:
    (problem,) = problems(M + "a: b: c\n")
    assert (problem.line, problem.column) == (3, 5)
    assert "quotes" in problem.hint
    (problem,) = problems("models:\n\tm: 1\n")
    assert "spaces" in problem.hint
    (problem,) = problems("x: [${a}]")
    assert "quotes" in problem.hint
    (problem,) = problems("models:\n  m: {cmd: \x07}\n")
    assert (problem.line, problem.column) == (2, 12)
    assert problems("a: \ud800")[0].line == 1


def test_without_the_library_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML may be installed without libyaml; slower, but the same."""
    text = (Path(__file__).parents[2] / "config.example.yaml").read_text(encoding="utf-8")
    expected = read(text)
    monkeypatch.setattr(compose, "Loader", yaml.SafeLoader)

    assert read(text).config == expected.config
    for broken in ("[" * 2000, "a: *b", "a: b: c", "a: \x07", "? [", "a: !!int x", "'", "%X\n---\n!a!b c"):
        assert any(p.severity == "error" for p in problems(broken))


def test_syntax_errors_of_all_files_are_told() -> None:
    assert {p.file for p in problems("a: [", M, "b: {")} == {"f0.yaml", "f2.yaml"}
