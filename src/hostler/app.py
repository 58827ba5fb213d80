"""The composition root: a `Config` becomes a running Hostler.

`Hostler` is the library's front door: an ASGI application with its fleet, logs and guardian. `serve` runs
one behind a socket until a signal ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

from hostler import __version__, aio
from hostler.clock import SYSTEM
from hostler.config.schema import Config
from hostler.config.secrets import mask
from hostler.core import ModelId, State
from hostler.fleet.fleet import Fleet
from hostler.fleet.preload import Preload
from hostler.fleet.slot import Slot
from hostler.gateway.auth import KeyRing
from hostler.gateway.pipeline import Gateway
from hostler.launch import launcher_of, policy_of
from hostler.logs.archive import log_directory
from hostler.logs.files import DirectoryTaken, LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.interrupted import end_interrupted
from hostler.logs.monitor import LogMonitor
from hostler.logs.stdout import StdoutCopy, monitor_for
from hostler.logs.store import LogStore
from hostler.metrics.observatory import Observatory
from hostler.process.guardian import Guardian
from hostler.reload import ConfigSource, Reloader
from hostler.web.app import WebApp
from hostler.web.server import make_server, open_sockets
from hostler.web.state import WebState

# How long running requests may take to end when Hostler stops; the engines then get ten seconds more.
DRAIN_SECONDS = 20.0
# How long a thread waits for the interpreter before it demands it. A thread that computes holds up the event
# loop for as long: with Python's own 5 ms that is more than most requests take. With much less the two would
# take it from each other dozens of times in a turn of the loop, which costs more than what the thread does.
SWITCH_SECONDS = 0.000_5


class Hostler:
    """One Hostler: `async with Hostler(config) as hostler`, then serve `hostler.app` with any ASGI server.

    Logs are kept in `log_files` as well, where there are some.
    """

    def __init__(self, config: Config, *, log_files: LogFiles | None = None) -> None:
        self.config = config
        self.hub = LogHub(
            files=log_files,
            buffer_bytes=config.logs.buffer_bytes,
            keep_runs=config.logs.keep_runs,
            level=config.log_level,
            time_format=config.log_time_format,
        )
        self.logs = LogStore(self.hub, log_files)
        self.hub.configure(mask=partial(mask, secrets=config.secrets))
        end_interrupted(self.logs)
        self.guardian = Guardian()
        self.fleet = Fleet(
            config,
            policy=policy_of(config),
            hub=self.hub,
            guardian=self.guardian,
            launcher=launcher_of(config, self.hub.proxy),
        )
        keys = KeyRing(config.api_keys)
        self.observatory = Observatory(
            config, version=__version__, on_problem=self.hub.proxy.warn, on_news=self.hub.proxy.info
        )
        self.gateway = Gateway(
            config, self.fleet, keys=keys, log=self.hub.proxy, recorder=self.observatory.recorder
        )
        self.preload = Preload(self.fleet, config.preload, self.hub.proxy)
        self.state = WebState(
            config, self.fleet, self.hub, self.gateway, self.preload, self.logs, self.observatory
        )
        self.app = WebApp(self.state, self.gateway, keys)
        self.fleet.listeners.append(self._state_changed)

    async def __aenter__(self) -> Self:
        self.observatory.start()
        self.preload.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(drain=0)

    async def close(self, *, drain: float = DRAIN_SECONDS) -> None:
        """Let running requests end for up to `drain` seconds, stop every engine, end every log stream."""
        await self.preload.close()
        until = SYSTEM.monotonic() + drain
        await self.fleet.close(drain=drain)
        # What is left is served by peers, which need no lease.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - SYSTEM.monotonic())):
                await self.gateway.in_flight.emptied()
        await self.guardian.close()
        self.gateway.close()
        await self.state.feed.close()
        await self.observatory.close()
        self.app.write_lines()
        self.logs.close()

    def replace(self, config: Config) -> None:
        """Go on with another configuration, in one step; nothing that runs is cut off.

        See `hostler.config.diff.plan` for what that means for each model. Raises ConfigError before anything
        has changed.
        """
        policy = policy_of(config)
        self.hub.configure(
            level=config.log_level,
            time_format=config.log_time_format,
            buffer_bytes=config.logs.buffer_bytes,
            keep_runs=config.logs.keep_runs,
            mask=partial(mask, secrets=config.secrets),
        )
        if self.logs.files is not None:
            logs = config.logs
            self.logs.files.configure(
                max_bytes=logs.max_bytes, segment_bytes=logs.segment_bytes, keep_runs=logs.keep_runs
            )
        self.fleet.replace(config, policy=policy, launcher=launcher_of(config, self.hub.proxy))
        keys = KeyRing(config.api_keys)
        self.gateway.replace(config, keys)
        self.app.replace(keys)
        self.observatory.replace(config)
        self.config = self.state.config = config
        self.state.feed.config_changed()

    def _state_changed(self, model: ModelId, state: State) -> None:
        slot = self.fleet.slot(model)
        if state is State.STOPPED and slot.last_run is not None:
            self.gateway.engine_gone(slot.last_run.spec.proxy)
            if self.logs.files is not None:
                aio.spawn(self._release(slot), name=f"release the log of {model}")

    async def _release(self, slot: Slot) -> None:
        """Give the memory of a stopped model's log back once it is on disk."""
        assert self.logs.files is not None
        if await self.logs.files.flushed() and slot.life is None and not slot.log.waiting:
            slot.log.release()


def serve(
    config: Config,
    *,
    listen: tuple[str, int],
    tls: tuple[str, str] | None = None,
    source: ConfigSource | None = None,
    watch: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status.

    `source` is where `config` came from, to be read again on SIGHUP, by the API, and with `watch` whenever
    it changes. `listen` is (host, port), an empty host means every address. `on_ready` gets the base URL once
    requests are answered. A second signal ends the process at once; the guardian still stops the engines.
    Raises ConfigError when the address or the TLS files cannot be used.
    """
    sockets = open_sockets(*listen)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(
            _serve(
                config,
                host=listen[0],
                sockets=sockets,
                tls=tls,
                source=source,
                watch=watch,
                on_ready=on_ready,
            )
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(
    config: Config,
    *,
    host: str,
    sockets: list[socket.socket],
    tls: tuple[str, str] | None,
    source: ConfigSource | None,
    watch: bool,
    on_ready: Callable[[str], None] | None,
) -> int:
    loop = asyncio.get_running_loop()
    log_files, problem = open_log_files(config)
    hostler = Hostler(config, log_files=log_files)
    proxy = hostler.hub.proxy
    if problem:
        proxy.warn(problem)
    if log_files is not None:
        log_files.warn_by(partial(_from_thread, loop, proxy))
    loop.set_exception_handler(lambda _, context: proxy.error(_told(context)))
    stdout = _stdout_copy(hostler)
    stopping = _stop_on_signals(hostler)
    async with hostler, _reloads(hostler, source, watch), http_server(hostler, sockets, tls=tls) as running:
        url = base_url(host, sockets[0].getsockname()[1], tls=tls is not None)
        proxy.info(f"Hostler {__version__} listening on {url}, {len(config.models)} model(s)")
        _warn_when_open(hostler, host)
        _spare_the_collector()
        sys.setswitchinterval(SWITCH_SECONDS)
        if on_ready is not None:
            on_ready(url)
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stdout is not None:
        await stdout.stop(1.0)
    return 0


def _spare_the_collector() -> None:
    """Let the garbage collector look at what requests leave, seldom, and never at what was there before them.

    Nothing on the way of a request makes cycles. With the default thresholds the looking took a tenth of the
    time of small requests, and stopped all of them for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


def open_log_files(config: Config) -> tuple[LogFiles | None, str]:
    """The files that `config` wants its logs in, and why there are none, "" when all is as wanted."""
    logs = config.logs
    if not logs.files:
        return None, ""
    directory = log_directory(logs.dir)
    try:
        return LogFiles(
            directory,
            max_bytes=logs.max_bytes,
            segment_bytes=logs.segment_bytes,
            keep_runs=logs.keep_runs,
        ), ""
    except DirectoryTaken:
        why = "another Hostler writes its logs there; give this one a logs.dir of its own"
    except OSError as error:
        why = f"{error.strerror or error}"
    return None, f"log files: cannot use {directory}: {why}. Logs are kept in memory only"


def _from_thread(loop: asyncio.AbstractEventLoop, proxy: LogMonitor, text: str) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the log
        loop.call_soon_threadsafe(proxy.warn, text)


def _told(context: dict[str, Any]) -> str:
    """What asyncio says of a failure that nobody waits for, in one line."""
    error = context.get("exception")
    return f"{context['message']}: {type(error).__name__}: {error}" if error else str(context["message"])


@asynccontextmanager
async def _reloads(hostler: Hostler, source: ConfigSource | None, watch: bool) -> AsyncIterator[None]:
    """Take new configurations as long as the block runs."""
    loop = asyncio.get_running_loop()
    if source is None:
        nothing = "SIGHUP: there is no configuration file to read again"
        loop.add_signal_handler(signal.SIGHUP, hostler.hub.proxy.warn, nothing)
        yield
        return

    hostler.state.reloader = reloader = Reloader(
        source, hostler.config, apply=hostler.replace, log=hostler.hub.proxy
    )
    loop.add_signal_handler(signal.SIGHUP, reloader.request, "SIGHUP")
    if watch:
        reloader.start_watching()
    try:
        yield
    finally:
        await reloader.close()


@asynccontextmanager
async def http_server(
    hostler: Hostler,
    sockets: list[socket.socket],
    *,
    tls: tuple[str, str] | None = None,
    drain: float = DRAIN_SECONDS,
) -> AsyncIterator[asyncio.Task[None]]:
    """Answer requests on `sockets` until the block ends; gives the task that does.

    Then nothing new is let in, running requests get `drain` seconds, `hostler` is closed, and what is left of
    the connections is ended. Raises whatever kept the server from starting.
    """
    server = make_server(hostler.app, log=hostler.hub.proxy, tls=tls)
    running = aio.spawn(server.serve(sockets=sockets), name="http server")
    listening = aio.spawn(server.listening.wait(), name="wait for the http server")
    await asyncio.wait([running, listening], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        listening.cancel()
        await running
    try:
        yield running
    finally:
        server.stop_listening()
        await hostler.close(drain=drain)
        server.should_exit = True
        await asyncio.wait([running])


def _stdout_copy(hostler: Hostler) -> StdoutCopy | None:
    monitor = monitor_for(hostler.hub, hostler.config.log_to_stdout)
    if monitor is None:
        return None
    copy = StdoutCopy(monitor, sys.stdout.buffer)
    copy.start()
    return copy


def _stop_on_signals(hostler: Hostler) -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[None] = loop.create_future()

    def stop(number: int) -> None:
        if stopping.done():
            # Asked twice: nothing of ours is worth waiting for. The guardian ends the engines.
            os._exit(128 + number)
        hostler.hub.proxy.info(f"{signal.Signals(number).name}: shutting down; once more to stop at once")
        stopping.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    return stopping


def base_url(host: str, port: int, *, tls: bool) -> str:
    """The address to give to a client on this machine."""
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _warn_when_open(hostler: Hostler, host: str) -> None:
    if is_loopback(host) or hostler.config.api_keys:
        return
    where = host or "every network interface"
    hostler.hub.proxy.warn(
        f"listening on {where} WITHOUT API KEYS: everybody who can reach this machine can use its models, "
        "read its logs and stop its processes. Set apiKeys in the configuration, or listen on 127.0.0.1"
    )
