"""What Hostler's figures have to be: against nginx's of the same run, or plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Bar:
    """A bound, from above unless it is `at_least`: `times` nginx's figure `plus` some, or `number`."""

    times: float | None = None
    plus: float = 0.0
    number: float | None = None
    at_least: bool = False

    def bound(self, reference: float | None) -> float | None:
        """The number it comes to; None where there is no reference to compare with."""
        if self.times is None:
            return self.number
        return self.times * reference + self.plus if reference is not None else None

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        if self.times is None:
            return f"{sign} {self.number:g}"
        text = "nginx's" if self.times == 1 else f"{self.times:g} × nginx's"
        return f"{sign} {text}" + (f" + {self.plus:g}" if self.plus else "")


BARS: Final[dict[str, Bar]] = {
    "cpu_us_per_request": Bar(times=4),
    "cpu_us_per_request_python": Bar(times=4),
    "requests_per_second": Bar(times=0.5, at_least=True),
    "requests_per_second_python": Bar(times=0.5, at_least=True),
    "cpu_us_per_paced_chunk": Bar(times=1.5),
    "cpu_us_per_fast_chunk": Bar(times=2),
    "added_us_p50": Bar(number=150),
    "added_us_per_paced_chunk_p50": Bar(number=120),
    "added_us_per_paced_chunk_p99": Bar(times=1, plus=500),
    "cpu_ms_per_5_mb": Bar(number=14),
    "mb_idle": Bar(number=40),
    "mb_after_100000_requests": Bar(number=45),
    "mb_with_1000_streams": Bar(number=70),
    "cold_start_ms": Bar(number=300),
    "help_ms": Bar(number=100),
    "swap_ready_to_first_byte_ms": Bar(number=10),
    "swap_ready_to_first_byte_ms_answering": Bar(number=10),
    "swap_gone_to_spawned_ms": Bar(number=10),
    "log_drain_of_cat_memory": Bar(number=0.6, at_least=True),
    "log_drain_of_cat_files": Bar(number=0.6, at_least=True),
    "log_cpu_s_per_gb_memory": Bar(number=0.8),
    "log_cpu_s_per_gb_files": Bar(number=2),
    "log_followers_received_percent": Bar(number=100, at_least=True),
}


def verdict(figure: str, ours: float, reference: float | None) -> str:
    """The bar and whether it is met, in words; "" where there is none."""
    bar = BARS.get(figure)
    bound = bar.bound(reference) if bar is not None else None
    if bar is None or bound is None:
        return ""
    met = ours >= bound if bar.at_least else ours <= bound
    return f"{bar}: {'met' if met else 'not met'}"
