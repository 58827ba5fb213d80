"""What must hold: §2 and §3 of the compatibility notes – environment values, macros, ports."""

from __future__ import annotations

import pytest

from hostler.config.ports import assign_ports
from hostler.core import ModelId

from .cases import Case, M, bad, get, model, of_m, ok, problems, read, table, warned

REFERENCES = "${n}${MODEL_ID}${PORT}${PID}${env.B}${no}"


def cmd(text: str, macros: str = "", rest: str = "") -> str:
    return f"macros: {{{macros}}}\nmodels:\n  m:\n    cmd: {text} ${{PORT}}\n    {rest}\n"


@table(
    ok("§2 in a value", cmd("${env.A}"), of_m("cmd"), "v 5800", env={"A": "v"}),
    ok(
        "§2 in a key",
        "models: {'${env.A}-x': {cmd: 'x ${PORT}'}}",
        lambda c: list(c.models),
        ["v-x"],
        env={"A": "v"},
    ),
    ok(
        "§2 in a flow list",
        M + "apiKeys: [${env.A}, ${env.B}]",
        lambda c: [k.key for k in c.api_keys],
        ["one", "two"],
        env={"A": "one", "B": "two"},
    ),
    ok(
        "§2 several in one value",
        cmd("${env.A}${env.B}-${env.A}"),
        of_m("cmd"),
        "xyz-x 5800",
        env={"A": "x", "B": "yz"},
    ),
    ok("§2 typed where unquoted", cmd("x", rest="ttl: ${env.A}"), of_m("ttl"), 7, env={"A": "7"}),
    ok("§2 spaces around a number", cmd("x", rest="ttl: ${env.A}"), of_m("ttl"), 7, env={"A": " 7 "}),
    bad("§2 text where quoted", cmd("x", rest="ttl: '${env.A}'"), "expected a whole number", env={"A": "7"}),
    ok(
        "§2 bool where unquoted",
        cmd("x", rest="unlisted: ${env.A}"),
        of_m("unlisted"),
        True,
        env={"A": "true"},
    ),
    ok("§2 empty is set", cmd("x", rest="name: a${env.A}"), of_m("name"), "a", env={"A": ""}),
    ok("§2 empty in a flow list is nothing", M + "apiKeys: [${env.A}]", get("api_keys"), (), env={"A": ""}),
    bad("§2 unset", cmd("x", rest="name: ${env.NOPE}"), "environment variable 'NOPE' is not set", (5, 11)),
    ok("§2 only in comments", "# ${env.NOPE}\n" + M + "# ${env.NOPE}"),
    bad(
        "§2 in a comment line of a command",
        "models:\n  m:\n    cmd: |\n      # ${env.NOPE}\n      x ${PORT}",
        "not set",
    ),
    bad("§2 newline in a value", cmd("${env.A}"), "contains newlines or null bytes", env={"A": "a\nb"}),
    bad("§2 carriage return in a value", cmd("${env.A}"), "contains newlines", env={"A": "a\rb"}),
    bad("§2 null byte in a value", cmd("${env.A}"), "null bytes", env={"A": "a\0b"}),
    ok("§2 no variable's name", cmd("${env.1A}"), of_m("cmd"), "${env.1A} 5800"),
    *(
        ok(
            f"§2 arrives unchanged: {value}",
            cmd("x", rest=f"env: [{quote}K=${{env.A}}{quote}]"),
            of_m("env"),
            (f"K={value}",),
            env={"A": value},
        )
        for value in (
            "a\\b",
            'a"b',
            "a'b",
            "a: b",
            "a #b",
            "[a, b]",
            "{a}",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "- a",
            "$HOME",
            "${x}",
            "${x",
            "\\n",
            "tab\there",
            "ü€😀",
            "\u2028",
            "a, b",
            "|",
            ">",
            "?",
            "\x85",
            "~",
            "${PORT}",
            "${MODEL_ID}",
            "${env.A}",
            "${env.HOME}",
            "$${x}",
            "\ue003\ue004x}",
            "\ue003\ue005",
            "\ue000\ue001env.A\ue002",
        )
        for quote in ("", "'", '"')
    ),
    ok(
        "§2 a whole value arrives unchanged",
        M + "apiKeys:\n- ${env.A}",
        lambda c: c.api_keys[0].key,
        "*x:{y}#",
        env={"A": "*x:{y}#"},
    ),
    ok("§2 text that looks like null", cmd("x", rest="name: x${env.A}"), of_m("name"), "x~", env={"A": "~"}),
    *(
        ok(
            f"weakness 1: nothing in a value is expanded: {where}",
            cmd("x", "n: 5", rest),
            of_m(name),
            expected,
            env={"A": REFERENCES, "B": "deep"},
        )
        for where, rest, name, expected in (
            ("text", "name: '${env.A}'", "name", REFERENCES),
            ("unquoted", "name: ${env.A}", "name", REFERENCES),
            ("env", "env: ['K=${env.A}']", "env", (f"K={REFERENCES}",)),
            ("cmdStop", "cmdStop: 'x ${PID}${env.A}'", "cmd_stop", "x ${PID}" + REFERENCES),
            (
                "by way of a macro",
                "macros: {a: '${n}/${env.A}'}\n    name: 'is ${a}'",
                "name",
                "is 5/" + REFERENCES,
            ),
            (
                "by way of two macros",
                "macros: {a: '${env.A}', b: '${a}${PORT}'}\n    name: '${b}'",
                "name",
                REFERENCES + "5800",
            ),
            ("key", "metadata: {'${env.A}': 1}", "metadata", {REFERENCES: 1}),
            (
                "key of setParamsByID",
                "filters: {setParamsByID: {'${env.A}': {a: 1}}}",
                "filters.set_params_by_id",
                {REFERENCES: {"a": 1}},
            ),
        )
    ),
    ok(
        "§2 an id with a value",
        "models: {'${env.A}': {cmd: 'x ${PORT} ${MODEL_ID}'}}",
        lambda c: [(m.id, m.cmd, m.port) for m in c.models.values()],
        [("a${PORT}", "x 5800 a${PORT}", 5800)],
        env={"A": "a${PORT}"},
    ),
    ok(
        "§2 a macro keeps the spelling of a value",
        cmd("${key} -t ${num}", "key: '${env.A}', num: '${env.B}'").replace("'", ""),
        of_m("cmd"),
        "00012 -t 1.10 5800",
        env={"A": "00012", "B": "1.10"},
    ),
    ok(
        "§2 a macro that is a value keeps the type",
        cmd("x", "t: ${env.A}", "ttl: ${t}"),
        of_m("ttl"),
        7,
        env={"A": "7"},
    ),
    *(
        ok(
            f"§2 words that mean something to YAML are words: {value}",
            cmd("x", rest="name: ${env.A}") + "apiKeys: [${env.A}]\n",
            lambda c: (model(c).name, c.api_keys[0].key),
            (value, value),
            env={"A": value},
        )
        for value in ("null", "~", "Null", "2024-01-01", "0x10", "1_000", "true", "1.10", "1e3", ".inf")
    ),
    ok(
        "§2 a macro of a date",
        cmd("${d}", "d: ${env.A}"),
        of_m("cmd"),
        "2024-01-01 5800",
        env={"A": "2024-01-01"},
    ),
    ok("§2 null where a number is wanted", cmd("x", rest="ttl: ${env.A}"), of_m("ttl"), 0, env={"A": "null"}),
    ok("§2 blank where a number is wanted", cmd("x", rest="ttl: ${env.A}"), of_m("ttl"), 0, env={"A": "  "}),
    ok(
        "§2 empty keeps the default",
        cmd("x", rest="checkEndpoint: ${env.A}"),
        of_m("check_endpoint"),
        "/health",
        env={"A": ""},
    ),
    bad(
        "weakness 1: a value that was meant as a macro",
        "models: {m: {cmd: 'x ${env.A}'}}",
        "the ${PORT} in an environment variable's value is plain text",
        env={"A": "--port ${PORT}"},
    ),
    ok("§2 in macros", cmd("${a}", "a: '${env.A}/x'"), of_m("cmd"), "/m/x 5800", env={"A": "/m"}),
    ok(
        "§2 anchored once",
        "x-a: &a ${env.A}\nmodels: {m: {cmd: 'x ${PORT}', name: *a}}",
        of_m("name"),
        "v",
        env={"A": "v"},
    ),
    bad(
        "§2 duplicate keys after substitution",
        "models: {v: {cmd: 'x ${PORT}'}, '${env.A}': {cmd: 'x ${PORT}'}}",
        "twice",
        env={"A": "v"},
    ),
)
def test_environment(case: Case) -> None:
    case.check()


@table(
    bad("§3 macros that are a list", "macros: [a]\n" + M, "macros must be a mapping"),
    bad("§3 name too long", f"macros: {{{'a' * 64}: 1}}\n" + M, "exceeds maximum length of 63 characters"),
    ok("§3 longest name", f"macros: {{{'a' * 63}: 1}}\n" + M),
    bad("§3 name with odd characters", "macros: {a.b: 1}\n" + M, "contains invalid characters"),
    bad("§3 PID is taken", "macros: {PID: 1}\n" + M, "macro name 'PID' is reserved"),
    bad("§3 PORT is taken", "macros: {PORT: 1}\n" + M, "macro name 'PORT' is reserved"),
    bad(
        "§3 MODEL_ID is taken in models",
        cmd("x", rest="macros: {MODEL_ID: 1}"),
        "model m: macro name 'MODEL_ID' is reserved",
    ),
    bad("§3 list value", "macros: {a: [1]}\n" + M, "must be a scalar type"),
    bad("§3 null value", "macros: {a: }\n" + M, "must be a scalar type"),
    bad("§3 date value", "macros: {a: 2024-01-01}\n" + M, "must be a scalar type"),
    bad("§3 self", "macros: {a: 'x${a}'}\n" + M, "contains self-reference", (1, 10)),
    ok("§3 before it", cmd("${b}", "a: 1, b: '${a}2'"), of_m("cmd"), "12 5800"),
    bad("§3 after it", cmd("${a}", "a: '${b}', b: 1"), "unknown macro '${b}'"),
    bad("§3 after it is explained", cmd("${a}", "a: '${b}', b: 1"), "declared later"),
    bad("§3 a model's macros that are a list", cmd("x", rest="macros: [a]"), "macros must be a mapping"),
    bad("§3 self in a model", cmd("x", rest="macros: {a: '${a}'}"), "contains self-reference"),
    bad("§3 map value", "macros: {a: {b: 1}}\n" + M, "must be a scalar type"),
    bad(
        "§3 a model's list value",
        cmd("x", rest="macros: {a: [1]}"),
        "models.m.macros.a: macro 'a' must be a scalar type",
    ),
    ok("§3 no macros", "macros:\n" + M),
    ok("§3 names", cmd("${A-b_9}", "A-b_9: v"), of_m("cmd"), "v 5800"),
    ok("§3 case counts", cmd("${a}${A}", "a: 1, A: 2"), of_m("cmd"), "12 5800"),
    ok("§3 long values", cmd("${a}", f"a: {'v' * 100_000}"), lambda c: len(model(c).cmd), 100_005),
    ok("§3 empty value", cmd("x${a}y", "a: ''"), of_m("cmd"), "xy 5800"),
    ok("§3 several in one text", cmd("${a}${b}${a}", "a: 1, b: 2"), of_m("cmd"), "121 5800"),
    ok(
        "§3 a chain of many",
        cmd("${z}", "a: 1, b: '${a}2', c: '${b}3', z: '${c}4${a}'"),
        of_m("cmd"),
        "12341 5800",
    ),
    ok("§3 half a reference", cmd("${a", "a: x"), of_m("cmd"), "${a 5800"),
    ok(
        "§3 in lists and maps",
        cmd(
            "x",
            "a: v",
            "aliases: ['${a}1', '${a}2']\n    filters: {setParams: {p: [{q: '${a}'}]}, stripParams: '${a}'}",
        ),
        lambda c: (model(c).aliases, model(c).filters.set_params, model(c).filters.strip_params),
        (("v1", "v2"), {"p": [{"q": "v"}]}, ("v",)),
    ),
    ok(
        "§3 in routing, ui, profiles",
        "macros: {w: m, n: 3, h: X-A}\n"
        + M
        + "routing: {router: {settings: {groups: {g: {members: ['${w}']}}}},"
        " scheduler: {settings: {fifo: {priority: {m: '${n}'}}}}}\n"
        "ui: {activity: {session_id: ['${h}']}}\nprofiles: {p: {pins: {a: '${w}'}}}\n",
        lambda c: (
            c.routing.groups["g"].members,
            dict(c.routing.fifo.priority),
            c.session_headers,
            dict(c.profiles["p"].pins),
        ),
        (("m",), {"m": 3}, ("X-A",), {"a": "m"}),
    ),
    bad("§3 PORT outside", "logTimeFormat: ${PORT}\n" + M, "exists inside models only"),
    bad("§3 PID outside", "logTimeFormat: ${PID}\n" + M, "exists in cmdStop only"),
    bad(
        "§3 what is left in capabilities",
        cmd("x", rest="capabilities: {tools: '${t}'}"),
        "models.m.capabilities.tools: unknown macro '${t}'",
    ),
    bad(
        "§3 what is left in a peer",
        "peers: {p: {proxy: 'http://${h}', models: [x]}}",
        "peers.p.proxy: unknown macro '${h}'",
    ),
    *(
        bad(
            f"§3 what is left in {key}",
            cmd("x", rest=f"{key}: 'a ${{zz}}'"),
            f"models.m.{key}: unknown macro '${{zz}}'",
        )
        for key in ("cmdStop", "proxy", "checkEndpoint", "name", "description", "useModelName", "cwd")
    ),
    bad(
        "§3 what is left in stripParams",
        cmd("x", rest="filters: {stripParams: '${zz}'}"),
        "models.m.filters.stripParams: unknown macro",
    ),
    bad(
        "§3 what is left in env",
        cmd("x", rest="env: [A=1, 'B=${zz}']"),
        "models.m.env[1]: unknown macro '${zz}'",
    ),
    ok("§3 unused macros are not looked at", cmd("x", "a: '${nothing}'")),
    ok("§3 MODEL_ID in a macro", cmd("${a}", "a: 'id=${MODEL_ID}'"), of_m("cmd"), "id=m 5800"),
    ok(
        "§3 a model's macro is seen by the file's",
        cmd("${msg}", "tag: x, msg: 'v-${tag}'", "macros: {tag: m}"),
        of_m("cmd"),
        "v-m 5800",
    ),
    bad(
        "§3 a model's macro stays in the place of the file's",
        cmd("${tag}", "tag: x, msg: 1", "macros: {tag: '${msg}'}"),
        "unknown macro '${msg}'",
    ),
    ok(
        "§3 a model's new macro comes last",
        cmd("${own}", "a: 1", "macros: {own: 'o${a}'}"),
        of_m("cmd"),
        "o1 5800",
    ),
    ok("§3 exact keeps int", cmd("x", "t: 7", "ttl: ${t}"), of_m("ttl"), 7),
    ok("§3 exact keeps int, quoted", cmd("x", "t: 7", 'ttl: "${t}"'), of_m("ttl"), 7),
    ok(
        "§3 exact keeps bool", cmd("x", "t: true", "sendLoadingState: ${t}"), of_m("send_loading_state"), True
    ),
    ok("§3 exact through two macros", cmd("x", "t: 7, u: '${t}'", "ttl: ${u}"), of_m("ttl"), 7),
    ok("§3 exact keeps spelling for text", cmd("x", "v: 1.10", "name: ${v}"), of_m("name"), "1.10"),
    bad("§3 interpolated is text", cmd("x", "t: 1", 'ttl: "${t}0"'), "expected a whole number, found text"),
    ok("§3 in nested values", cmd("x", "t: 7", "timeouts: {connect: '${t}'}"), of_m("timeouts.connect"), 7),
    ok(
        "§3 in metadata",
        cmd("x", "f: 0.7, b: true, n: 4096", "metadata: {a: ['${f}', '${b}', '${n}', '${f} ${b} ${n}']}"),
        of_m("metadata"),
        {"a": [0.7, True, 4096, "0.7 true 4096"]},
    ),
    *(
        ok(f"§3 text of {yaml}", cmd("x", f"v: {yaml}", "name: a${v}"), of_m("name"), "a" + text)
        for yaml, text in {
            "0.7": "0.7",
            "1.0": "1",
            "1.10": "1.1",
            "1e3": "1000",
            "1e20": "100000000000000000000",
            "1e21": "1e+21",
            "0.00001": "1e-05",
            "0x10": "16",
            "True": "true",
            "yes": "yes",
            "'012'": "012",
            "1_000": "1000",
            "18446744073709551615": "18446744073709551615",
            "-.inf": "-Inf",
        }.items()
    ),
    ok("§3 dollar signs mean nothing", cmd("$x $$ $(y) ${}"), of_m("cmd"), "$x $$ $(y) ${} 5800"),
    bad("§3 there is no escape", cmd("$${a}"), "unknown macro '${a}'"),
    ok("§3 keys are not expanded", cmd("x", "a: 1", "metadata: {'${a}': 2}"), of_m("metadata"), {"${a}": 2}),
    ok(
        "§3 keys of setParamsByID are",
        cmd("x", "a: b", "filters: {setParamsByID: {'${MODEL_ID}:${a}:${PORT}': {x: 1}}}"),
        of_m("filters.set_params_by_id"),
        {"m:b:5800": {"x": 1}},
    ),
    bad(
        "§3 two keys with one text",
        cmd("x", "a: b", "filters: {setParamsByID: {'${a}': {}, b: {}}}"),
        "resolve to the same value",
    ),
    bad(
        "§3 unknown macro in a key",
        cmd("x", "", "filters: {setParamsByID: {'${zz}': {}}}"),
        "unknown macro '${zz}'",
    ),
    ok(
        "weakness 9: a literal",
        cmd("x", "a: 1", "name: !literal 'a ${a} ${PORT} ${env.NOPE} ${zz}'"),
        of_m("name"),
        "a ${a} ${PORT} ${env.NOPE} ${zz}",
    ),
    ok(
        "weakness 9: a literal as a macro",
        cmd("sh -c 'echo ${home} ${PORT}'", "home: !literal '${HOME:-x} ${HOME}'"),
        of_m("cmd"),
        "sh -c 'echo ${HOME:-x} ${HOME} 5800' 5800",
    ),
    ok("weakness 9: a literal is text", cmd("x", rest="name: !literal 007"), of_m("name"), "007"),
    ok(
        "weakness 9: literal keys",
        cmd("x", rest="metadata: {!literal '${a}': !literal '${b}'}"),
        of_m("metadata"),
        {"${a}": "${b}"},
    ),
    bad("weakness 9: a literal is no number", cmd("x", rest="ttl: !literal 5"), "expected a whole number"),
    bad(
        "weakness 9: PORT in a literal does not count",
        "models: {m: {cmd: !literal 'x ${PORT}'}}",
        "cmd does not use ${PORT}",
    ),
    ok("§3 in startPort", "macros: {p: 9000}\nstartPort: ${p}\n" + M, of_m("port"), 9000),
    ok(
        "§3 in hooks",
        "macros: {w: m}\nhooks: {on_startup: {preload: ['${w}']}}\n" + M,
        get("preload"),
        ("m",),
    ),
    ok(
        "§3 in peers",
        "macros: {h: 'http://a'}\npeers: {p: {proxy: '${h}:1', models: [x]}}",
        lambda c: c.peers["p"].proxy,
        "http://a:1",
    ),
    ok(
        "§3 in selectors",
        "macros: {w: m}\nselectors: {s: {strategy: pin, targets: ['${w}']}}\n" + M,
        lambda c: c.selectors["s"].targets,
        ("m",),
    ),
    bad(
        "§3 a model's macro outside",
        cmd("x", "", "macros: {z: 1}") + "hooks: {on_startup: {preload: ['${z}']}}\n",
        "hooks.on_startup.preload[0]: unknown macro '${z}'",
    ),
    bad("§3 MODEL_ID outside", "logTimeFormat: ${MODEL_ID}\n" + M, "exists inside models only"),
    ok("§3 unknown keys outside are not looked at", "x-a: ${zz}\n" + M),
    ok(
        "§3 anchored text is expanded where it is used",
        "x-a: &a {cmd: 'x ${t} ${PORT}'}\nmodels: {m: {<<: *a, macros: {t: 1}}, n: {<<: *a, macros: {t: 2}}}",
        lambda c: (model(c).cmd, model(c, "n").cmd),
        ("x 1 5800", "x 2 5801"),
    ),
    bad("§3 what is left in a field", cmd("x", "temp: 1", "name: ${tmp}"), "did you mean `temp`?", (5, 11)),
    bad(
        "§3 what is left anywhere in a model",
        cmd("x", "", "timeouts: {connect: '${tt}'}"),
        "models.m.timeouts.connect: unknown macro '${tt}'",
    ),
    bad(
        "§3 what is left in metadata",
        cmd("x", "", "metadata: {a: [1, '${tt}']}"),
        "models.m.metadata.a[1]: unknown",
    ),
)
def test_macros(case: Case) -> None:
    case.check()


@table(
    ok(
        "§3.1 PORT is an int",
        cmd("x", "", "metadata: {p: '${PORT}', t: 'at ${PORT}'}"),
        of_m("metadata"),
        {"p": 5800, "t": "at 5800"},
    ),
    ok("§3.1 default proxy", M, of_m("proxy"), "http://localhost:5800"),
    ok("§3.1 PORT by way of a macro", cmd("${a}", "a: '--p ${PORT}'"), of_m("cmd"), "--p 5800 5800"),
    ok(
        "§3.1 sorted by bytes of the id",
        "models: {b: {cmd: '${PORT}'}, B: {cmd: '${PORT}'}, ä: {cmd: '${PORT}'}, a: {cmd: '${PORT}'}}",
        lambda c: {m.id: m.port for m in c.models.values()},
        {"B": 5800, "a": 5801, "b": 5802, "ä": 5803},
    ),
    ok(
        "§3.1 only those that use it count",
        "models: {a: {cmd: x, proxy: 'http://h'}, b: {cmd: 'x ${PORT}'}}",
        lambda c: [m.port for m in c.models.values()],
        [None, 5800],
    ),
    bad(
        "§3.1 proxy without cmd",
        "models: {m: {cmd: x, proxy: 'http://h:${PORT}'}}",
        "proxy uses ${PORT} but cmd does not - ${PORT} is only available when used in cmd",
    ),
    bad("§3.1 neither proxy nor PORT", "models: {m: {cmd: x}}", "where does the model answer?"),
    bad(
        "§3.1 PORT elsewhere only",
        "models: {m: {cmd: x, proxy: 'http://h', env: ['P=${PORT}']}}",
        "macro '${PORT}' should have been substituted",
    ),
    bad(
        "§3.1 PORT in a comment does not count",
        "models:\n  m:\n    cmd: |\n      x\n      # ${PORT}\n",
        "proxy",
    ),
    ok("§3.1 PID in cmdStop", cmd("x", "", "cmdStop: kill ${PID}"), of_m("cmd_stop"), "kill ${PID}"),
    ok(
        "§3.1 PID by way of a macro",
        cmd("x", "stop: 'kill -INT ${PID}'", "cmdStop: ${stop}"),
        of_m("cmd_stop"),
        "kill -INT ${PID}",
    ),
    bad("§3.1 PID in env", cmd("x", rest="env: ['P=${PID}']"), "models.m.env[0]: unknown macro '${PID}'"),
    bad("§3.1 PID in metadata", cmd("x", rest="metadata: {p: '${PID}'}"), "unknown macro '${PID}'"),
    bad(
        "§3.1 PORT in env without PORT in cmd",
        "models: {m: {cmd: x, proxy: 'http://h', env: ['P=${PORT}']}}",
        "models.m.env[0]: macro '${PORT}' should have been substituted",
    ),
    bad(
        "§3.1 PORT in metadata without PORT in cmd",
        "models: {m: {cmd: x, proxy: 'http://h', metadata: {p: '${PORT}'}}}",
        "models.m.metadata.p: macro '${PORT}' should have been substituted",
    ),
    ok("§3.1 PORT in env with PORT in cmd", cmd("x", rest="env: ['P=${PORT}']"), of_m("env"), ("P=5800",)),
    ok(
        "§3.1 PORT in cmdStop",
        cmd("x", rest="cmdStop: 'stop ${PORT} ${PID}'"),
        of_m("cmd_stop"),
        "stop 5800 ${PID}",
    ),
    ok("§3.1 PORT where a number is wanted", cmd("x", rest="ttl: ${PORT}"), of_m("ttl"), 5800),
    ok(
        "§3.1 PORT in filters",
        cmd("x", rest="filters: {setParams: {p: '${PORT}'}}"),
        of_m("filters.set_params"),
        {"p": 5800},
    ),
    ok(
        "§3.1 MODEL_ID everywhere",
        cmd("${MODEL_ID}", rest="metadata: {a: ['${MODEL_ID}']}\n    aliases: ['${MODEL_ID}-x']"),
        lambda c: (model(c).cmd, model(c).metadata, model(c).aliases),
        ("m 5800", {"a": ["m"]}, ("m-x",)),
    ),
    ok(
        "§3.1 MODEL_ID is text",
        "models: {7: {cmd: 'x ${PORT}', name: '${MODEL_ID}'}}",
        lambda c: model(c, "7").name,
        "7",
    ),
    ok("§3.1 startPort", "startPort: 9000\n" + M, of_m("proxy"), "http://localhost:9000"),
    bad("§3.1 PID elsewhere", cmd("${PID}"), "unknown macro '${PID}'"),
    warned(
        "§3.1 a port beyond the last",
        "startPort: 65536\n" + M,
        "port 65536 does not exist",
        of_m("port"),
        65536,
    ),
    ok("ours: a chosen port", cmd("x", "", "port: 9000"), of_m("proxy"), "http://localhost:9000"),
    bad("ours: a port that cannot be", cmd("x", "", "port: 65536"), "must be <= 65535"),
    ok(
        "ours: model and args",
        "models: {m: {model: /a b.gguf, args: [-c, 4096, '--p=${PORT}']}}",
        lambda c: (model(c).args, model(c).proxy),
        (("-c", "4096", "--p=5800"), "http://127.0.0.1:5800"),
    ),
    ok("ours: args as a text", "models: {m: {model: a, args: \"--x 'b c'\"}}", of_m("args"), ("--x", "b c")),
)
def test_runtime_macros(case: Case) -> None:
    case.check()


def test_expansion_is_bounded() -> None:
    doubling = "".join(f"  a{i}: '${{a{i - 1}}}${{a{i - 1}}}'\n" for i in range(1, 60))
    (found,) = problems(f"macros:\n  a0: xxxxxxxx\n{doubling}" + M.replace("x ", "${a59} "))
    assert "macros expand this to more than" in found.message
    many = "".join(f"  m{i}: {{cmd: '${{a16}} ${{PORT}}'}}\n" for i in range(200))
    found = problems(f"macros:\n  a0: xxxxxxxx\n{doubling}models:\n{many}")[0]
    assert "macros expand" in found.message


def test_ports_stay_when_a_model_is_added() -> None:
    """Weakness 8: there, a new model moves the ports of those after it."""
    before = read("models: {b: {cmd: 'x ${PORT}'}, d: {cmd: 'x ${PORT}'}}")
    text = (
        "models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'x ${PORT}'}, c: {cmd: 'x ${PORT}'}, d: {cmd: 'x ${PORT}'}}"
    )
    after = read(text, previous_ports=before.ports)
    fresh = read(text)

    assert before.ports == {"b": 5800, "d": 5801}
    assert after.ports == {"b": 5800, "d": 5801, "a": 5802, "c": 5803}
    assert fresh.ports == {"a": 5800, "b": 5801, "c": 5802, "d": 5803}


@pytest.mark.parametrize(
    ("previous", "fixed", "expected"),
    [
        ({}, (), [10, 11, 12]),
        ({"b": 10}, (), [11, 10, 12]),
        ({"b": 5}, (), [10, 11, 12]),
        ({"a": 10, "b": 10}, (), [10, 11, 12]),
        ({"gone": 10}, (), [11, 12, 13]),
        ({"c": 40}, (10,), [11, 12, 40]),
    ],
)
def test_assignment(previous: dict[str, int], fixed: tuple[int, ...], expected: list[int]) -> None:
    ids = [ModelId(name) for name in ("c", "a", "b")]
    known = {ModelId(name): port for name, port in previous.items()}

    assert list(assign_ports(ids, 10, known, fixed).values()) == expected
