"""What Hostler's figures may be at most: times nginx's of the same run, or plain numbers."""

from __future__ import annotations

from typing import Final

# figure: (bar as a multiple of nginx's figure, or None; bar as a number, or None)
BARS: Final[dict[str, tuple[float | None, float | None]]] = {
    "cpu_us_per_request": (4.0, None),
    "cpu_us_per_paced_chunk": (1.5, None),
    "cpu_us_per_fast_chunk": (2.0, None),
    "added_us_p50": (None, 150.0),
    "added_us_per_paced_chunk_p50": (None, 120.0),
    "cpu_ms_per_5_mb": (None, 14.0),
    "idle_mb": (None, 40.0),
    "loaded_mb": (None, 45.0),
    "cold_start_ms": (None, 300.0),
    "help_ms": (None, 100.0),
}


def verdict(figure: str, ours: float, reference: float | None) -> str:
    """The bar and whether it is met, in words; "" where there is none."""
    times, number = BARS.get(figure, (None, None))
    if times is not None and reference:
        return f"≤ {times:g} × nginx: {'met' if ours <= times * reference else 'not met'}"
    if number is not None:
        return f"≤ {number:g}: {'met' if ours <= number else 'not met'}"
    return ""
