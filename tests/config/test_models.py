"""What must hold: §4, §5, §6 and §12 of the compatibility notes – top-level keys, models, peers."""

from __future__ import annotations

from typing import Any

import pytest

from hostler.config.schema import ApiKey, Capabilities, LogCause, Logs, Telemetry, Timeouts, Tls

from .cases import Case, M, bad, get, model, of_m, ok, table, warned


def top(line: str) -> str:
    return f"{line}\n{M}"


def m(line: str, cmd: str = "x ${PORT}") -> str:
    return f"models:\n  m:\n    cmd: '{cmd}'\n    {line}\n"


def peer(rest: str = "", name: str = "p", models: str = "[x]") -> str:
    return f"peers: {{{name}: {{proxy: 'http://h', models: {models}, {rest}}}}}\n"


@table(
    ok("§4 healthCheckTimeout", top("healthCheckTimeout: 15"), get("health_check_timeout"), 15),
    warned(
        "§4 healthCheckTimeout too small",
        top("healthCheckTimeout: -3"),
        "raised to 15",
        get("health_check_timeout"),
        15,
    ),
    ok(
        "§4 healthCheckTimeout reaches models",
        top("healthCheckTimeout: 99"),
        of_m("health_check_timeout"),
        99,
    ),
    ok("§4 logLevel", top("logLevel: ' WARN '"), get("log_level"), "warn"),
    warned("§4 logLevel unknown", top("logLevel: trace"), "the default is used", get("log_level"), "info"),
    ok("§4 logTimeFormat", top("logTimeFormat: RFC3339"), get("log_time_format"), "rfc3339"),
    warned("§4 logTimeFormat unknown", top("logTimeFormat: iso"), "is none of", get("log_time_format"), ""),
    *(
        ok(f"§4 logToStdout {v}", top(f"logToStdout: {v}"), get("log_to_stdout"), v)
        for v in ("proxy", "upstream", "both", "none")
    ),
    bad(
        "§4 logToStdout unknown",
        top("logToStdout: all"),
        "must be one of: proxy, upstream, both, none",
        (1, 14),
    ),
    warned("§4 logRequests", top("logRequests: true"), "has no effect"),
    ok("§4 metricsMaxInMemory", top("metricsMaxInMemory: 5"), get("metrics_max_in_memory"), 5),
    ok(
        "§4 metricsMaxInMemory not positive", top("metricsMaxInMemory: 0"), get("metrics_max_in_memory"), 1000
    ),
    ok("§4 captureBuffer default", M, get("capture_buffer"), 5),
    ok("§4 captureBuffer negative", top("captureBuffer: -1"), get("capture_buffer"), 0),
    ok("§4 store absent", top("store:"), get("store_path"), None),
    ok("§4 store", top("store: {path: ' a.db '}"), get("store_path"), "a.db"),
    bad("§4 store empty", top("store: {path: ' '}"), "store.path must not be empty"),
    bad("§4 store without path", top("store: {}"), "store.path must not be empty"),
    ok("§4 session_id default", M, get("session_headers"), ("X-Session-ID", "X-Litellm-Session-Id")),
    ok(
        "§4 session_id",
        top("ui: {activity: {session_id: [' A ', '', a, B]}}"),
        get("session_headers"),
        ("A", "B"),
    ),
    ok("§4 session_id off", top("ui: {activity: {session_id: []}}"), get("session_headers"), ()),
    ok("§4 performance default", M, get("performance.every"), 5.0),
    ok("§4 performance 0s", top("performance: {every: 0s}"), get("performance.every"), 5.0),
    ok(
        "§4 performance", top("performance: {every: 1m30.5s, disabled: true}"), get("performance.every"), 90.5
    ),
    ok("§4 performance often", top("performance: {every: 1s}"), get("performance.every"), 1),
    bad(
        "§4 performance too often", top("performance: {every: 900ms}"), "every must be at least 1s, got 0.9s"
    ),
    bad("§4 performance negative", top("performance: {every: -5s}"), "at least 1s"),
    bad("§4 performance bare number", top("performance: {every: 15}"), "a number needs a unit"),
    bad("§4 performance nonsense", top("performance: {every: soon}"), "expected a duration"),
    ok("§4 startPort 1", top("startPort: 1"), get("start_port"), 1),
    bad("§4 startPort 0", top("startPort: 0"), "startPort must be greater than 1"),
    ok("§4 sendLoadingState reaches models", top("sendLoadingState: true"), of_m("send_loading_state"), True),
    ok("§4 includeAliasesInList", top("includeAliasesInList: true"), get("include_aliases_in_list"), True),
    ok("§4 globalTTL reaches models", top("globalTTL: 9"), of_m("ttl"), 9),
    bad("§4 globalTTL negative", top("globalTTL: -1"), "globalTTL must be >= 0"),
    ok("§4 unloadTimeout default", M, of_m("unload_timeout"), 10),
    ok("§4 unloadTimeout 0", top("unloadTimeout: 0"), get("unload_timeout"), 10),
    bad("§4 unloadTimeout negative", top("unloadTimeout: -1"), "unloadTimeout must be >= 0"),
    ok("§4 apiKeys", top("apiKeys: [a, 5]"), get("api_keys"), (ApiKey("a"), ApiKey("5"))),
    bad("§4 apiKeys empty", top("apiKeys: [a, '']"), "empty api key found in apiKeys", (1, 14)),
    bad("§4 apiKeys null", top("apiKeys: [~]"), "empty api key"),
    bad("§4 apiKeys with a space", top("apiKeys: [a, 'b c']"), "apiKeys[1]: api key cannot contain spaces"),
    ok("§4 apiKeys with a tab", top('apiKeys: ["a\\tb"]'), get("api_keys"), (ApiKey("a\tb"),)),
    ok(
        "ours: named keys",
        top("apiKeys: [{key: k, name: n, models: [m], scopes: [logs]}]"),
        get("api_keys"),
        (ApiKey("k", "n", ("m",), ("logs",)),),
    ),
    bad(
        "ours: a scope that is none",
        top("apiKeys: [{key: k, scopes: [log]}]"),
        "apiKeys[0].scopes[0]: must be one of: inference, logs, admin (did you mean `logs`?)",
    ),
    bad(
        "ours: an empty scope",
        top("apiKeys: [{key: k, scopes: [~]}]"),
        "must be one of: inference, logs, admin",
    ),
    ok(
        "ours: all scopes",
        top("apiKeys: [{key: k, scopes: [admin, logs, inference]}]"),
        lambda c: c.api_keys[0].scopes,
        ("admin", "logs", "inference"),
    ),
    ok(
        "ours: a named key for all kinds of names",
        "models: {m: {cmd: 'x ${PORT}', aliases: [a], filters: {setParamsByID: {auto: {}}}}}\n"
        "peers: {p: {proxy: 'http://h', models: [x, y]}, q: {proxy: 'http://h', models: [y]}}\n"
        "selectors: {s: {strategy: pin, targets: [m]}}\n"
        "apiKeys: [{key: k, models: [m, a, auto, s, x, p/x, y, q/y]}]\n",
        lambda c: len(c.api_keys[0].models),
        8,
    ),
    warned(
        "ours: a named key for nothing is told where",
        top("apiKeys: [{key: kk, models: [m, mm]}]"),
        'apiKeys[0].models[1]: references unknown model "mm"',
    ),
    bad("ours: a named key without key", top("apiKeys: [{name: n}]"), "empty api key"),
    warned("ours: a named key for nothing", top("apiKeys: [{key: k, models: [mm]}]"), 'unknown model "mm"'),
    ok(
        "§4 ignorePaths empty is the default",
        top("upstream: {ignorePaths: []}"),
        get("ignore_paths"),
        (r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",),
    ),
    ok(
        "§4 ignorePaths",
        top(r"upstream: {ignorePaths: ['^/a\z', '\pL?', '[[:alpha:]]+']}").replace(r"'\pL?', ", ""),
        get("ignore_paths"),
        (r"^/a\z", "[[:alpha:]]+"),
    ),
    bad(
        "§4 ignorePaths broken",
        top("upstream: {ignorePaths: ['a', '(']}"),
        "upstream.ignorePaths[1]: invalid regular",
    ),
    bad(
        "§4 ignorePaths with look-ahead",
        top("upstream: {ignorePaths: ['a(?=b)']}"),
        "invalid regular expression",
    ),
    ok("ours: maxBodyMB", top("maxBodyMB: 5"), get("max_body_mb"), 5),
    bad("ours: maxBodyMB 0", top("maxBodyMB: 0"), "must be >= 1"),
    ok(
        "ours: logs",
        top("logs: {bufferBytes: 2048, keepRuns: 1, files: off, maxBytes: 0}"),
        lambda c: (c.logs.buffer_bytes, c.logs.keep_runs, c.logs.files, c.logs.max_bytes),
        (2048, 1, False, 0),
    ),
    ok(
        "ours: logs, the rest",
        top(
            "logs: {dir: /var/log/h, segmentBytes: 65536, maxRate: 5, causes: [{name: a, pattern: 'x(',"
            " message: b}]}"
        ).replace("x(", "x(y|z)$"),
        lambda c: (c.logs.dir, c.logs.segment_bytes, c.logs.max_rate, c.logs.causes),
        ("/var/log/h", 65536, 5, (LogCause("a", "x(y|z)$", "b"),)),
    ),
    ok(
        "ours: logs, defaults",
        M,
        get("logs"),
        Logs(102_400, 3, True, "", 268_435_456, 4 * 1024 * 1024, 0, ()),
    ),
    bad("ours: logs.segmentBytes too small", top("logs: {segmentBytes: 65535}"), "must be >= 65536"),
    bad("ours: logs.maxRate negative", top("logs: {maxRate: -1}"), "logs.maxRate: must be >= 0"),
    ok(
        "ours: logs.causes with all",
        top("logs: {causes: [{name: a, pattern: b, message: c, advice: d, engines: [e, f]}]}"),
        lambda c: c.logs.causes,
        (LogCause("a", "b", "c", "d", ("e", "f")),),
    ),
    bad(
        "ours: logs.causes, broken pattern",
        "logs:\n  causes:\n    - name: a\n      message: b\n      pattern: 'x('\n",
        "logs.causes[0].pattern: invalid regular expression",
        (5, 16),
    ),
    bad(
        "ours: logs.causes, nested too deep",
        top(f"logs: {{causes: [{{name: a, message: b, pattern: '{'(' * 9000}'}}]}}"),
        "invalid regular",
    ),
    bad(
        "ours: logs.causes without name",
        top("logs: {causes: [{pattern: a, message: b}]}"),
        "name is required",
    ),
    bad(
        "ours: logs.causes without pattern",
        top("logs: {causes: [{name: a, message: b}]}"),
        "pattern is required",
    ),
    bad(
        "ours: logs.causes without message",
        top("logs: {causes: [{name: a, pattern: b}]}"),
        "message is required",
    ),
    bad("ours: logs.causes of a word", top("logs: {causes: [x]}"), "expected a mapping of keys to values"),
    warned(
        "ours: logs.causes, misspelt key",
        top("logs: {causes: [{name: a, pattern: b, message: c, advise: d}]}"),
        "did you mean `advice`?",
    ),
    ok(
        "ours: store",
        top("store: {path: a.db, retentionDays: 30, maxRows: 500}"),
        lambda c: (c.store_path, c.store_retention_days, c.store_max_rows),
        ("a.db", 30, 500),
    ),
    ok(
        "ours: store, defaults",
        top("store: {path: a.db}"),
        lambda c: (c.store_retention_days, c.store_max_rows),
        (0, 0),
    ),
    bad("ours: store.retentionDays negative", top("store: {path: a.db, retentionDays: -1}"), "must be >= 0"),
    bad("ours: store.maxRows negative", top("store: {path: a.db, maxRows: -1}"), "must be >= 0"),
    ok("ours: telemetry, defaults", M, get("telemetry"), Telemetry("", {}, "hostler")),
    ok(
        "ours: telemetry",
        top(
            "telemetry: {endpoint: 'http://h:4318/v1', headers: {x-k: 5, Authorization: Bearer x},"
            " serviceName: s}"
        ),
        get("telemetry"),
        Telemetry("http://h:4318/v1", {"x-k": "5", "Authorization": "Bearer x"}, "s"),
    ),
    bad(
        "ours: telemetry.endpoint",
        top("telemetry: {endpoint: 'h:4318'}"),
        "invalid URL: it does not begin with http",
    ),
    bad(
        "ours: telemetry.endpoint, port",
        top("telemetry: {endpoint: 'http://h:x'}"),
        "its port is not a number",
    ),
    bad("ours: telemetry.headers, name", top("telemetry: {headers: {'a b': c}}"), "not the name of a header"),
    bad(
        "ours: telemetry.headers, value",
        top('telemetry: {headers: {a: "b\\r\\nc: d"}}'),
        "a control character",
    ),
    bad("ours: telemetry.serviceName empty", top("telemetry: {serviceName: ''}"), "must not be empty"),
    ok("§4 no models at all", "logLevel: info", get("models"), {}),
)
def test_top_level(case: Case) -> None:
    case.check()


@table(
    ok("§5 ids", "models: {'a/b:c d.e': {cmd: 'x ${PORT}'}}", lambda c: list(c.models), ["a/b:c d.e"]),
    ok(
        "§5 defaults",
        M,
        lambda c: (model(c).check_endpoint, model(c).ttl, model(c).timeouts, model(c).capabilities),
        ("/health", 0, Timeouts(), Capabilities()),
    ),
    bad("issue: empty cmd", "models: {m: {cmd: ''}}", "models.m.cmd: empty command", (1, 19)),
    bad("issue: cmd of comments", "models:\n  m:\n    cmd: |\n      # x\n", "empty command"),
    bad("issue: no cmd", "models:\n  m: {ttl: 5}\n", "models.m: there is neither cmd nor model", (2, 6)),
    warned("issue: empty alias", m("aliases: [a, '']"), "models.m.aliases[1]: an empty alias"),
    bad("§5 model that is null", "models: {m: }", "neither cmd nor model"),
    bad("§5 model that is a word", "models: {m: x}", "models.m: expected a mapping"),
    ok(
        "§3.2 comment lines in cmd",
        "models:\n  m:\n    cmd: |\n      # a ${zz}\n      x ${PORT}\n",
        of_m("cmd"),
        "x 5800\n",
    ),
    ok("§3.2 comment lines in cmdStop", m('cmdStop: "# a\\nstop"'), of_m("cmd_stop"), "stop"),
    ok("§5 cmdStop on Windows", M, of_m("cmd_stop"), "taskkill /f /t /pid ${PID}", platform="windows"),
    ok("§5 cmdStop elsewhere", M, of_m("cmd_stop"), ""),
    ok("§5 proxy with a path", m("proxy: http://h:1/v1"), of_m("proxy"), "http://h:1/v1"),
    ok("§5 proxy null", m("proxy: ~"), of_m("proxy"), "http://localhost:5800"),
    bad("§5 proxy without scheme", m("proxy: 127.0.0.1:80"), "invalid proxy URL"),
    bad("§5 proxy with a bad port", m("proxy: http://h:http"), "invalid proxy URL: its port is not a number"),
    bad("§5 proxy with a bad escape", m("proxy: http://h/%zz"), "invalid proxy URL"),
    bad("§5 proxy with a space", m("proxy: 'http://a b'"), "invalid proxy URL"),
    warned("§5 proxy of another scheme", m("proxy: 'localhost:80'"), "should begin with http"),
    ok("§5 aliases", m("aliases: [a, 4]"), get("aliases"), {"a": "m", "4": "m"}),
    bad("§5 alias twice", m("aliases: [a, a]"), "duplicate alias a found in model: m", (4, 18)),
    bad(
        "§5 alias in two models",
        m("aliases: [a]") + "  n: {cmd: 'x ${PORT}', aliases: [a]}\n",
        "duplicate alias a found in model: n (model m has it already)",
        (5, 35),
    ),
    warned(
        "§5 alias that is a model",
        m("aliases: [n]") + "  n: {cmd: 'x ${PORT}'}\n",
        "is the id of a model, which wins",
        lambda c: c.resolve("n"),
        "n",
    ),
    ok("§5 env", m("env: ['A=b c', B=]"), of_m("env"), ("A=b c", "B=")),
    warned("§5 env without =", m("env: [A]"), "not of the form NAME=value", of_m("env"), ("A",)),
    ok("§5 checkEndpoint none", m("checkEndpoint: none"), of_m("check_endpoint"), "none"),
    ok("§5 checkEndpoint empty", m("checkEndpoint: ''"), of_m("check_endpoint"), ""),
    ok("§5 ttl 0 over globalTTL", "globalTTL: 9\n" + m("ttl: 0"), of_m("ttl"), 0),
    ok("§5 ttl -1 is globalTTL", "globalTTL: 9\n" + m("ttl: -1"), of_m("ttl"), 9),
    bad("§5 ttl too small", m("ttl: -2"), "invalid TTL value", (4, 10)),
    ok(
        "§5 unloadTimeout 0 is the global one",
        "unloadTimeout: 7\n" + m("unloadTimeout: 0"),
        of_m("unload_timeout"),
        7,
    ),
    ok("§5 unloadTimeout", m("unloadTimeout: 3"), of_m("unload_timeout"), 3),
    bad("§5 unloadTimeout negative", m("unloadTimeout: -1"), "invalid unloadTimeout value"),
    ok("§5 concurrencyLimit negative", m("concurrencyLimit: -5"), of_m("concurrency_limit"), 0),
    ok(
        "§5 stripParams",
        m("filters: {stripParams: 'b, a,,model, b '}"),
        of_m("filters.strip_params"),
        ("a", "b"),
    ),
    ok(
        "ours: stripParams as a list",
        m("filters: {stripParams: [b, ' a ', model, '', 'x,y', 'p\\.q']}").replace(
            "    filters", "    filters"
        ),
        of_m("filters.strip_params"),
        ("a", "b", "p\\.q", "x,y"),
    ),
    ok(
        "ours: an empty list of stripParams yields to strip_params",
        m("filters: {stripParams: [], strip_params: a}"),
        of_m("filters.strip_params"),
        ("a",),
    ),
    bad("ours: stripParams as a mapping", m("filters: {stripParams: {a: b}}"), "expected text or a list"),
    ok(
        "ours: keys with dots stay as they are",
        m("filters: {setParams: {a.b: 1, 'c\\.d': 2}}"),
        of_m("filters.set_params"),
        {"a.b": 1, "c\\.d": 2},
    ),
    bad(
        "ours: queueLimit 0",
        m("queueLimit: 0"),
        "models.m.queueLimit: must be >= 1: requests wait in the queue while the model is loaded",
        (4, 17),
    ),
    ok("ours: logs.maxRate of a model", m("logs: {maxRate: 0}"), of_m("logs.max_rate"), 0),
    ok(
        "ours: logs of a model, defaults",
        M,
        lambda c: (model(c).logs.max_rate, model(c).logs.buffer_bytes),
        (None, None),
    ),
    ok("§5 strip_params", m("filters: {strip_params: a}"), of_m("filters.strip_params"), ("a",)),
    ok(
        "§5 stripParams over strip_params",
        m("filters: {strip_params: a, stripParams: b}"),
        of_m("filters.strip_params"),
        ("b",),
    ),
    ok(
        "§5 setParams without model",
        m("filters: {setParams: {model: x, a: [1, {b: ~}]}}"),
        of_m("filters.set_params"),
        {"a": [1, {"b": None}]},
    ),
    ok(
        "§5 setParamsByID makes aliases",
        m("aliases: [k]\n    filters: {setParamsByID: {m: {a: 1}, k: {}, l: {model: x}}}"),
        lambda c: (dict(c.aliases), model(c).aliases, model(c).filters.set_params_by_id),
        ({"k": "m", "l": "m"}, ("k", "l"), {"m": {"a": 1}, "k": {}, "l": {}}),
    ),
    bad(
        "§5 setParamsByID of another model",
        m("filters: {setParamsByID: {n: {}}}") + "  n: {cmd: 'x ${PORT}'}\n",
        "key 'n' conflicts with an existing model ID",
    ),
    bad(
        "§5 setParamsByID of another's alias",
        m("filters: {setParamsByID: {n: {}}}") + "  o: {cmd: 'x ${PORT}', aliases: [n]}\n",
        "duplicate alias 'n', already used by model o",
    ),
    bad(
        "§5 setParamsByID of two models",
        m("filters: {setParamsByID: {z: {}}}")
        + "  o: {cmd: 'x ${PORT}', filters: {setParamsByID: {z: {}}}}\n",
        "already used by model m",
    ),
    ok("§5 filters null", m("filters:"), of_m("filters.strip_params"), ()),
    ok(
        "§5 sendLoadingState false over global",
        "sendLoadingState: true\n" + m("sendLoadingState: false"),
        of_m("send_loading_state"),
        False,
    ),
    ok("§5 timeouts in part", m("timeouts: {connect: 5}"), of_m("timeouts"), Timeouts(connect=5)),
    ok(
        "§5 timeouts all",
        m(
            "timeouts: {connect: 1, keepalive: 2, responseHeader: 3, tlsHandshake: 4,"
            " expectContinue: 5, idleConn: 6}"
        ),
        of_m("timeouts"),
        Timeouts(1, 2, 3, 4, 5, 6),
    ),
    warned(
        "§5 timeouts negative", m("timeouts: {connect: -5}"), "which means none", of_m("timeouts.connect"), 0
    ),
    ok("§5 compat", m("compat: {ignoreWebsockets: on}"), of_m("compat.ignore_websockets"), True),
    ok(
        "§5 capabilities",
        m("capabilities: {in: [text, audio], out: [image], tools: true, reranker: true, context: 5}"),
        of_m("capabilities"),
        Capabilities(("text", "audio"), ("image",), True, True, 5),
    ),
    bad(
        "§5 capabilities in",
        m("capabilities: {in: [text, video]}"),
        'models.m.capabilities.in[1]: invalid modality "video"',
        (4, 31),
    ),
    bad("§5 capabilities context", m("capabilities: {context: -1}"), "capabilities.context: must be >= 0"),
    ok(
        "§5 comfyui_auto",
        "models: {comfyui_auto: {cmd: 'x ${PORT}', concurrencyLimit: 5}}",
        lambda c: (
            model(c, "comfyui_auto").concurrency_limit,
            model(c, "comfyui_auto").compat.ignore_websockets,
        ),
        (50, True),
    ),
    ok(
        "§5 comfyui_auto above",
        "models: {comfyui_auto: {cmd: 'x ${PORT}', concurrencyLimit: 80}}",
        lambda c: model(c, "comfyui_auto").concurrency_limit,
        80,
    ),
    ok(
        "ours: keys of models",
        m(
            "cwd: /w\n    queueLimit: 3\n    startupGrace: 4\n    healthCheckTimeout: 20\n"
            "    logs: {bufferBytes: 4096}"
        ),
        lambda c: (
            model(c).cwd,
            model(c).queue_limit,
            model(c).startup_grace,
            model(c).health_check_timeout,
            model(c).logs.buffer_bytes,
        ),
        ("/w", 3, 4, 20, 4096),
    ),
    warned(
        "ours: cmd wins over model",
        m("model: a.gguf"),
        "not used, because the model has a cmd",
        of_m("model"),
        "",
    ),
    ok(
        "§12 the code's limits count, not the schema's",
        "macros: {a: 1}\n" + m(f"name: {'n' * 200}\n    checkEndpoint: health"),
    ),
)
def test_models(case: Case) -> None:
    case.check()


@table(
    ok(
        "§6 defaults",
        peer(),
        lambda c: (c.peers["p"].timeouts, c.peers["p"].api_key),
        (Timeouts(response_header=60), ""),
    ),
    bad("§6 no proxy", "peers: {p: {models: [a]}}", "proxy is required"),
    bad("§6 bad proxy", "peers: {p: {proxy: '10.0.0.1:80', models: [a]}}", "invalid peer proxy URL"),
    bad("§6 no models", "peers: {p: {proxy: 'http://h', models: []}}", "peer models can not be empty"),
    bad("§6 null", "peers: {p: }", "proxy is required"),
    ok("§6 a model twice", peer(models="[x, x]"), lambda c: c.peers["p"].models, ("x", "x")),
    ok(
        "§6 filters make no aliases",
        peer("filters: {setParamsByID: {a: {b: 1}}, stripParams: c}"),
        get("aliases"),
        {},
    ),
    bad(
        "§6 two meanings",
        "peers: {a: {proxy: 'http://h', models: [b/c]}, a/b: {proxy: 'http://h', models: [c]}}",
        "is ambiguous between peers",
    ),
    bad(
        "§6 name of a model",
        "models: {p/x: {cmd: 'x ${PORT}'}}\n" + peer(),
        "model ID p/x conflicts with fully qualified",
    ),
    bad("§6 name of an alias", m("aliases: [p/x]") + peer(), "alias p/x conflicts"),
    bad(
        "§6 name of an automatic alias",
        m("filters: {setParamsByID: {p/x: {}}}") + peer(),
        "alias p/x conflicts",
    ),
    bad(
        "§6 name of a selector",
        M + peer() + "selectors: {p/x: {strategy: pin, targets: [m]}}",
        "selector p/x conflicts",
    ),
    bad("§6 name of a pin", M + peer() + "profiles: {q: {pins: {p/x: m}}}", "profile pin p/x conflicts"),
    ok(
        "§6 filters, timeouts",
        peer(
            "apiKey: k, filters: {setParams: {a: 1}, stripParams: 'c, b'},"
            " timeouts: {connect: 1, responseHeader: 0}"
        ),
        lambda c: (
            c.peers["p"].api_key,
            dict(c.peers["p"].filters.set_params),
            c.peers["p"].filters.strip_params,
            c.peers["p"].timeouts,
        ),
        ("k", {"a": 1}, ("b", "c"), Timeouts(connect=1)),
    ),
    ok("ours: tls, defaults", peer(), lambda c: c.peers["p"].tls, Tls(True, "")),
    ok(
        "ours: tls",
        peer("tls: {ca: /etc/ca.pem}").replace("http:", "https:"),
        lambda c: c.peers["p"].tls,
        Tls(True, "/etc/ca.pem"),
    ),
    ok(
        "ours: tls off",
        peer("tls: {verify: no}").replace("http:", "https:"),
        lambda c: c.peers["p"].tls,
        Tls(False, ""),
    ),
    warned(
        "ours: tls off with ca",
        peer("tls: {verify: no, ca: x}").replace("http:", "https:"),
        "verify is false",
    ),
    warned("ours: tls of http", peer("tls: {ca: x}"), "not used, because proxy is not an https URL"),
    ok("§6 a bare name may be a model's", "models: {x: {cmd: 'x ${PORT}'}}\n" + peer()),
    ok("§6 a bare name may be a selector's", M + peer() + "selectors: {x: {strategy: pin, targets: [m]}}"),
)
def test_peers(case: Case) -> None:
    case.check()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("models: {m: {}}", ["models.m"]),
        ("models: {m: {ttl: 5, env: ['A=${PORT}']}}", ["models.m"]),
        ("models: {m: {cmd: '', proxy: 'http://h:${PORT}'}}", ["models.m.cmd"]),
        ("models: {m: {cmd: '# ${PORT}', metadata: {p: '${PORT}'}}}", ["models.m.cmd"]),
        ("models: {m: {cmd: [x]}}", ["models.m.cmd"]),
        ("models: {m: {model: [x]}}", ["models.m.model"]),
        ("models: {m: {cmd: x}}", ["models.m.proxy"]),
        ("peers: {p: {proxy: [x], models: y}}", ["peers.p.proxy", "peers.p.models"]),
        (M + "selectors: {s: {strategy: [x], targets: m}}", ["selectors.s.strategy", "selectors.s.targets"]),
        (M + "profiles: {p: {pins: [m]}}", ["profiles.p.pins"]),
        (M + "matrix: {sets: [m]}", ["matrix.sets"]),
        ("store: {path: [x]}", ["store.path"]),
        ("apiKeys: [{key: [x]}]", ["apiKeys[0].key"]),
        ("logs: {causes: [{name: [x], pattern: p, message: m}]}", ["logs.causes[0].name"]),
    ],
)
def test_one_mistake_is_told_once(text: str, paths: list[str]) -> None:
    """What follows from a mistake is not another one."""
    assert [p.path for p in Case("", text).problems()] == paths


def test_all_is_told_at_once() -> None:
    """§11: there, the first mistake wins; here, one sees all of them, in the order of the file."""
    text = "globalTTL: -1\nstartPort: 0\nlogToStdout: x\n" + m("ttl: -5\n    env: 5")
    found: list[Any] = [(p.line, p.path) for p in Case("", text).problems()]

    assert found == [
        (1, "globalTTL"),
        (2, "startPort"),
        (3, "logToStdout"),
        (7, "models.m.ttl"),
        (8, "models.m.env"),
    ]
