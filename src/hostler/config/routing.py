"""Who may run with whom: the older keys and the newer ones become one `Routing`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal

from hostler.config.decode import Fields
from hostler.config.names import Names
from hostler.config.problems import Mark, Report
from hostler.config.schema import Fifo, Group, Matrix, Routing
from hostler.core import ModelId

CheckMatrix = Callable[[Matrix, Collection[ModelId]], list[str]]
"""What is wrong with the sets of a matrix; given by whoever knows their language."""

DEFAULT_GROUP = "(default)"

_VAR = re.compile(r"[a-zA-Z0-9.-]{1,32}")
_QUOTED = re.compile(r"""["'`]([^"'`]+)["'`]""")


def routing(names: Names, root: Fields, check: CheckMatrix | None, report: Report) -> Routing:
    """The routing that is in force."""
    legacy_groups, legacy_matrix = root["groups"], root["matrix"]
    router: Fields = root["routing"]["router"]
    settings: Fields = router["settings"]
    _conflicts(root, router, settings, report)
    fifo = _fifo(names, root["routing"]["scheduler"]["settings"]["fifo"], report)
    use: Literal["group", "matrix"] = "matrix" if legacy_matrix is not None else "group"
    groups, matrix_fields = legacy_groups, legacy_matrix
    if legacy_matrix is None and not legacy_groups:
        use = "matrix" if router["use"] == "matrix" else "group"
        groups, matrix_fields = settings["groups"], settings["matrix"]
    if use == "group":
        return Routing(use="group", groups=_groups(names, groups, report), fifo=fifo)
    if matrix_fields is None:
        mark = router.mark("use")
        what = "routing.router.use is 'matrix' but routing.router.settings.matrix is not set"
        report.error(mark, router.at("use"), what, "add the matrix, or use: group")
        return Routing(use="matrix", fifo=fifo)
    return Routing(use="matrix", matrix=_matrix(names, matrix_fields, check, report), fifo=fifo)


def _conflicts(root: Fields, router: Fields, settings: Fields, report: Report) -> None:
    legacy = [key for key in ("groups", "matrix") if root[key]]
    if len(legacy) == 2:
        what = "config cannot use both 'groups' and 'matrix'"
        report.error(root.mark("matrix"), "matrix", what, "remove one of them")
    if legacy and (router["use"] or settings["groups"] or settings["matrix"] is not None):
        what = f"top-level '{legacy[0]}' and 'routing.router' cannot be used together"
        hint = f"move '{legacy[0]}' into routing.router.settings"
        report.error(root.mark(legacy[0]), legacy[0], what, hint)


def _fifo(names: Names, f: Fields, report: Report) -> Fifo:
    priority: dict[ModelId, int] = {}
    for name, number in f["priority"].items():
        model_id = names.local(name)
        mark, where = f.mark("priority", name), f"{f.at('priority')}.{name}"
        if model_id is None:
            report.error(mark, where, f'references unknown model "{name}"', names.hint(name))
        elif model_id in priority and priority[model_id] != number:
            what = f"{model_id} has two priorities; {priority[model_id]} is used"
            report.warn(mark, where, what, "name the model once")
        else:
            priority[model_id] = number
    return Fifo(priority=priority, max_wait=f["maxWait"])


def _groups(names: Names, groups: Mapping[str, Fields], report: Report) -> dict[str, Group]:
    result: dict[str, Group] = {}
    user: dict[ModelId, str] = {}
    for group_id, fields in groups.items():
        if group_id != DEFAULT_GROUP:
            members = _members(names, group_id, fields, user, report)
            flags = fields["swap"], fields["exclusive"], fields["persistent"]
            result[group_id] = Group(group_id, members, *flags)
    rest = tuple(sorted(model_id for model_id in names.models if model_id not in user))
    default = Group(DEFAULT_GROUP, rest)
    if (f := groups.get(DEFAULT_GROUP)) is not None:
        said = Group(DEFAULT_GROUP, tuple(sorted(f["members"])), f["swap"], f["exclusive"], f["persistent"])
        if said != default:
            what = "this group always has all models of no other group, and the default settings"
            report.warn(f.node.mark, f.path, what, "give the group another name")
    result[DEFAULT_GROUP] = default
    return result


def _members(
    names: Names, group_id: str, f: Fields, user: dict[ModelId, str], report: Report
) -> tuple[ModelId, ...]:
    members: list[ModelId] = []
    literal: set[str] = set()
    for index, name in enumerate(f["members"]):
        mark, where = f.mark("members", index), f"{f.at('members')}[{index}]"
        if name in literal:
            what = f"duplicate model member {name} found in group: {group_id}"
            report.error(mark, where, what, "remove one of them")
            continue
        literal.add(name)
        model_id = names.local(name)
        if model_id is None:
            report.error(mark, where, f'references unknown model "{name}"', names.hint(name))
        elif model_id in user and user[model_id] != group_id:
            what = f"model member {name} is used in multiple groups: {user[model_id]} and {group_id}"
            report.error(mark, where, what, "a model may be in one group")
        elif model_id in members:
            report.warn(mark, where, f"{name} is {model_id}, which is a member already", "remove one of them")
        else:
            user[model_id] = group_id
            members.append(model_id)
    return tuple(members)


def _matrix(names: Names, f: Fields, check: CheckMatrix | None, report: Report) -> Matrix:
    variables: dict[str, ModelId] = {}
    for var, model in f["vars"].items():
        mark, where = f.mark("vars", var), f"{f.at('vars')}.{var}"
        if not _VAR.fullmatch(var):
            what = f"matrix: var key '{var}' is not valid"
            report.error(mark, where, what, "use 1 to 32 letters, digits, dots and dashes")
        elif ModelId(model) not in names.models:
            alias = names.aliases.get(model)
            hint = f"it is an alias; write {alias}" if alias else names.hint(model)
            report.error(mark, where, f'matrix: var key {var} references unknown model "{model}"', hint)
        else:
            variables[var] = ModelId(model)
    costs: dict[str, int] = {}
    for name, cost in f["evict_costs"].items():
        mark, where = f.mark("evict_costs", name), f"{f.at('evict_costs')}.{name}"
        if name not in variables and name not in names.models and name not in f["vars"]:
            what = f'matrix: evict_costs references unknown var or model "{name}"'
            report.error(mark, where, what, report.did_you_mean(name, [*variables, *names.models]))
        elif cost <= 0:
            report.error(mark, where, "matrix: the cost must be a positive integer")
        else:
            costs[name] = cost
    sets: dict[str, str] = f["sets"]
    if not sets and "sets" not in f.failed:
        report.error(f.mark("sets"), f.at("sets"), "matrix must define at least one set", "name: a & b")
    matrix = Matrix(vars=variables, evict_costs=costs, sets=sets)
    if sets and check is not None and len(variables) == len(f["vars"]):
        for message in check(matrix, names.models):
            mark, where = _set_place(f, message)
            report.error(mark, where, message if message.startswith("matrix: ") else f"matrix: {message}")
    return matrix


def _set_place(f: Fields, message: str) -> tuple[Mark, str]:
    """The set a message is about, when it names one."""
    for name in _QUOTED.findall(message):
        if name in f["sets"]:
            return f.mark("sets", name), f"{f.at('sets')}.{name}"
    return f.mark("sets"), f.at("sets")
