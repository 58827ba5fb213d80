"""The merged tree → the tree that is decoded: macros replaced everywhere, ports assigned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hostler.config.commands import strip_comments
from hostler.config.env import seal, unseal
from hostler.config.keys import ROOT
from hostler.config.macros import (
    GAVE_UP,
    REFERENCE,
    Expander,
    Macro,
    Scope,
    declared,
    model_scope,
    references,
    scope,
    unknown_hint,
)
from hostler.config.nodes import Map, Node, Scalar, child, is_null
from hostler.config.ports import LAST_PORT, assign_ports
from hostler.config.problems import Mark, Report
from hostler.core import ModelId

DEFAULT_START_PORT = 5800
_PORT = "${PORT}"


@dataclass(slots=True)
class _Draft:
    """A model on its way: its node and what it may use."""

    node: Map
    macros: Scope
    own_engine: bool


@dataclass(slots=True)
class Expanded:
    """The tree with everything replaced, and the number that `${PORT}` was in each model."""

    root: Map
    ports: dict[ModelId, int]


def expand(
    root: Map,
    report: Report,
    windows: bool,
    previous: Mapping[ModelId, int],
    is_free: Callable[[int], bool] = lambda _: True,
) -> Expanded:
    """Replace the macros of a whole configuration; `${PORT}` is never a new port that is not free."""
    expander = Expander(report)
    shared = scope(declared(root.items.get("macros"), "macros", "", report))
    result = root.copy()
    for key, node in root.items.items():
        if key in {"macros", "models"}:
            continue
        result.items[key] = new = expander.node(node, shared, key)
        if key in ROOT.by_name:
            for path, scalar, name in references(new, key):
                report.error(
                    scalar.mark, path, f"unknown macro '${{{name}}}'", unknown_hint(name, shared, report)
                )
    models = root.items.get("models")
    if not isinstance(models, Map):
        return Expanded(result, {})
    work = _Models(expander, report, shared, windows, is_free)
    spelled = {ModelId(unseal(k)): k for k, v in models.items.items() if isinstance(v, Map) or is_null(v)}
    drafts = {model_id: work.draft(k, models.items[k]) for model_id, k in spelled.items()}
    ports = work.ports(drafts, result.items.get("startPort"), previous, models.mark)
    copy = models.copy()
    for model_id, draft in drafts.items():
        copy.items[spelled[model_id]] = work.finish(model_id, draft, ports.get(model_id))
    result.items["models"] = copy
    return Expanded(result, ports)


class _Models:
    """Expands models: first their macros, then, when all ports are known, `${PORT}`."""

    def __init__(
        self,
        expander: Expander,
        report: Report,
        shared: Scope,
        windows: bool,
        is_free: Callable[[int], bool],
    ) -> None:
        self.is_free = is_free
        self.expander = expander
        self.report = report
        self.shared = shared
        self.windows = windows

    def draft(self, model_id: str, node: Node) -> _Draft:
        model = node.copy() if isinstance(node, Map) else Map(node.mark)
        path = f"models.{model_id}"
        own = declared(model.items.get("macros"), f"{path}.macros", f"model {model_id}: ", self.report)
        macros = model_scope(self.shared, own, Scalar(model.mark, model_id))
        for key in ("cmd", "cmdStop"):
            command = model.items.get(key)
            if isinstance(command, Scalar) and isinstance(command.value, str) and "#" in command.text:
                model.items[key] = Scalar(command.mark, strip_comments(command.text))
        own_engine = is_null(model.items.get("cmd")) and not is_null(model.items.get("model"))
        self._defaults(model, own_engine)
        for key, item in model.items.items():
            if key != "macros":
                model.items[key] = self.expander.node(item, macros, f"{path}.{key}")
        self._filter_keys(model, macros, path)
        return _Draft(model, macros, own_engine)

    def _defaults(self, model: Map, own_engine: bool) -> None:
        if is_null(model.items.get("proxy")):
            host = "127.0.0.1" if own_engine else "localhost"
            model.put(
                "proxy", model.keys.get("proxy", model.mark), Scalar(model.mark, f"http://{host}:{_PORT}")
            )
        if self.windows and not own_engine and is_null(model.items.get("cmdStop")):
            model.put("cmdStop", model.mark, Scalar(model.mark, "taskkill /f /t /pid ${PID}"))

    def _filter_keys(self, model: Map, macros: Scope, path: str) -> None:
        filters = model.items.get("filters")
        by_id = child(filters, "setParamsByID")
        if not isinstance(filters, Map) or not isinstance(by_id, Map):
            return
        new = self.expander.keys(by_id, macros, f"{path}.filters.setParamsByID")
        if new is not by_id:
            filters = filters.copy()
            filters.items["setParamsByID"] = new
            model.items["filters"] = filters

    def ports(
        self,
        drafts: Mapping[ModelId, _Draft],
        start: Node | None,
        previous: Mapping[ModelId, int],
        root: Mark,
    ) -> dict[ModelId, int]:
        first = start.value if isinstance(start, Scalar) else None
        if isinstance(first, bool) or not isinstance(first, int | float) or not 1 <= first < 10**9:
            first = DEFAULT_START_PORT
        fixed: dict[ModelId, int] = {}
        asking: list[ModelId] = []
        for model_id, draft in drafts.items():
            chosen = draft.node.items.get("port")
            number = chosen.value if isinstance(chosen, Scalar) else None
            command = draft.node.items.get("cmd")
            if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
                fixed[model_id] = number
            elif draft.own_engine or (isinstance(command, Scalar) and _PORT in command.text):
                asking.append(model_id)
        chosen_by_hand = set(fixed.values())
        skipped: list[int] = []

        def free(port: int) -> bool:
            if self.is_free(port):
                return True
            skipped.append(port)
            return False

        ports = {**assign_ports(asking, int(first), previous, chosen_by_hand, free), **fixed}
        if skipped:
            self._say_skipped(skipped, start, root)
        for model_id, port in ports.items():
            if port > LAST_PORT:
                mark = drafts[model_id].node.mark
                hint = "choose a smaller startPort" if model_id not in fixed else ""
                self.report.warn(mark, f"models.{model_id}", f"port {port} does not exist", hint)
        return ports

    def _say_skipped(self, ports: list[int], start: Node | None, root: Mark) -> None:
        few = ", ".join(str(port) for port in ports[:8]) + (", …" if len(ports) > 8 else "")
        what = f"port {few} is" if len(ports) == 1 else f"ports {few} are"
        mark = start.mark if start is not None else root
        hint = (
            "choose another startPort to keep clear of it" if len(ports) == 1 else "choose another startPort"
        )
        self.report.warn(
            mark, "startPort", f"{what} taken by another program on this machine, and passed over", hint
        )

    def finish(self, model_id: ModelId, draft: _Draft, port: int | None) -> Map:
        node, path = draft.node, f"models.{model_id}"
        if port is not None:
            macros = {"PORT": Macro(1, Scalar.of(node.mark, str(port), port))}
            for key, item in node.items.items():
                if key != "macros":
                    node.items[key] = self.expander.node(item, macros, f"{path}.{key}")
            self._filter_keys(node, macros, path)
        for key, item in node.items.items():
            if key != "macros":
                for where, scalar, name in references(item, f"{path}.{key}"):
                    self._left_over(where, scalar, name, draft, key)
        by_id = child(node, "filters", "setParamsByID")
        if isinstance(by_id, Map):
            for key, mark in by_id.keys.items():
                for name in REFERENCE.findall(key):
                    hint = unknown_hint(name, draft.macros, self.report)
                    where = f"{path}.filters.setParamsByID"
                    self.report.error(mark, where, f"unknown macro '${{{name}}}' in a key", hint)
        return node

    def _left_over(self, path: str, scalar: Scalar, name: str, draft: _Draft, key: str) -> None:
        if name == "PID" and key == "cmdStop":
            return
        if name != "PORT":
            self.report.error(
                scalar.mark,
                path,
                f"unknown macro '${{{name}}}'",
                unknown_hint(name, draft.macros, self.report),
            )
            return
        cmd = draft.node.items.get("cmd")
        if is_null(cmd) or not isinstance(cmd, Scalar) or cmd.text.strip() in {"", GAVE_UP}:
            return  # "there is no cmd" is what has to be said, and is said elsewhere
        if key == "proxy":
            what = "proxy uses ${PORT} but cmd does not - ${PORT} is only available when used in cmd"
            if scalar.mark == draft.node.mark:
                what = "there is no proxy, and cmd does not use ${PORT}: where does the model answer?"
            hint = "use ${PORT} in cmd, or set proxy to the address that cmd listens on"
            if seal(_PORT) in cmd.text:
                hint = "the ${PORT} in an environment variable's value is plain text; write it in cmd itself"
        else:
            what = "macro '${PORT}' should have been substituted, but cmd does not use it"
            hint = "use ${PORT} in cmd"
        self.report.error(scalar.mark, path, what, hint)
