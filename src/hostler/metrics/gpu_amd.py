"""AMD GPUs through what the kernel shows under /sys/class/drm; no tool and no library is needed."""

from __future__ import annotations

import re
from pathlib import Path

from hostler.metrics.gpu_source import SourceFailed
from hostler.metrics.samples import GpuSample

ROOT = Path("/sys/class/drm")
AMD = "0x1002"
_CARD = re.compile(r"card(\d+)")
# Files of sysfs hold a number or a name.
MAX_BYTES = 4096


class AmdCards:
    """All cards below `root` whose driver tells of memory of their own."""

    name = "amdgpu"

    def __init__(self, cards: list[Path]) -> None:
        self._cards = cards

    @classmethod
    def open(cls, root: Path = ROOT) -> AmdCards | None:
        """Look for cards; None without any."""
        try:
            entries = list(root.iterdir())
        except OSError:
            return None
        numbered = {int(match[1]): entry for entry in entries if (match := _CARD.fullmatch(entry.name))}
        cards = [numbered[number] / "device" for number in sorted(numbered)]
        found = [
            card for card in cards if read(card / "vendor") == AMD and number(card / "mem_info_vram_total")
        ]
        return cls(found) if found else None

    def sample(self) -> list[GpuSample]:
        """Every card; raises SourceFailed when one is gone."""
        return [_one(index, card) for index, card in enumerate(self._cards)]

    def close(self) -> None:
        """Nothing is held."""


def _one(index: int, card: Path) -> GpuSample:
    total = number(card / "mem_info_vram_total")
    if not total:
        raise SourceFailed(f"{card}: the card is gone")
    sensors = _sensors(card)
    power = sensors.get("power1_average", sensors.get("power1_input"))
    return GpuSample(
        index=index,
        name=read(card / "product_name") or f"AMD GPU {read(card / 'device')}".strip(),
        uuid=read(card / "unique_id"),
        temperature=_scaled(sensors.get("edge", sensors.get("temp1_input")), 1000),
        memory_temperature=_scaled(sensors.get("mem"), 1000),
        busy_percent=_scaled(number(card / "gpu_busy_percent"), 1),
        memory_used=number(card / "mem_info_vram_used"),
        memory_total=total,
        fan_percent=_fan(sensors),
        power=_scaled(power, 1_000_000),
    )


def _sensors(card: Path) -> dict[str, int]:
    """The values of the card's hwmon directory; temperatures also by their label (edge, junction, mem)."""
    found: dict[str, int] = {}
    try:
        directories = sorted((card / "hwmon").iterdir())
    except OSError:
        return found
    for directory in directories:
        for name in ("temp1_input", "temp2_input", "temp3_input", "power1_average", "power1_input", "pwm1",
                     "pwm1_max"):  # fmt: skip
            value = number(directory / name)
            if value is None:
                continue
            found.setdefault(name, value)
            label = read(directory / name.replace("_input", "_label")) if name.startswith("temp") else ""
            if label:
                found.setdefault(label, value)
    return found


def _fan(sensors: dict[str, int]) -> float | None:
    if "pwm1" not in sensors:
        return None
    return round(100.0 * sensors["pwm1"] / (sensors.get("pwm1_max") or 255), 1)


def _scaled(value: int | None, divisor: int) -> float | None:
    return None if value is None else value / divisor


def read(path: Path) -> str:
    """The text of a small file; "" when it cannot be read (a card that sleeps says so)."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The number in a small file; None when there is none."""
    try:
        return int(read(path))
    except ValueError:
        return None
