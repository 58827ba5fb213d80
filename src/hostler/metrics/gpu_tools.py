"""GPUs through the command line tools of their vendors, for machines without a better way."""

from __future__ import annotations

import csv
import io
import plistlib
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from xml.parsers.expat import ExpatError

from hostler.metrics.gpu_source import SourceFailed
from hostler.metrics.samples import MIB, GpuSample

# A tool that takes longer hangs in its driver.
TOOL_SECONDS = 5.0
NVIDIA = (
    "nvidia-smi",
    "--query-gpu=index,name,uuid,temperature.gpu,utilization.gpu,memory.used,memory.total,fan.speed,power.draw",
    "--format=csv,noheader,nounits",
)
ROCM = ("rocm-smi", "-i", "-P", "-t", "-f", "-u", "--showmeminfo", "vram", "--showproductname", "--csv")

# Intel: utilization, power, temperatures of core and memory, used memory; of all devices, once.
XPU = ("xpu-smi", "dump", "-d", "-1", "-m", "0,1,3,4,18", "-n", "1")
# Apple: what the driver tells without rights of an administrator.
IOREG = ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator", "-a")


class Tool:
    """A command whose output tells of all GPUs. `open` returns None when it is not there or tells of none."""

    def __init__(self, argv: Sequence[str], parse: Callable[[str], list[GpuSample]]) -> None:
        self.name = argv[0]
        self._argv = argv
        self._parse = parse

    @classmethod
    def open(cls, argv: Sequence[str], parse: Callable[[str], list[GpuSample]]) -> Tool | None:
        """Find the tool and ask it once."""
        if shutil.which(argv[0]) is None:
            return None
        tool = cls(argv, parse)
        try:
            return tool if tool.sample() else None
        except SourceFailed:
            return None

    def sample(self) -> list[GpuSample]:
        """Run it; raises SourceFailed."""
        try:
            done = subprocess.run(
                self._argv, capture_output=True, timeout=TOOL_SECONDS, check=True, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SourceFailed(f"{self.name}: {error}") from error
        return self._parse(done.stdout.decode("utf-8", "replace"))

    def close(self) -> None:
        """Nothing is held."""


def parse_nvidia(text: str) -> list[GpuSample]:
    """The lines of nvidia-smi; what it calls `[N/A]` or `[Not Supported]` is None."""
    found = []
    for line in csv.reader(io.StringIO(text), skipinitialspace=True):
        if len(line) != 9 or not line[0].isdigit():
            continue
        used, total = _float(line[5]), _float(line[6])
        found.append(
            GpuSample(
                index=int(line[0]),
                name=line[1],
                uuid=line[2],
                temperature=_float(line[3]),
                busy_percent=_float(line[4]),
                memory_used=None if used is None else int(used * MIB),
                memory_total=None if total is None else int(total * MIB),
                fan_percent=_float(line[7]),
                power=_float(line[8]),
            )
        )
    return found


def parse_rocm(text: str) -> list[GpuSample]:
    """The table of rocm-smi; the titles of its columns differ between versions, so they are searched."""
    found = []
    lines = [line for line in text.splitlines() if "," in line]
    for line in csv.DictReader(lines):
        device = line.get("device") or ""
        if not device.startswith("card") or not device[4:].isdigit():
            continue
        used, total = _column(line, "vram total used"), _column(line, "vram total memory")
        found.append(
            GpuSample(
                index=int(device[4:]),
                name=_text(line, "card series") or _text(line, "card model") or device,
                uuid=_text(line, "unique id"),
                temperature=_column(line, "sensor edge"),
                memory_temperature=_column(line, "sensor memory"),
                busy_percent=_column(line, "gpu use"),
                memory_used=None if used is None else int(used),
                memory_total=None if total is None else int(total),
                fan_percent=_column(line, "fan speed (%)"),
                power=_column(line, "power (w)"),
            )
        )
    return found


def parse_xpu(text: str) -> list[GpuSample]:
    """The table of xpu-smi; what a device does not tell is `N/A`."""
    found = []
    lines = (line for line in text.splitlines() if "," in line)
    for line in csv.DictReader(lines, skipinitialspace=True):
        device, used = _text(line, "deviceid"), _column(line, "memory used (mib)")
        if not device.isdigit():
            continue
        found.append(
            GpuSample(
                index=int(device),
                name=f"Intel GPU {device}",
                temperature=_column(line, "core temperature"),
                memory_temperature=_column(line, "memory temperature"),
                busy_percent=_column(line, "gpu utilization"),
                memory_used=None if used is None else int(used * MIB),
                power=_column(line, "power (w)"),
            )
        )
    return found


def parse_ioreg(text: str) -> list[GpuSample]:
    """The property list of ioreg. The memory is the machine's own: what of it the GPU uses is told."""
    try:
        entries = plistlib.loads(text.encode())
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        return []
    found: list[GpuSample] = []
    for entry in entries if isinstance(entries, list) else []:
        told = entry.get("PerformanceStatistics") if isinstance(entry, dict) else None
        if not isinstance(told, dict):
            continue
        busy, used = told.get("Device Utilization %"), told.get("In use system memory")
        model = entry.get("model", b"")
        found.append(
            GpuSample(
                index=len(found),
                name=(model if isinstance(model, str) else bytes(model).decode("utf-8", "replace")).strip(
                    "\0"
                )
                or "Apple GPU",
                busy_percent=float(busy) if isinstance(busy, int) else None,
                memory_used=used if isinstance(used, int) else None,
            )
        )
    return found


def _text(line: Mapping[str, str], title: str) -> str:
    for name, value in line.items():
        # A line that is too long or too short has None for a name or a value.
        if title in str(name).lower():
            return str(value).strip()
    return ""


def _column(line: Mapping[str, str], title: str) -> float | None:
    return _float(_text(line, title))


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
