"""The subjects and the two upstreams of a run, all on free ports of loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from bench import machine, requests
from bench.processes import Processes, program
from hostler.testing.ports import free_port

TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Subject:
    """Where it listens for whole answers and for streams, and the processes whose cost counts."""

    name: str
    whole: int
    streams: int
    pids: list[int]


@dataclass(frozen=True)
class Lab:
    """What is up, and the script that makes wrk send the small request."""

    subjects: list[Subject]
    script: Path
    python: list[str]
    config: Path


@contextmanager
def lab() -> Iterator[Lab]:
    """Start everything; it is ended after the block. Raises StartFailed; FileNotFoundError without nginx."""
    nginx, haproxy = program("nginx"), program("haproxy")
    if nginx is None or program("wrk") is None:
        raise FileNotFoundError("the suite needs nginx and wrk (Debian: apt install nginx wrk haproxy)")
    with Processes() as processes:
        ports = [free_port() for _ in range(7)]
        whole, streams, nginx_whole, nginx_streams, proxy_whole, proxy_streams, hostler = ports
        values: dict[str, object] = {
            "dir": str(processes.directory), "answer": requests.ANSWER, "port": whole, "whole": whole,
            "streams": streams, "key": requests.KEY, "body": requests.small_body().decode(),
        }  # fmt: skip
        script = _write(processes, "post.lua", values)
        upstream = _write(processes, "nginx_upstream.conf", values)
        processes.start("upstream", [nginx, "-c", str(upstream)], port=whole)
        stub = [sys.executable, "-m", "bench.upstream", "--port", str(streams)]
        processes.start("streams", stub, port=streams)
        subjects = [Subject("direct", whole, streams, [])]
        values |= {"port_whole": nginx_whole, "port_streams": nginx_streams}
        argv = [nginx, "-c", str(_write(processes, "nginx_proxy.conf", values))]
        master = processes.start("nginx", argv, port=nginx_streams)
        subjects.append(Subject("nginx", nginx_whole, nginx_streams, machine.children(master.pid)))
        if haproxy is not None:
            values |= {"port_whole": proxy_whole, "port_streams": proxy_streams}
            argv = [haproxy, "-db", "-f", str(_write(processes, "haproxy.cfg", values))]
            one = processes.start("haproxy", argv, port=proxy_streams)
            subjects.append(Subject("haproxy", proxy_whole, proxy_streams, [one.pid]))
        python = [sys.executable, "-m", "hostler.cli.main"]
        config = _write(processes, "hostler.yaml", values)
        argv = [*python, "serve", "--config", str(config), "--listen", f"127.0.0.1:{hostler}"]
        ours = processes.start("hostler", argv, port=hostler)
        subjects.append(Subject("hostler", hostler, hostler, [ours.pid]))
        yield Lab(subjects, script, python, config)


def _write(processes: Processes, name: str, values: dict[str, object]) -> Path:
    path = processes.directory / name
    text = Template((TEMPLATES / name).read_text(encoding="utf-8")).substitute(values)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return path
