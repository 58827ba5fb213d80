"""Sources → configuration. Pure: what it needs from outside comes as arguments.

    text → nodes (compose, env) → one tree (merge) → macros and ports (expand) → values (decode)
    → models, names, routing (models, names, routing) → Config

Every step goes on after a mistake where that makes sense, so all of them are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hostler.config.compose import compose
from hostler.config.decode import Decoder, Fields
from hostler.config.env import Environment, readable, unseal
from hostler.config.expand import Expanded, expand
from hostler.config.keys import ROOT
from hostler.config.merge import merge
from hostler.config.models import Builder
from hostler.config.names import Names, Together, check_peers, collect_aliases, preload, profiles, selectors
from hostler.config.nodes import Map, Node, Scalar, Seq, child, is_null
from hostler.config.problems import ConfigProblems, Mark, Problem, Report
from hostler.config.routing import CheckMatrix, routing
from hostler.config.schema import ApiKey, Config, Model, Peer
from hostler.config.secrets import Secrets
from hostler.config.settings import CheckStore, check_settings, settings
from hostler.core import ModelId

TOKEN_LENGTH = 8
"""In `Bearer 0123abcd` the first word is no secret, and the second is one wherever it stands."""

Platform = Literal["posix", "windows"]


@dataclass(frozen=True, slots=True)
class Source:
    """A text and what to call it in messages. Bytes are UTF-8, or UTF-16 with a byte order mark."""

    name: str
    text: str | bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used, and what should be said about it."""

    config: Config
    warnings: list[Problem]
    sources: list[Path]

    @property
    def ports(self) -> dict[ModelId, int]:
        """What to pass as `previous_ports` when the configuration is read again."""
        return ports_of(self.config)


def ports_of(config: Config) -> dict[ModelId, int]:
    """The number that `${PORT}` is in each model that uses it."""
    return {m.id: m.port for m in config.models.values() if m.port is not None}


@dataclass(frozen=True, slots=True)
class Hooks:
    """Checks that need knowledge from elsewhere."""

    check_matrix: CheckMatrix | None = None
    together: Together | None = None
    check_store: CheckStore | None = None


def parse(
    sources: Sequence[Source],
    *,
    environ: Mapping[str, str],
    platform: Platform = "posix",
    previous_ports: Mapping[ModelId, int] | None = None,
    port_is_free: Callable[[int], bool] = lambda _: True,
    check_matrix: CheckMatrix | None = None,
    together: Together | None = None,
    check_store: CheckStore | None = None,
) -> Loaded:
    """Read sources in order; raises `ConfigProblems` with everything that is wrong.

    Models in `previous_ports` keep their ports; `port_is_free` is asked about every other `${PORT}`.
    """
    report = Report()
    env = Environment(environ, report)
    keys: set[str] = set()
    config: Config | None = None
    root = _read(sources, env, report, keys)
    if root is not None:
        hooks = Hooks(check_matrix, together, check_store)
        expanded = expand(root, report, platform == "windows", previous_ports or {}, port_is_free)
        keys |= _literal_secrets(expanded.root)
        config = _build(expanded, report, platform == "windows", hooks)
    secrets = Secrets(keys, env.secrets)
    problems = report.finish(
        [source.name for source in sources], lambda text: secrets.in_prose(unseal(readable(text)))
    )
    if report.failed or config is None:
        raise ConfigProblems(problems)
    paths = [Path(source.name) for source in sources]
    return Loaded(replace(config, secrets=secrets), problems, paths)


def _read(sources: Sequence[Source], env: Environment, report: Report, keys: set[str]) -> Map | None:
    """The merged tree, None when a source could not be read; what it has of secrets is added to `keys`."""
    root: Map | None = None
    broken = False
    for source in sources:
        text = decode_text(source, report)
        if text is None:
            broken = True
            continue
        before = len(report.problems)
        node = compose(source.name, text, env, report)
        if node is None or is_null(node):
            errors = [p for p in report.problems[before:] if p.severity == "error"]
            broken = broken or (node is None and bool(errors))
            continue
        if not isinstance(node, Map):
            report.error(
                node.mark, "", "top-level YAML must be a mapping", "it begins with keys such as `models:`"
            )
            broken = True
            continue
        keys |= _literal_secrets(node)
        if root is None:
            root = node.copy()
        else:
            merge(root, node, report)
    if broken:
        return None
    return root if root is not None else Map(Mark(sources[0].name if sources else ""))


def decode_text(source: Source, report: Report) -> str | None:
    """The text of a source; None when its bytes are not text."""
    data = source.text
    if isinstance(data, str):
        return data
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        report.error(
            Mark(source.name, line, column), "", f"not valid {encoding.upper()}", "save the file as UTF-8"
        )
        return None


def _literal_secrets(root: Map) -> set[str]:
    """Keys written into the file, found before anything can be said about them."""
    nodes: list[Node | None] = []
    keys = root.items.get("apiKeys")
    for item in keys.items if isinstance(keys, Seq) else [keys]:
        nodes += [item, child(item, "key")]
    peers = root.items.get("peers")
    if isinstance(peers, Map):
        nodes += [child(peer, "apiKey") for peer in peers.items.values()]
    found = {unseal(node.text) for node in nodes if isinstance(node, Scalar) and node.text.strip()}
    headers = child(root, "telemetry", "headers")
    for node in headers.items.values() if isinstance(headers, Map) else ():
        if isinstance(node, Scalar) and node.text.strip():
            value = unseal(node.text)
            found |= {value, *(word for word in value.split() if len(word) >= TOKEN_LENGTH)}
    return found


def _build(expanded: Expanded, report: Report, windows: bool, hooks: Hooks) -> Config:
    _legacy_profiles(expanded.root, report)
    root = Decoder(report).section(ROOT, expanded.root, "", expanded.root.mark)
    check_settings(root, report, hooks.check_store)
    builder = Builder(root, expanded.ports, report, windows)
    models: dict[ModelId, Model] = {
        ModelId(k): builder.model(ModelId(k), f) for k, f in root["models"].items()
    }
    if ModelId("") in models:
        report.warn(root.mark("models", ""), "models", "a model has an empty id", "requests cannot name it")
    peers: dict[str, Peer] = {k: builder.peer(k, f) for k, f in root["peers"].items()}
    names = Names(models, peers, report)
    aliases = collect_aliases(names, root["models"], report)
    models = {k: m if m.aliases == aliases[k] else replace(m, aliases=aliases[k]) for k, m in models.items()}
    names.models = models
    check_peers(names, root, report)
    route = routing(names, root, hooks.check_matrix, report)
    return Config(
        models=models,
        peers=peers,
        routing=route,
        profiles=profiles(names, root, report),
        selectors=selectors(names, root, route, hooks.together, report),
        aliases=names.aliases,
        preload=preload(names, root, report),
        api_keys=_api_keys(root, names, report),
        **settings(root),
    )


def _legacy_profiles(root: Map, report: Report) -> None:
    block = root.items.get("profiles")
    lists = [block] if isinstance(block, Seq) else []
    if isinstance(block, Map):
        lists = [node for node in block.items.values() if isinstance(node, Seq)]
    for node in lists:
        hint = "use groups to let models run together; profiles are pins now"
        report.error(node.mark, "profiles", "legacy list syntax is no longer supported", hint)
    if isinstance(block, Seq):
        del root.items["profiles"]
    elif isinstance(block, Map) and lists:
        root.items["profiles"] = copy = block.copy()
        copy.items = {k: v for k, v in block.items.items() if not isinstance(v, Seq)}


def _api_keys(root: Fields, names: Names, report: Report) -> tuple[ApiKey, ...]:
    result: list[ApiKey] = []
    for index, item in enumerate(root["apiKeys"]):
        mark, where = root.mark("apiKeys", index), f"apiKeys[{index}]"
        key = (
            ApiKey(item)
            if isinstance(item, str)
            else ApiKey(item["key"], item["name"], item["models"], item["scopes"])
        )
        if not key.key and not (isinstance(item, Fields) and "key" in item.failed):
            report.error(mark, where, "empty api key found in apiKeys", "remove the item, or set its value")
        elif " " in key.key:
            report.error(mark, where, "api key cannot contain spaces")
        for number, model in enumerate(key.models):
            if names.target(model) is None and model not in names.bare and model not in root["selectors"]:
                what = f'references unknown model "{model}"'
                place = item.mark("models", number)
                report.warn(place, f"{where}.models[{number}]", what, names.hint(model, *root["selectors"]))
        result.append(key)
    return tuple(result)
