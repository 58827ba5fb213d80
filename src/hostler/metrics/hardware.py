"""A description of this machine, taken once: what llama-swap shows under /api/hardware. Unknown is null."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hostler.metrics.samples import GpuSample

ARCHITECTURES = {
    "x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "armv7",
    "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip
FAMILIES = {"Linux": "linux", "Darwin": "macos", "Windows": "windows", "FreeBSD": "freebsd"}
VENDORS = {"AMD": "AMD", "RADEON": "AMD", "INTEL": "Intel", "APPLE": "Apple"}
# Limits of control groups above this mean none.
NO_LIMIT = 1 << 60
VIRTUAL = re.compile(
    r"kvm|qemu|vmware|virtualbox|xen|bochs|hyper-v|virtual machine|amazon ec2|google compute", re.I
)


def describe(
    gpus: Sequence[GpuSample], *, captured_at: str, version: str, root: Path = Path("/")
) -> dict[str, Any]:
    """The machine; `root` is where its files are looked for."""
    machine = platform.machine()
    return {
        "schema_version": 1,
        "captured_at": captured_at,
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "hostler", "version": version},
        },
        "architecture": {"name": ARCHITECTURES.get(machine.lower(), "other"), "raw_name": machine or None},
        "operating_system": _system(root),
        "environment": _environment(root),
        "cpu": _cpu(root),
        "memory": {"capacity_bytes": memory_bytes(root)},
        "accelerators": [_accelerator(gpu) for gpu in gpus],
    }


def _system(root: Path) -> dict[str, Any]:
    name = platform.system()
    family = FAMILIES.get(name, "other")
    release = _os_release(root) if family == "linux" else {}
    version = platform.mac_ver()[0] if family == "macos" else platform.version()
    found: dict[str, Any] = {
        "family": family,
        "name": release.get("NAME") or name or None,
        "version": release.get("VERSION_ID") if family == "linux" else version or None,
        "kernel": platform.release() or None,
    }
    if family == "other":
        found["raw_family"] = name
    return found


def _os_release(root: Path) -> dict[str, str]:
    lines = _read(root / "etc/os-release").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip().strip('"') for key, _, value in pairs}


def _environment(root: Path) -> dict[str, Any]:
    """Container before virtual machine: the inner one is what limits."""
    if "microsoft" in _read(root / "proc/sys/kernel/osrelease").lower():
        return {"kind": "wsl", "name": "WSL", "version": None}
    for marker, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / marker).exists():
            return {"kind": "container", "name": name, "version": None}
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return {"kind": "container", "name": "kubernetes", "version": None}
    product = _read(root / "sys/class/dmi/id/product_name") or _read(root / "sys/class/dmi/id/sys_vendor")
    if VIRTUAL.search(product):
        return {"kind": "virtual_machine", "name": product, "version": None}
    if platform.system() != "Linux":
        return {"kind": "unknown", "name": None, "version": None}
    return {"kind": "native", "name": None, "version": None}


def _cpu(root: Path) -> dict[str, Any]:
    import psutil

    text = _read(root / "proc/cpuinfo")
    sockets = set(re.findall(r"^physical id\s*:\s*(\d+)", text, flags=re.M))
    return {
        "vendor": _field(text, "vendor_id"),
        "model": _field(text, "model name") or platform.processor() or None,
        "socket_count": len(sockets) or None,
        "physical_core_count": psutil.cpu_count(logical=False),
        "logical_thread_count": psutil.cpu_count(),
    }


def _field(text: str, name: str) -> str | None:
    match = re.search(rf"^{name}\s*:\s*(.+)$", text, flags=re.M)
    return match[1].strip() if match else None


def memory_bytes(root: Path) -> int | None:
    """Memory of the machine, or of the control group that limits us."""
    match = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), flags=re.M)
    if match:
        total = int(match[1]) * 1024
    else:
        import psutil

        total = psutil.virtual_memory().total
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _read(root / name)
        if limit.isdigit() and int(limit) < NO_LIMIT:
            return min(total, int(limit))
    return total


def _accelerator(gpu: GpuSample) -> dict[str, Any]:
    name = gpu.name.upper()
    vendor = next((vendor for begin, vendor in VENDORS.items() if name.startswith(begin)), None)
    return {
        "index": gpu.index,
        "kind": "gpu",
        "vendor": vendor or ("NVIDIA" if gpu.uuid.startswith("GPU-") else None),
        "model": gpu.name or None,
        "architecture": None,
        "memory": {
            "kind": "dedicated" if gpu.memory_total else "unknown",
            "capacity_bytes": gpu.memory_total,
        },
        "driver": None,
        "power_limit_watts": None,
    }


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(262_144).decode("utf-8", "replace").strip()  # cpuinfo of a large machine
    except OSError:
        return ""
