"""What must hold: what cannot be read is unknown and never an error, and what dies is taken up again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hostler.clock import ManualClock
from hostler.metrics.gpu_amd import AmdCards
from hostler.metrics.gpu_nvml import Nvml
from hostler.metrics.gpu_source import RETRY_SECONDS, Gpus, SourceFailed
from hostler.metrics.gpu_tools import (
    NVIDIA,
    ROCM,
    Tool,
    parse_ioreg,
    parse_nvidia,
    parse_rocm,
    parse_xpu,
)
from hostler.metrics.hardware import describe, memory_bytes
from hostler.metrics.performance import PerformanceMonitor, shape
from hostler.metrics.prometheus import add_machine
from hostler.metrics.registry import Registry
from hostler.metrics.samples import MIB, GpuSample, SystemSampler, tree_memory

NVIDIA_TEXT = """0, NVIDIA GeForce RTX 3090, GPU-aaa, 65, 98, 23000, 24576, 70, 340.50
1, Tesla P40, GPU-bbb, 40, 0, 10, 24576, [N/A], [Not Supported]
"""
ROCM_TEXT = """WARNING: something

device,GPU ID,Temperature (Sensor edge) (C),Temperature (Sensor junction) (C),\
Temperature (Sensor memory) (C),Fan speed (level),Fan speed (%),\
Average Graphics Package Power (W),GPU use (%),VRAM Total Memory (B),\
VRAM Total Used Memory (B),Card series,Card model
card0,0x744c,45.0,50.0,60.0,51,20.0,98.0,33,25753026560,1073741824,Radeon RX 7900 XTX,0x0e3b
system,,,,,,,,,,,,
"""


def card(root: Path, number: int, **files: str) -> Path:
    """A card as the kernel shows it."""
    device = root / f"card{number}" / "device"
    plain = {
        "vendor": "0x1002",
        "device": "0x744c",
        "mem_info_vram_total": str(24 * 1024 * MIB),
        "mem_info_vram_used": str(6 * 1024 * MIB),
        "gpu_busy_percent": "42",
        "unique_id": "abcdef",
        "hwmon/hwmon3/temp1_input": "55000",
        "hwmon/hwmon3/temp1_label": "edge",
        "hwmon/hwmon3/temp3_input": "70000",
        "hwmon/hwmon3/temp3_label": "mem",
        "hwmon/hwmon3/power1_average": "180000000",
        "hwmon/hwmon3/pwm1": "51",
        "hwmon/hwmon3/pwm1_max": "255",
    }
    for name, text in {**plain, **files}.items():
        path = device / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return device


def test_amd_cards(tmp_path: Path) -> None:
    card(tmp_path, 1)
    card(tmp_path, 0, vendor="0x8086")
    (tmp_path / "card1-DP-1").mkdir()
    cards = AmdCards.open(tmp_path)

    assert cards is not None
    (found,) = cards.sample()
    assert found == GpuSample(
        index=0, name="AMD GPU 0x744c", uuid="abcdef", temperature=55.0, memory_temperature=70.0,
        busy_percent=42.0, memory_used=6 * 1024 * MIB, memory_total=24 * 1024 * MIB, fan_percent=20.0,
        power=180.0,
    )  # fmt: skip
    assert found.memory_percent == 25.0


def test_an_amd_card_that_says_little(tmp_path: Path) -> None:
    device = card(tmp_path, 0)
    shutil.rmtree(device / "hwmon")
    (device / "gpu_busy_percent").unlink()
    cards = AmdCards.open(tmp_path)
    assert cards is not None
    (found,) = cards.sample()

    assert (found.temperature, found.busy_percent, found.fan_percent, found.power) == (None, None, None, None)
    shutil.rmtree(tmp_path / "card0")
    with pytest.raises(SourceFailed):
        cards.sample()
    assert AmdCards.open(tmp_path) is None
    assert AmdCards.open(tmp_path / "gone") is None


def test_the_tools_output() -> None:
    first, second = parse_nvidia(NVIDIA_TEXT)
    assert (first.name, first.uuid, first.memory_used, first.power) == (
        "NVIDIA GeForce RTX 3090", "GPU-aaa", 23000 * MIB, 340.5,
    )  # fmt: skip
    assert (second.fan_percent, second.power, second.busy_percent) == (None, None, 0.0)
    (amd,) = parse_rocm(ROCM_TEXT)
    assert (amd.index, amd.name, amd.temperature, amd.memory_temperature) == (
        0,
        "Radeon RX 7900 XTX",
        45.0,
        60.0,
    )
    assert (amd.busy_percent, amd.memory_used, amd.fan_percent, amd.power) == (33.0, 1 << 30, 20.0, 98.0)
    assert parse_nvidia("NVIDIA-SMI has failed\n") == []
    assert parse_rocm("") == []


XPU_TEXT = """Timestamp, DeviceId, GPU Utilization (%), GPU Power (W), \
GPU Core Temperature (Celsius Degree), GPU Memory Temperature (Celsius Degree), GPU Memory Used (MiB)
08:08:16.817,    0,  N/A, 281.13, 35.50, 31.50, 1024.50
08:08:16.817,    1,  42.00, N/A, 37.50,  N/A,  N/A
"""
IOREG_TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><array><dict>
<key>model</key><string>Apple M2 Max</string>
<key>PerformanceStatistics</key><dict>
<key>Device Utilization %</key><integer>17</integer>
<key>In use system memory</key><integer>734003200</integer>
</dict></dict><dict><key>model</key><string>no statistics</string></dict></array></plist>
"""


def test_other_tools() -> None:
    assert parse_xpu(XPU_TEXT) == [
        GpuSample(
            index=0,
            name="Intel GPU 0",
            temperature=35.5,
            memory_temperature=31.5,
            memory_used=2049 * MIB // 2,
            power=281.13,
        ),
        GpuSample(index=1, name="Intel GPU 1", temperature=37.5, busy_percent=42.0),
    ]
    assert parse_ioreg(IOREG_TEXT) == [
        GpuSample(index=0, name="Apple M2 Max", busy_percent=17.0, memory_used=700 * MIB)
    ]
    for text in ("", "no list", "<plist", "<plist><dict/></plist>"):
        assert parse_xpu(text) == parse_ioreg(text) == []


def script(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_tool_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").write_text(NVIDIA_TEXT)
    path = script(tmp_path, "nvidia-smi", f"exec cat {tmp_path}/out")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    gpus = Gpus([(lambda: Tool.open(NVIDIA, parse_nvidia),), (lambda: Tool.open(ROCM, parse_rocm),)])
    assert len(gpus.sample(0.0)) == 2

    script(tmp_path, "nvidia-smi", "exit 1")
    assert gpus.sample(5.0) == []
    path.unlink()
    assert gpus.sample(RETRY_SECONDS) == []
    script(tmp_path, "nvidia-smi", f"exec cat {tmp_path}/out")
    assert gpus.sample(RETRY_SECONDS + 1) == []
    assert len(gpus.sample(2 * RETRY_SECONDS)) == 2
    gpus.close()


def test_two_vendors_are_numbered_through(tmp_path: Path) -> None:
    card(tmp_path, 0)
    gpus = Gpus([(lambda: AmdCards.open(tmp_path),), (lambda: AmdCards.open(tmp_path),)])

    assert [gpu.index for gpu in gpus.sample(0.0)] == [0, 1]


class FakeNvml:
    """The part of pynvml that is used, for two GPUs: one without a fan, and without memory of its own."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801 - its name there
        pass

    class NVMLError_NoPermission(NVMLError):  # noqa: N801 - its name there
        pass

    NVML_TEMPERATURE_GPU = 0
    dead = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        values: dict[str, Any] = {
            "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=10, total=40), "nvmlDeviceGetName": b"Card",
            "nvmlDeviceGetUUID": "GPU-1", "nvmlDeviceGetTemperature": 50, "nvmlDeviceGetPowerUsage": 250_000,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=7),
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=3, usedGpuMemory=9)],
            "nvmlDeviceGetGraphicsRunningProcesses": [
                SimpleNamespace(pid=3, usedGpuMemory=9), SimpleNamespace(pid=4, usedGpuMemory=5),
                SimpleNamespace(pid=5, usedGpuMemory=None),
            ],
        }  # fmt: skip
        refused = {"FanSpeed": self.NVMLError_NotSupported, "MemoryInfo": self.NVMLError_NotSupported,
                   "GraphicsRunningProcesses": self.NVMLError_NoPermission}  # fmt: skip

        def call(*arguments: Any) -> Any:
            if self.dead:
                raise self.NVMLError("GPU is lost")
            if name == "nvmlDeviceGetHandleByIndex":
                return arguments[0]
            if arguments[:1] == (1,) and name.removeprefix("nvmlDeviceGet") in refused:
                raise refused[name.removeprefix("nvmlDeviceGet")]
            return 30 if name == "nvmlDeviceGetFanSpeed" else values[name]

        return call


def test_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setattr("importlib.import_module", lambda name: nvml)
    source = Nvml.open()
    assert source is not None
    first, second = source.sample()

    assert first == GpuSample(
        index=0, name="Card", uuid="GPU-1", temperature=50, busy_percent=7, memory_used=10, memory_total=40,
        fan_percent=30, power=250.0, processes={3: 9, 4: 5},
    )  # fmt: skip
    assert second == GpuSample(
        index=1, name="Card", uuid="GPU-1", temperature=50, busy_percent=7, power=250.0, processes={3: 9}
    )
    nvml.dead = True
    with pytest.raises(SourceFailed, match="lost"):
        source.sample()
    source.close()
    assert Nvml.open() is None


def test_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    assert Nvml.open() is None


def test_the_monitor_keeps_an_hour_and_its_history_over_changes(tmp_path: Path) -> None:
    card(tmp_path, 0)
    clock = ManualClock()
    monitor = PerformanceMonitor(
        every=5,
        system=SystemSampler(),
        gpus=Gpus([(lambda: AmdCards.open(tmp_path),)]),
        clock=clock,
        enabled=False,
    )
    for _ in range(10):
        monitor.take()
        clock.advance(600)
    assert len(monitor.history()) == 6
    assert monitor.latest() is None

    monitor.enabled = True
    latest = monitor.latest()
    assert latest is not None
    assert monitor.history(after=latest.at) == []
    shown = shape(monitor.history())
    assert len(shown["sys_stats"]) == len(shown["gpu_stats"]) == 6
    assert shown["gpu_stats"][0] | {"timestamp": ""} == {
        "timestamp": "", "id": 0, "name": "AMD GPU 0x744c", "uuid": "abcdef", "temp_c": 55, "vram_temp_c": 70,
        "gpu_util_pct": 42.0, "mem_util_pct": 25.0, "mem_used_mb": 6144, "mem_total_mb": 24576,
        "fan_speed_pct": 20.0, "power_draw_w": 180.0,
    }  # fmt: skip
    assert set(shown["sys_stats"][0]) == {
        "timestamp", "cpu_util_per_core", "mem_total_mb", "mem_used_mb", "mem_free_mb", "swap_total_mb",
        "swap_used_mb", "load_avg_1", "load_avg_5", "load_avg_15", "net_io", "disk_bytes_read",
        "disk_bytes_written",
    }  # fmt: skip
    assert shape([]) == {"enabled": True, "sys_stats": None, "gpu_stats": None}


def test_the_sampler_starts_and_stops() -> None:
    monitor = PerformanceMonitor(every=0.01, enabled=False, gpus=Gpus([]))
    monitor.start()
    assert not sampling(monitor)
    monitor.configure(every=0.01, enabled=True)
    assert sampling(monitor)
    monitor._changed.set()  # the first second is over
    while len(monitor.history()) < 2:
        pass
    monitor.close()
    assert monitor._thread is not None
    monitor._thread.join(5)
    assert not sampling(monitor)


def sampling(monitor: PerformanceMonitor) -> bool:
    return monitor._thread is not None and monitor._thread.is_alive()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_likes_the_machine(tmp_path: Path) -> None:
    card(tmp_path, 0)
    registry = Registry()
    monitor = PerformanceMonitor(every=5, gpus=Gpus([(lambda: AmdCards.open(tmp_path),)]))
    add_machine(registry, monitor)
    monitor.take()
    page = registry.render()
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)

    assert done.returncode == 0 or "llamaswap_" in done.stderr, done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("hostler_")]
    assert (
        f'llamaswap_gpu_memory_total_bytes{{id="0",name="AMD GPU 0x744c",uuid="abcdef"}} {24 * 1024 * MIB}'
        in page
    )
    assert 'llamaswap_load_average{interval="15m"}' in page


def test_the_memory_of_a_tree() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        resident, pids = tree_memory(os.getpid())
        alone, _ = tree_memory(child.pid)
    finally:
        child.kill()
        child.wait()

    assert child.pid in pids
    assert resident > alone > 0
    assert tree_memory(child.pid) == (0, ())


def test_the_hardware(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Debian GNU/Linux"\nVERSION_ID="12"\n')
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "vendor_id\t: AuthenticAMD\nmodel name\t: EPYC\nphysical id\t: 0\n" * 2
    )
    (tmp_path / "proc/meminfo").write_text("MemTotal:       1000 kB\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    gpu = GpuSample(0, "NVIDIA X", "GPU-1", memory_total=5)

    found = describe([gpu], captured_at="now", version="1", root=tmp_path)

    assert found["schema_version"] == 1
    assert found["capture"]["detector"] == {"name": "hostler", "version": "1"}
    assert found["operating_system"]["name"] == "Debian GNU/Linux"
    assert (found["cpu"]["vendor"], found["cpu"]["socket_count"]) == ("AuthenticAMD", 1)
    assert found["memory"] == {"capacity_bytes": 1_024_000}
    assert found["accelerators"][0]["vendor"] == "NVIDIA"
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("5000\n")
    assert memory_bytes(tmp_path) == 5000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) == 1_024_000


def test_this_machine_can_be_described() -> None:
    found = describe([], captured_at="now", version="1")

    assert found["memory"]["capacity_bytes"] > 0
    assert found["cpu"]["logical_thread_count"] > 0
