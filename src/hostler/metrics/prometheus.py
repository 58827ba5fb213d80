"""The metrics that llama-swap has, under its names: the newest sample of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hostler.metrics.performance import PerformanceMonitor
from hostler.metrics.registry import Gauge, Labels, Registry
from hostler.metrics.samples import GpuSample, SystemSample

Pairs = Iterable[tuple[Labels, float]]

SYSTEM = (
    ("llamaswap_memory_total_bytes", "Memory of the machine.", lambda s: s.memory_total),
    ("llamaswap_memory_used_bytes", "Memory in use.", lambda s: s.memory_used),
    ("llamaswap_memory_free_bytes", "Memory that programs could get.", lambda s: s.memory_free),
    ("llamaswap_swap_total_bytes", "Swap space of the machine.", lambda s: s.swap_total),
    ("llamaswap_swap_used_bytes", "Swap space in use.", lambda s: s.swap_used),
)
GPU = (
    ("llamaswap_gpu_temperature_celsius", "Temperature of a GPU.", lambda g: g.temperature),
    ("llamaswap_gpu_vram_temperature_celsius", "Temperature of GPU memory.", lambda g: g.memory_temperature),
    ("llamaswap_gpu_util_percent", "How busy a GPU is.", lambda g: g.busy_percent),
    ("llamaswap_gpu_memory_util_percent", "Used of a GPU's memory.", lambda g: g.memory_percent),
    ("llamaswap_gpu_memory_used_bytes", "Memory of a GPU in use.", lambda g: g.memory_used),
    ("llamaswap_gpu_memory_total_bytes", "Memory of a GPU.", lambda g: g.memory_total),
    ("llamaswap_gpu_fan_speed_percent", "Speed of a GPU's fan.", lambda g: g.fan_percent),
    ("llamaswap_gpu_power_draw_watts", "Power that a GPU draws.", lambda g: g.power),
)  # fmt: skip


def add_machine(registry: Registry, monitor: PerformanceMonitor) -> None:
    """Add the families of the machine; without a sample they are empty."""

    def system(pick: Callable[[SystemSample], Pairs]) -> Callable[[], Pairs]:
        def read() -> Pairs:
            latest = monitor.latest()
            return pick(latest.system) if latest is not None else ()

        return read

    def single(pick: Callable[[SystemSample], float]) -> Callable[[], Pairs]:
        return system(lambda sample: [((), pick(sample))])

    registry.add(Gauge("llamaswap_cpu_util_percent", "How busy a core is.", ("core",), read=system(_cores)))
    for name, text, pick in SYSTEM:
        registry.add(Gauge(name, text, read=single(pick)))
    registry.add(
        Gauge("llamaswap_load_average", "Load average of the machine.", ("interval",), read=system(_loads))
    )
    registry.add(
        Gauge(
            "llamaswap_network_bytes_total",
            "Bytes that went over a network interface.",
            ("interface", "direction"),
            read=system(_network),
            counter=True,
        )
    )
    for name, text, gpu_value in GPU:
        registry.add(Gauge(name, text, ("id", "name", "uuid"), read=_gpus(monitor, gpu_value)))
    registry.add(
        Gauge(
            "hostler_disk_bytes_total",
            "Bytes read from and written to the disks of the machine.",
            ("direction",),
            read=system(lambda s: [(("read",), s.disk[0]), (("written",), s.disk[1])]),
            counter=True,
        )
    )


def _cores(sample: SystemSample) -> Pairs:
    return [((str(core),), busy) for core, busy in enumerate(sample.cpu_percent)]


def _loads(sample: SystemSample) -> Pairs:
    return [((interval,), load) for interval, load in zip(("1m", "5m", "15m"), sample.load, strict=True)]


def _network(sample: SystemSample) -> Pairs:
    for name, (received, sent) in sample.network.items():
        yield (name, "recv"), received
        yield (name, "sent"), sent


def _gpus(monitor: PerformanceMonitor, pick: Callable[[GpuSample], float | None]) -> Callable[[], Pairs]:
    def read() -> Pairs:
        latest = monitor.latest()
        for gpu in latest.gpus if latest is not None else ():
            value = pick(gpu)
            if value is not None:
                yield (str(gpu.index), gpu.name, gpu.uuid), value

    return read
