"""What must hold: §7 to §10 of the compatibility notes – groups, matrix, profiles, selectors, preload."""

from __future__ import annotations

from .cases import Case, bad, get, in_one_set, ok, pairs_only, problems, table, warned

ABC = "models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'x ${PORT}', aliases: [bb]}, c: {cmd: 'x ${PORT}'}}\n"
PEER = "peers: {p: {proxy: 'http://h', models: [x, y]}, q: {proxy: 'http://h', models: [y]}}\n"


def new(router: str, scheduler: str = "") -> str:
    return f"{ABC}routing: {{router: {{{router}}}, scheduler: {{{scheduler}}}}}\n"


@table(
    ok(
        "§7.3 without groups",
        ABC,
        lambda c: {g.id: g.members for g in c.routing.groups.values()},
        {"(default)": ("a", "b", "c")},
    ),
    ok(
        "§7.2 older groups",
        ABC + "groups: {g: {members: [b]}}",
        lambda c: {g.id: g.members for g in c.routing.groups.values()},
        {"g": ("b",), "(default)": ("a", "c")},
    ),
    ok(
        "§7.3 defaults",
        ABC + "groups: {g: {members: [b]}}",
        lambda c: (
            c.routing.groups["g"].swap,
            c.routing.groups["g"].exclusive,
            c.routing.groups["g"].persistent,
        ),
        (True, True, False),
    ),
    ok(
        "§7.3 given",
        ABC + "groups: {g: {members: [b], swap: no, exclusive: false, persistent: yes}}",
        lambda c: (
            c.routing.groups["g"].swap,
            c.routing.groups["g"].exclusive,
            c.routing.groups["g"].persistent,
        ),
        (False, False, True),
    ),
    ok("§7.3 empty group", ABC + "groups: {g: {}}", lambda c: c.routing.groups["g"].members, ()),
    bad(
        "§7.3 member twice",
        ABC + "groups:\n  g: {members: [a, a]}\n",
        "duplicate model member a found in group: g",
        (3, 20),
    ),
    bad(
        "§7.3 member in two groups",
        ABC + "groups: {g: {members: [a]}, h: {members: [a]}}",
        "model member a is used in multiple groups: g and h",
    ),
    bad(
        "§7.3 unknown member",
        ABC + "groups:\n  g:\n    members:\n      - a\n      - aa\n",
        'groups.g.members[1]: references unknown model "aa"',
        (6, 9),
    ),
    ok(
        "§7.3 member by alias",
        ABC + "groups: {g: {members: [bb]}}",
        lambda c: c.routing.groups["g"].members,
        ("b",),
    ),
    warned("§7.3 member by id and alias", ABC + "groups: {g: {members: [b, bb]}}", "is a member already"),
    bad(
        "§7.3 alias in another group",
        ABC + "groups: {g: {members: [b]}, h: {members: [bb]}}",
        "multiple groups",
    ),
    warned(
        "§7.3 (default) is what it is",
        ABC + "groups: {(default): {members: [a], swap: false}, g: {members: [b]}}",
        "always has all models",
        lambda c: c.routing.groups["(default)"].members,
        ("a", "c"),
    ),
    ok(
        "§7.1 newer groups",
        new("settings: {groups: {g: {members: [b]}}}"),
        lambda c: list(c.routing.groups),
        ["g", "(default)"],
    ),
    ok(
        "§7.1 use group",
        new("use: group, settings: {groups: {g: {members: [b]}}}"),
        get("routing.use"),
        "group",
    ),
    bad("§7.1 unknown router", new("use: rings"), "must be one of: group, matrix"),
    bad("§7.1 matrix without matrix", new("use: matrix"), "routing.router.settings.matrix is not set"),
    ok(
        "§7.1 both, groups chosen",
        new("settings: {groups: {g: {members: [a]}}, matrix: {vars: {'?': nobody}}}"),
        get("routing.matrix"),
        None,
    ),
    ok(
        "§7.1 both, matrix chosen",
        new("use: matrix, settings: {groups: {g: {members: [nobody]}}, matrix: {sets: {s: a}}}"),
        lambda c: (c.routing.use, dict(c.routing.groups)),
        ("matrix", {}),
    ),
    bad(
        "§7.2 both older",
        ABC + "groups: {g: {}}\nmatrix: {sets: {s: a}}",
        "cannot use both 'groups' and 'matrix'",
    ),
    ok(
        "§7.2 empty groups do not count",
        ABC + "groups: {}\nmatrix: {sets: {s: a}}",
        get("routing.use"),
        "matrix",
    ),
    bad(
        "§7.2 older and newer",
        ABC + "groups: {g: {}}\nrouting: {router: {use: group}}",
        "move 'groups' into routing.router.settings",
    ),
    bad(
        "§7.2 older matrix and newer groups",
        ABC + "matrix: {sets: {s: a}}\nrouting: {router: {settings: {groups: {g: {}}}}}",
        "cannot be used together",
    ),
    ok("§7.2 older with a scheduler", ABC + "groups: {g: {members: [a]}}\nrouting: {scheduler: {use: fifo}}"),
    bad("§7.1 unknown scheduler", new("", "use: lifo"), "routing.scheduler.use: must be one of: fifo"),
    ok(
        "§7.1 priority",
        new("", "settings: {fifo: {priority: {a: -2, bb: 7}}}"),
        lambda c: dict(c.routing.fifo.priority),
        {"a": -2, "b": 7},
    ),
    ok(
        "§7.1 priority null",
        new("", "settings: {fifo: {priority: {a: }}}"),
        lambda c: dict(c.routing.fifo.priority),
        {"a": 0},
    ),
    ok("§7.1 use empty", new("use: ''", "use: ''"), get("routing.use"), "group"),
    ok(
        "§7.2 older with an empty router",
        ABC + "groups: {g: {members: [a]}}\nrouting: {router: {settings: {}}}",
    ),
    ok(
        "§7.2 older matrix with a scheduler",
        ABC + "matrix: {sets: {s: a}}\nrouting: {scheduler: {use: fifo}}",
    ),
    bad(
        "§7.2 older matrix and newer use",
        ABC + "matrix: {sets: {s: a}}\nrouting: {router: {use: matrix}}",
        "cannot be used together",
    ),
    bad(
        "§7.1 priority of nothing",
        new("", "settings: {fifo: {priority: {zz: 1}}}"),
        'references unknown model "zz"',
    ),
    warned(
        "weakness 5: priority by two names",
        new("", "settings: {fifo: {priority: {b: 1, bb: 2}}}"),
        "two priorities",
        lambda c: dict(c.routing.fifo.priority),
        {"b": 1},
    ),
    ok("ours: maxWait", new("", "settings: {fifo: {maxWait: 1m}}"), get("routing.fifo.max_wait"), 60.0),
    ok(
        "ours: maxWait as a number",
        new("", "settings: {fifo: {maxWait: 2.5}}"),
        get("routing.fifo.max_wait"),
        2.5,
    ),
    bad("ours: maxWait negative", new("", "settings: {fifo: {maxWait: -1}}"), "must be >= 0"),
)
def test_groups(case: Case) -> None:
    case.check()


def matrix(inside: str) -> str:
    return f"{ABC}matrix: {{{inside}}}\n"


@table(
    ok(
        "§7.4",
        matrix("vars: {v: a}, evict_costs: {v: 5, b: 2}, sets: {one: v & b, two: c}"),
        lambda c: (
            (c.routing.matrix.vars, c.routing.matrix.evict_costs, list(c.routing.matrix.sets))
            if c.routing.matrix
            else 0
        ),
        ({"v": "a"}, {"v": 5, "b": 2}, ["one", "two"]),
    ),
    ok("§7.4 without vars", matrix("sets: {one: a & b}"), get("routing.use"), "matrix"),
    bad("§7.4 odd var", matrix("vars: {a_b: a}, sets: {s: a}"), "matrix: var key 'a_b' is not valid"),
    bad("§7.4 long var", matrix(f"vars: {{{'v' * 33}: a}}, sets: {{s: a}}"), "is not valid"),
    bad(
        "§7.4 var of nothing",
        matrix("vars: {v: zz}, sets: {s: a}"),
        'var key v references unknown model "zz"',
    ),
    bad("§7.4 var of an alias", matrix("vars: {v: bb}, sets: {s: a}"), "it is an alias; write b"),
    bad("§7.4 cost of nothing", matrix("evict_costs: {zz: 5}, sets: {s: a}"), "unknown var or model"),
    bad("§7.4 cost null", matrix("evict_costs: {a: }, sets: {s: a}"), "must be a positive integer"),
    bad("§7.4 cost that is text", matrix("evict_costs: {a: x}, sets: {s: a}"), "expected a whole number"),
    bad("§7.4 cost 0", matrix("evict_costs: {a: 0}, sets: {s: a}"), "must be a positive integer"),
    bad("§7.4 no sets", matrix("vars: {v: a}"), "matrix must define at least one set"),
    bad("§7.4 sets that are no text", matrix("sets: {s: [a]}"), "expected text, found a list"),
    bad(
        "§7.4 what the language says",
        ABC + "matrix:\n  sets:\n    s: a & b\n    t: a & zz\n",
        "matrix.sets.t: matrix: set 't': unknown var or model",
        (5, 5),
    ),
)
def test_matrix(case: Case) -> None:
    case.check(check_matrix=pairs_only)


def test_matrix_and_other_mistakes_are_told_together() -> None:
    said = problems(matrix("sets: {s: a & zz}") + "startPort: 0\n", check_matrix=pairs_only)

    assert {p.path for p in said} == {"startPort", "matrix.sets.s"}


@table(
    ok(
        "§8",
        ABC + PEER + "profiles: {p1: {description: d, pins: {n: bb, o: p/x, q: x, r: '', s: }}}",
        lambda c: dict(c.profiles["p1"].pins),
        {"n": "bb", "o": "p/x", "q": "x", "r": None, "s": None},
    ),
    ok(
        "§8 to a selector",
        ABC + "selectors: {s: {strategy: pin, targets: [a]}}\nprofiles: {p1: {pins: {n: s}}}",
    ),
    ok(
        "§8 to an automatic alias",
        "models: {a: {cmd: 'x ${PORT}', filters: {setParamsByID: {z: {}}}}}\nprofiles: {p1: {pins: {n: z}}}",
    ),
    bad("§8 blank name", ABC + "profiles: {' ': {pins: {n: a}}}", "a profile needs a name"),
    bad("§8 no pins", ABC + "profiles: {p1: {pins: {}}}", "must contain at least one entry"),
    bad("§8 null", ABC + "profiles: {p1: }", "must contain at least one entry"),
    bad("§8 blank pin", ABC + "profiles: {p1: {pins: {' ': a}}}", "a pin needs a name"),
    bad(
        "§8 pin to nothing",
        ABC + "profiles: {p1: {pins: {n: zz}}}",
        'profiles.p1.pins.n: references unknown model "zz"',
    ),
    bad(
        "§8 pin to a name of two peers",
        ABC + PEER + "profiles: {p1: {pins: {n: y}}}",
        "several peers have it; write peer/y",
    ),
    bad("§8 pin to a pin", ABC + "profiles: {p1: {pins: {n: a, o: n}}}", 'references unknown model "n"'),
    bad("§7.2 list form", ABC + "profiles: [a]", "legacy list syntax is no longer supported"),
    bad("§7.2 list form of one", ABC + "profiles: {p1: [a, b]}", "legacy list syntax is no longer supported"),
)
def test_profiles(case: Case) -> None:
    case.check()


def selector(inside: str, rest: str = "") -> str:
    return f"{ABC}{PEER}selectors: {{s: {{{inside}}}}}\n{rest}"


SIDE_BY_SIDE = "groups: {g: {swap: false, members: [a, b]}}\n"
SETS = "matrix: {sets: {s: a & b}}\n"


@table(
    ok(
        "§9 warm",
        selector("strategy: warm, targets: [a, bb], name: n, unlisted: true, metadata: {k: 1}"),
        lambda c: (c.selectors["s"].targets, c.selectors["s"].spillover, c.selectors["s"].unlisted),
        (("a", "bb"), 1, True),
    ),
    ok("§9 pin to a peer", selector("strategy: pin, targets: [p/x]")),
    bad("§9 no strategy", selector("targets: [a]"), "strategy is required"),
    bad(
        "§9 unknown strategy",
        selector("strategy: wram, targets: [a]"),
        'unknown strategy "wram" (did you mean `warm`?)',
    ),
    bad("§9 no targets", selector("strategy: pin, targets: []"), "targets must not be empty"),
    bad("§9 blank id", ABC + "selectors: {' ': {strategy: pin, targets: [a]}}", "a selector needs a name"),
    bad(
        "§9 id of a model", ABC + "selectors: {a: {strategy: pin, targets: [b]}}", "conflicts with a model ID"
    ),
    bad(
        "§9 id of an alias",
        ABC + "selectors: {bb: {strategy: pin, targets: [b]}}",
        "conflicts with an alias of b",
    ),
    bad(
        "§9 target is a selector",
        ABC + "selectors: {s: {strategy: pin, targets: [t]}, t: {strategy: pin, targets: [a]}}",
        "a target may not be a selector",
    ),
    bad(
        "§9 target is nothing",
        selector("strategy: pin, targets: [a, zz]"),
        'selectors.s.targets[1]: references unknown model "zz"',
    ),
    bad("§9 warm at a peer", selector("strategy: warm, targets: [a, p/x]"), "must be models of this file"),
    ok(
        "§9 spillover 0 counts for spillover only",
        selector("strategy: pin, targets: [a], settings: {spillover: 0}"),
    ),
    bad(
        "§9 spillover 0",
        selector("strategy: spillover, targets: [a], settings: {spillover: 0}"),
        "must be >= 1",
    ),
    ok(
        "§9 spillover in a group",
        selector("strategy: spillover, targets: [a, b, p/x], settings: {spillover: 2}", SIDE_BY_SIDE),
        lambda c: c.selectors["s"].spillover,
        2,
    ),
    bad(
        "§9 spillover in no group",
        selector("strategy: spillover, targets: [a, b]"),
        "cannot run at the same time",
    ),
    bad(
        "§9 spillover in two groups",
        selector("strategy: spillover, targets: [a, c]", SIDE_BY_SIDE),
        "one group with swap: false",
    ),
    ok("§9 spillover to one here and peers", selector("strategy: spillover, targets: [a, p/x]")),
    bad(
        "§9 spillover to one twice",
        selector("strategy: spillover, targets: [b, bb]", SIDE_BY_SIDE),
        "bb is the same model as b",
    ),
    bad(
        "§9 spillover to a peer's twice",
        selector("strategy: spillover, targets: [x, p/x]"),
        "is the same model as x",
    ),
    ok("§9 spillover in a set", selector("strategy: spillover, targets: [a, b]", SETS)),
    bad(
        "§9 spillover in no set",
        selector("strategy: spillover, targets: [a, c]", SETS),
        "add a set with all of them",
    ),
)
def test_selectors(case: Case) -> None:
    case.check(check_matrix=pairs_only, together=in_one_set)


@table(
    ok("§10", ABC + "hooks: {on_startup: {preload: [' a ', '', bb, a]}}", get("preload"), ("a", "b", "a")),
    warned(
        "§10 unknown",
        ABC + "hooks: {on_startup: {preload: [zz, a]}}",
        'references unknown model "zz", ignored',
        get("preload"),
        ("a",),
    ),
    ok("§10 null", ABC + "hooks:", get("preload"), ()),
)
def test_preload(case: Case) -> None:
    case.check()
