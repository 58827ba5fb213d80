"""The gateway: every path that names a model, as an ordinary ASGI application that runs under any server.

What belongs to one request is in `request`; here is what requests share.
"""

from __future__ import annotations

from collections.abc import Sequence

from hostler.clock import SYSTEM, Clock
from hostler.config.schema import Config, Selector, Timeouts
from hostler.fleet.fleet import Fleet
from hostler.gateway import selectors
from hostler.gateway.auth import KeyRing
from hostler.gateway.body import BodyBudget
from hostler.gateway.edge import Receive, Scope, Send
from hostler.gateway.forward import origin_of
from hostler.gateway.inflight import InFlight
from hostler.gateway.outbox import Outbox
from hostler.gateway.pool import Pool, PoolSet
from hostler.gateway.profiles import Profiles
from hostler.gateway.request import Request
from hostler.gateway.resolve import Local, Routes
from hostler.logs.monitor import LogMonitor
from hostler.logs.spans import RequestSpans
from hostler.metrics.recorder import Recorder

MEGABYTE = 1_048_576
# All request bodies in memory together: twice the largest single one, and never less than 1 GiB, so that
# one huge upload cannot shut out the others.
MIN_BODY_BUDGET = 1024 * MEGABYTE


class Gateway:
    """Serves every path that names a model; with a `recorder` each request leaves a row of activity."""

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        *,
        keys: KeyRing,
        log: LogMonitor,
        recorder: Recorder | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.fleet = fleet
        self.log = log
        self.clock = clock
        self.keys = keys
        self.recorder = recorder
        self.routes = Routes(config)
        self.profiles = Profiles(config.profiles)
        self.in_flight = InFlight()
        self.spans = RequestSpans()
        self.pools = PoolSet()
        self.limit = config.max_body_mb * MEGABYTE
        self.budget = BodyBudget(max(MIN_BODY_BUDGET, 2 * self.limit))
        self._turns: dict[str, int] = {}
        self.outbox = Outbox()
        self._engines: dict[str, tuple[Timeouts, Pool]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that leaves ends it quietly at any await."""
        await Request(self, scope, receive, send).answer()

    def pool_of(self, base_url: str, timeouts: Timeouts) -> Pool:
        """The connections to an engine of ours."""
        found = self._engines.get(base_url)
        if found is None or found[0] is not timeouts:
            pool = self.pools.get(origin_of(base_url), connect=timeouts.connect, idle=timeouts.idle_conn)
            found = self._engines[base_url] = timeouts, pool
        return found[1]

    def replace(self, config: Config, keys: KeyRing) -> None:
        """Serve requests that come from now on by another configuration; others end by theirs."""
        self.keys = keys
        self.routes = Routes(config)
        self.profiles.replace(config.profiles)
        self._turns.clear()
        self._engines.clear()
        self.limit = config.max_body_mb * MEGABYTE
        self.budget.total = max(MIN_BODY_BUDGET, 2 * self.limit)

    def close(self) -> None:
        """Close every idle connection to an engine."""
        self.outbox.flush()
        self.pools.close()

    def engine_gone(self, base_url: str) -> None:
        """Forget the idle connections to an engine that ended."""
        self.pools.close_origin(origin_of(base_url))

    def order(self, selector: Selector) -> Sequence[str]:
        """The targets of `selector` as they are to be asked now."""
        turn = self._turns.get(selector.id, 0)
        self._turns[selector.id] = turn + 1
        return selectors.order(selector, self._load_of, turn)

    def _load_of(self, name: str) -> selectors.Load:
        target = self.routes.targets[name]
        if isinstance(target, Local):
            return selectors.Load(self.fleet.state(target.id), self.fleet.requests(target.id))
        return selectors.Load(None, self.in_flight.requests_of(target.id))
