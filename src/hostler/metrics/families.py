"""The metrics of Hostler, each with its help text; docs/metrics.md lists them for people.

Labels `model` hold the ids of configured models (and of models of peers); anything else is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from hostler.metrics.model_series import ModelSeries
from hostler.metrics.record import ActivityRow
from hostler.metrics.registry import MAX_SERIES, OTHER, Counter, Gauge, Histogram, Labels, Registry

# Seconds: from an embedding to a long answer of a slow machine.
REQUEST_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
# From an answer out of a cache to a model that has to be loaded first.
FIRST_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# A small model in the page cache to a large one from a slow disk.
LOAD_BOUNDS = (0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
# Tokens per second.
SPEED_BOUNDS = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
# Requests that are counted together: it costs a fifth for each, and all of them a tenth of a millisecond.
MAX_WAITING = 256
STATES = ("stopped", "starting", "ready", "stopping")

Pairs = Iterable[tuple[Labels, float]]

Known = Callable[[str], bool]
"""Whether a name is one of a configured model."""


class RequestFamilies:
    """What finished requests add up to."""

    def __init__(self, registry: Registry, known: Known) -> None:
        self._known = known
        self._registry = registry
        self._models: dict[str, ModelSeries] = {}
        self._waiting = 0
        self.requests = self._counter(
            "hostler_requests_total",
            "Finished requests for models by class of the status and by whose fault a failure was.",
            "status",
            "error",
        )
        self.tokens = self._counter("hostler_tokens_total", "Tokens that answers tell of, by kind.", "kind")
        self.bytes = self._counter(
            "hostler_request_bytes_total", "Bytes of bodies to (in) and from (out) models.", "direction"
        )
        self._add_spans()
        self.speed = self._histogram(
            "hostler_tokens_per_second", "Tokens per second while answers were generated.", SPEED_BOUNDS
        )

        self.refused = Counter(
            "hostler_refused_requests_total",
            "Requests that failed without a row in the activity: no key, no such model, no use of one.",
            ("status",),
        )
        self._registry.add(self.refused)

    def _add_spans(self) -> None:
        self.duration = self._histogram(
            "hostler_request_duration_seconds",
            "From the arrival of a request to the end of its answer.",
            REQUEST_BOUNDS,
        )
        self.queue = self._histogram(
            "hostler_queue_wait_seconds",
            "How long a request stood in line, without the time its model was being loaded.",
            FIRST_BOUNDS,
        )
        self.load_wait = self._histogram(
            "hostler_load_wait_seconds",
            "How long a request waited for its model to be loaded; only requests that did.",
            LOAD_BOUNDS,
        )
        self.first_byte = self._histogram(
            "hostler_time_to_first_byte_seconds",
            "From the arrival of a request to the first byte of the engine's answer.",
            FIRST_BOUNDS,
        )
        self.first_token = self._histogram(
            "hostler_time_to_first_token_seconds",
            "From the arrival of a request to the first token of a stream.",
            FIRST_BOUNDS,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        family = Counter(name, text, ("model", *labels))
        family.before_reading = self.settle
        self._registry.add(family)
        return family

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        family = Histogram(name, text, ("model",), bounds=bounds)
        family.before_reading = self.settle
        self._registry.add(family)
        return family

    def look_again(self) -> None:
        """Other models are known now."""
        self.settle()
        self._models.clear()

    def count(self, row: ActivityRow) -> None:
        """Add one finished request."""
        self.count_all((row,))

    def count_all(self, rows: Sequence[ActivityRow]) -> None:
        """Add finished requests. They wait for others of their models, or for who reads the families."""
        models = self._models
        for row in rows:
            series = models.get(row.model)
            if series is None:
                series = self._new_model(row.model)
            series.rows.append(row)
        self._waiting += len(rows)
        if self._waiting >= MAX_WAITING:
            self.settle()

    def settle(self) -> None:
        """Count what waits, if anything does."""
        if self._waiting:
            self._waiting = 0
            self._settle_models()

    def _settle_models(self) -> None:
        for series in self._models.values():
            if series.rows:
                series.settle()

    def _new_model(self, model: str) -> ModelSeries:
        if len(self._models) >= MAX_SERIES:
            self._settle_models()  # also rows that do not count as waiting yet
            self._models.clear()  # only a way to find them; what was counted is in the families
        series = self._models[model] = ModelSeries(self, model if self._known(model) else OTHER)
        return series


class ModelFamilies:
    """What happens to the processes of models; whoever watches them calls the methods."""

    def __init__(self, registry: Registry) -> None:
        model = ("model",)
        self.starts = Counter(
            "hostler_model_starts_total", "Started processes by reason.", ("model", "reason")
        )
        self.stops = Counter("hostler_model_stops_total", "Ended processes by reason.", ("model", "reason"))
        self.evictions = Counter(
            "hostler_model_evictions_total", "Processes stopped to make room for another model.", model
        )
        self.restarts = Counter(
            "hostler_model_restarts_total",
            "Starts of a process after the one before it had crashed or failed.",
            model,
        )
        self.failures = Counter(
            "hostler_model_failures_total",
            "Processes that did not become ready (phase start) or ended by themselves (phase run), by cause.",
            ("model", "phase", "cause"),
        )
        self.causes = Counter(
            "hostler_model_cause_lines_total",
            "Lines of running engines that name a cause of trouble.",
            ("model", "cause"),
        )
        self.loads = Histogram(
            "hostler_model_load_seconds", "From the start of a process to ready.", model, bounds=LOAD_BOUNDS
        )
        self.swaps = Histogram(
            "hostler_model_swap_seconds",
            "From the moment a model had to make room to the moment another was ready.",
            model,
            bounds=LOAD_BOUNDS,
        )
        for family in (
            self.starts, self.stops, self.evictions, self.restarts, self.failures, self.causes, self.loads,
            self.swaps,
        ):  # fmt: skip
            registry.add(family)


class ModelNow(Protocol):
    """One model as it is now."""

    @property
    def model(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def active(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def memory(self) -> int | None: ...
    @property
    def gpu_memory(self) -> int | None: ...


class LogNow(Protocol):
    """One log as it is now."""

    @property
    def log(self) -> str: ...
    @property
    def written(self) -> int: ...
    @property
    def gaps(self) -> int: ...
    @property
    def gap_bytes(self) -> int: ...
    @property
    def followers(self) -> int: ...


class LiveSource(Protocol):
    """Where the numbers come from that are only looked at when somebody asks."""

    def models(self) -> Iterable[ModelNow]:
        """Every configured model."""
        ...

    def logs(self) -> Iterable[LogNow]:
        """Every log."""
        ...

    def internals(self) -> Iterable[tuple[str, float]]:
        """Values by the names in `INTERNALS`."""
        ...


INTERNALS = {
    "hostler_inflight_requests": ("gauge", "Requests that are being served or wait."),
    "hostler_event_listeners": ("gauge", "Listeners of the event streams."),
    "hostler_events_total": ("counter", "Events published."),
    "hostler_activity_lost_total": ("counter", "Finished requests that could not be recorded."),
    "hostler_captures_bytes": ("gauge", "Memory that captures use, those of running requests included."),
    "hostler_captures_skipped_total": (
        "counter",
        "Captures that were not kept: no room, or too many at once.",
    ),
}


class LiveFamilies:
    """Gauges that are read when the page is asked for."""

    def __init__(self, registry: Registry, live: LiveSource) -> None:
        self._registry = registry
        self._live = live
        registry.add(
            Gauge(
                "hostler_model_state",
                "1 for the state a model is in.",
                ("model", "state"),
                read=self._states,
            )
        )
        self._model("hostler_active_requests", "Requests a model is serving.", lambda m: m.active)
        self._model("hostler_queue_depth", "Requests that wait for a model.", lambda m: m.waiting)
        self._model(
            "hostler_model_resident_memory_bytes",
            "Resident memory of a model's processes.",
            lambda m: m.memory,
        )
        self._model(
            "hostler_model_gpu_memory_bytes",
            "GPU memory of a model's processes, where the driver tells.",
            lambda m: m.gpu_memory,
        )
        self._log("hostler_log_bytes_total", "Bytes written to a log.", lambda log: log.written)
        self._log("hostler_log_gaps_total", "Gaps that readers were told of.", lambda log: log.gaps)
        self._log(
            "hostler_log_gap_bytes_total",
            "Bytes that readers were told they missed.",
            lambda log: log.gap_bytes,
        )
        self._log("hostler_log_followers", "Readers that wait for a log.", lambda log: log.followers)
        for name, (kind, text) in INTERNALS.items():
            registry.add(Gauge(name, text, read=_internal(live, name), counter=kind == "counter"))

    def _states(self) -> Pairs:
        for model in self._live.models():
            now = "stopped" if model.state == "shutdown" else model.state
            for state in STATES:
                yield (model.model, state), float(state == now)

    def _model(self, name: str, text: str, pick: Callable[[ModelNow], float | None]) -> None:
        def read() -> Pairs:
            for model in self._live.models():
                value = pick(model)
                if value is not None:
                    yield (model.model,), value

        self._registry.add(Gauge(name, text, ("model",), read=read))

    def _log(self, name: str, text: str, pick: Callable[[LogNow], float]) -> None:
        def read() -> Pairs:
            return (((log.log,), pick(log)) for log in self._live.logs())

        self._registry.add(Gauge(name, text, ("log",), read=read, counter=name.endswith("_total")))


def _internal(live: LiveSource, name: str) -> Callable[[], Pairs]:
    return lambda: (((), value) for key, value in live.internals() if key == name)
