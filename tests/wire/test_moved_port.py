"""What must hold: a model that gives only a file passes over a taken port, and all know where it went."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hostler.config.schema import Config, Group, Model, Routing
from hostler.core import ModelId
from hostler.testing.ports import free_port
from hostler.testing.serving import serving
from wire.client import Client

pytestmark = pytest.mark.wire

NAME = ModelId("tiny")


async def test_a_taken_port_is_passed_over(hostler_tiny_gguf: Path) -> None:
    port = free_port()
    model = Model(
        NAME,
        model=str(hostler_tiny_gguf),
        args=("-t", "1", "-c", "256"),
        port=port,
        proxy=f"http://127.0.0.1:{port}",
    )
    config = Config(models={NAME: model}, routing=Routing(groups={"all": Group("all", (NAME,))}))
    with socket.create_server(("127.0.0.1", port)):
        async with serving(config) as (hostler, front), await Client.connect(front) as client:
            answer = await client.ask("GET", "/upstream/tiny/health")

            (row,) = (await client.ask("GET", "/running")).json()["running"]
            warm = repr(hostler.gateway.pools._pools)
            await hostler.fleet.unload(NAME)
            cold = repr(hostler.gateway.pools._pools)

    assert answer.status == 200
    assert row["port"] != port
    assert f"port {port} is taken" in hostler.hub.proxy.history().decode()
    assert f"<Pool http://127.0.0.1:{row['port']}, 1 idle>" in warm
    assert f"<Pool http://127.0.0.1:{row['port']}, 0 idle>" in cold
