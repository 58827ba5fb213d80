"""The subjects and the upstreams of a run, all on free ports of loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

from bench import machine, requests
from bench.processes import Processes, program
from hostler.testing.ports import free_port

TEMPLATES: Final = Path(__file__).parent / "templates"
HOSTLER: Final = [sys.executable, "-m", "hostler.cli.main"]


@dataclass(frozen=True)
class Subject:
    """Where it listens for whole answers and for streams, and the processes whose cost counts.

    What is asked for at `streams` without `stream` is answered whole, by the upstream that is Python.
    """

    name: str
    whole: int
    streams: int
    pids: list[int]


@dataclass
class Lab:
    """What is up: `whole` and `streams` are the ports of the upstreams, `values` what templates may name."""

    processes: Processes
    whole: int
    streams: int
    values: dict[str, object]
    subjects: list[Subject] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.processes.directory

    def written(self, template: str, **values: object) -> Path:
        """A file of this run, made from a template."""
        path = self.directory / template
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(self.values | values), encoding="utf-8")
        path.chmod(0o644)
        return path

    def script(self, model: str) -> Path:
        """What makes wrk send the small request for a model."""
        return self.written("post.lua", body=requests.small_body(model).decode())

    @contextmanager
    def fresh(self, name: str) -> Iterator[Subject]:
        """A Hostler of its own, ended after the block; `name` is that of its log."""
        subject, process = _hostler(self, name)
        try:
            yield subject
        finally:
            self.processes.stop(process)


@contextmanager
def lab() -> Iterator[Lab]:
    """Start nginx, haproxy where there is one, and Hostler; they are ended after the block.

    Raises StartFailed, and FileNotFoundError without nginx or wrk.
    """
    nginx = program("nginx")
    if nginx is None or program("wrk") is None:
        raise FileNotFoundError("the suite needs nginx and wrk (Debian: apt install nginx wrk haproxy)")
    with Processes() as processes:
        at = _upstreams(processes, free_port())
        at.subjects.append(Subject("direct", at.whole, at.streams, []))
        upstream = at.written("nginx_upstream.conf", port=at.whole)
        processes.start("upstream", [nginx, "-c", str(upstream)], port=at.whole)
        at.subjects.append(_nginx(at, nginx))
        haproxy = program("haproxy")
        if haproxy is not None:
            at.subjects.append(_haproxy(at, haproxy))
        at.subjects.append(_hostler(at, "hostler")[0])
        yield at


@contextmanager
def small_lab() -> Iterator[Lab]:
    """`relay` and `hostler` before the upstream that is Python: nothing that has to be installed."""
    with Processes() as processes:
        at = _upstreams(processes)
        port = free_port()
        argv = [sys.executable, "-m", "bench.relay", "--port", str(port), "--to", str(at.streams)]
        relay = processes.start("relay", argv, port=port)
        at.subjects.append(Subject("relay", port, port, [relay.pid]))
        at.subjects.append(_hostler(at, "hostler")[0])
        yield at


def _upstreams(processes: Processes, whole: int | None = None) -> Lab:
    streams = free_port()
    stub = [sys.executable, "-m", "bench.upstream", "--port", str(streams)]
    processes.start("streams", stub, port=streams)
    whole = whole or streams
    values: dict[str, object] = {
        "dir": str(processes.directory), "answer": requests.ANSWER, "key": requests.KEY,
        "whole": whole, "streams": streams,
    }  # fmt: skip
    return Lab(processes, whole, streams, values)


def _nginx(at: Lab, nginx: str) -> Subject:
    whole, streams = free_port(), free_port()
    conf = at.written("nginx_proxy.conf", port_whole=whole, port_streams=streams)
    master = at.processes.start("nginx", [nginx, "-c", str(conf)], port=streams)
    return Subject("nginx", whole, streams, machine.children(master.pid))


def _haproxy(at: Lab, haproxy: str) -> Subject:
    whole, streams = free_port(), free_port()
    conf = at.written("haproxy.cfg", port_whole=whole, port_streams=streams)
    process = at.processes.start("haproxy", [haproxy, "-db", "-f", str(conf)], port=streams)
    return Subject("haproxy", whole, streams, [process.pid])


def _hostler(at: Lab, name: str) -> tuple[Subject, subprocess.Popen[bytes]]:
    port = free_port()
    config = at.written("hostler.yaml", name=name)
    argv = [*HOSTLER, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    process = at.processes.start(name, argv, port=port)
    return Subject("hostler", port, port, [process.pid]), process
