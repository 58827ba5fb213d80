"""A real Prometheus scrapes: it takes every sample, finds no duplicate, and can answer dashboard and alerts.

Skipped where the program is not installed (Debian: `apt install prometheus`). `HOSTLER_SCRAPE_SECONDS` makes
it scrape for longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostler.config.schema import ApiKey

from .server import CHAT, Front, config, engine_port, question, running, stub, turn

PROMETHEUS = shutil.which("prometheus")
SECONDS = float(os.environ.get("HOSTLER_SCRAPE_SECONDS", "1"))
DOCS = Path(__file__).parent.parent.parent / "docs" / "observability"
# Names that a client makes up, in each round.
STRANGERS = 20
# What Prometheus counts of its own scrapes when something is wrong with them.
TROUBLE = (
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
    "prometheus_target_scrapes_exceeded_sample_limit_total",
    "prometheus_rule_evaluation_failures_total",
)

pytestmark = [
    pytest.mark.asyncio(loop_factories=["uvloop"]),
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
    pytest.mark.timeout(60 + 2 * SECONDS),
]


class Scraper:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def text(self, path: str, **params: str) -> str:
        def read() -> str:
            query = urllib.parse.urlencode(params)
            with urllib.request.urlopen(f"{self._url}{path}?{query}", timeout=10) as answer:
                found: bytes = answer.read()
            return found.decode()

        return await asyncio.to_thread(read)

    async def ask(self, path: str, **params: str) -> Any:
        found = json.loads(await self.text(path, **params))
        assert found["status"] == "success"
        return found["data"]

    async def query(self, expression: str) -> list[Any]:
        found: list[Any] = (await self.ask("/api/v1/query", query=expression))["result"]
        return found

    async def value(self, expression: str) -> float:
        (found,) = await self.query(expression)
        return float(found["value"][1])

    async def until_up(self) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    if (await self.query("up"))[0]["value"][1] == "1":
                        return
                except (OSError, IndexError):
                    pass  # it does not listen yet, or has not scraped
                await turn(0.1)

    async def until_scraped_again(self) -> None:
        """A scrape has begun after this call, and its samples can be asked for."""
        before = await self.value("timestamp(up)")
        async with asyncio.timeout(30):
            while await self.value("timestamp(up)") < before + 0.45:
                await turn(0.05)


@contextmanager
def scraping(front: Front, directory: Path) -> Iterator[Scraper]:
    port = engine_port()
    settings = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "500ms"},
        "rule_files": [str(DOCS / "alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "hostler",
                "static_configs": [{"targets": [f"127.0.0.1:{front.port}"]}],
                "authorization": {"credentials": "k"},
            }
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    assert PROMETHEUS is not None
    log = (directory / "log").open("wb")
    process = subprocess.Popen(
        [PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        yield Scraper(port)
    finally:
        process.terminate()
        process.wait(20)
        log.close()


async def serve_a_round(front: Front, number: int) -> None:
    """Swaps, a failed start, a stream, and many names and keys that nobody configured."""
    key = [("authorization", "Bearer k")]
    for model in ("a", "b", "broken"):
        await front.ask("POST", CHAT, question(model), key)
    async with await front.connect() as client:
        for stranger in range(STRANGERS):
            name = f"{number}-{stranger}"
            await client.ask("POST", CHAT, question(f"model-{name}"), key)
            await client.ask("POST", f"/upstream/m-{name}/v1/chat/completions", question("a"), key)
            asked = [("authorization", f"Bearer {name}"), ("x-request-id", name), ("user-agent", name)]
            await client.ask("POST", CHAT, question("a"), asked)
            await client.ask("POST", CHAT, question("a"), [*key, ("x-request-id", name)])


async def test_a_real_prometheus(tmp_path: Path) -> None:
    broken = stub("broken", argv=["sh", "-c", "echo CUDA error: out of memory; exit 3"])
    settings = config(stub("a"), stub("b"), broken, api_keys=(ApiKey("k", name="ann"),))
    async with running(settings) as front:
        front.hostler.observatory.performance.take()
        await serve_a_round(front, 0)
        with scraping(front, tmp_path) as prometheus:
            await prometheus.until_up()
            series = await prometheus.value("scrape_samples_scraped")
            rounds = 1
            loop = asyncio.get_running_loop()
            end = loop.time() + SECONDS
            while rounds < 2 or loop.time() < end:
                await serve_a_round(front, rounds)
                rounds += 1
            await prometheus.until_scraped_again()

            assert await prometheus.value("min_over_time(up[1h])") == 1
            # A later round may only add what the first one did not do: a restart after a failure.
            assert await prometheus.value("scrape_samples_scraped") <= series + 30
            counted = await prometheus.value('hostler_requests_total{model="a",status="2xx"}')
            assert counted == rounds * (1 + STRANGERS)
            assert counted == await prometheus.value('hostler_request_duration_seconds_count{model="a"}')
            await assert_known(prometheus)
    assert b"error" not in (tmp_path / "log").read_bytes().lower()


async def assert_known(prometheus: Scraper) -> None:
    """Nothing was refused; dashboard and alerts can be evaluated."""
    own = await prometheus.text("/metrics")
    for line in own.splitlines():
        if line.startswith(TROUBLE):
            assert line.endswith(" 0"), line
    for group in (await prometheus.ask("/api/v1/rules"))["groups"]:
        assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}, group
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            await prometheus.query(target["expr"].replace("$model", ".*"))
    (group,) = (await prometheus.ask("/api/v1/rules"))["groups"]
    for rule in group["rules"]:
        await prometheus.query(rule["query"])
