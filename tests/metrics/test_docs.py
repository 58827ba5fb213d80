"""What must hold: what is documented, shown or alerted on exists, and what exists is documented."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from hostler.metrics.families import LiveFamilies, LogNow, ModelFamilies, ModelNow, RequestFamilies
from hostler.metrics.performance import PerformanceMonitor
from hostler.metrics.prometheus import add_machine
from hostler.metrics.registry import Family, Registry

DOCS = Path(__file__).parent.parent.parent / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.M)
NAME = re.compile(r"\b(?:hostler|llamaswap)_\w+")


class Nothing:
    """A source without models."""

    def models(self) -> Iterable[ModelNow]:
        return ()

    def logs(self) -> Iterable[LogNow]:
        return ()

    def internals(self) -> Iterable[tuple[str, float]]:
        return ()


def families() -> dict[str, Family]:
    registry = Registry()
    RequestFamilies(registry, lambda model: True)
    ModelFamilies(registry)
    add_machine(registry, PerformanceMonitor(every=5))
    LiveFamilies(registry, Nothing())
    return {family.name: family for family in registry.families()}


def test_every_metric_is_documented_as_it_is() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    documented = {
        name: (kind, labels.replace("`", "").split(), text) for name, kind, labels, text in ROW.findall(page)
    }
    real = {name: (family.kind, list(family.labels), family.help) for name, family in families().items()}

    assert documented == real


def test_names_end_in_their_unit() -> None:
    for name, family in families().items():
        assert (family.kind == "counter") == name.endswith("_total"), name


def names_in(expression: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in NAME.findall(expression)}


def test_the_dashboard_shows_what_there_is() -> None:
    dashboard = json.loads((DOCS / "observability/grafana-dashboard.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set().union(*map(names_in, expressions), names_in(dashboard["templating"]["list"][1]["query"]))

    assert used - families().keys() == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for expression in expressions:
        for name, inner in re.findall(r"(\w+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)\s*[=!]", inner)) - {"le"}
            family = families()[re.sub(r"_(bucket|sum|count)$", "", name)]
            assert labels <= set(family.labels), expression


def test_the_alerts_are_about_what_there_is() -> None:
    rules = yaml.safe_load((DOCS / "observability/alerts.yaml").read_text(encoding="utf-8"))
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]

    assert expressions
    assert set().union(*map(names_in, expressions)) - families().keys() == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_likes_the_alerts() -> None:
    path = DOCS / "observability/alerts.yaml"
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
