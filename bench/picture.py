"""The one picture of the suite: Hostler's figures as multiples of nginx's, beside their bars, as SVG."""

from __future__ import annotations

from html import escape
from typing import Final

from bench.bars import BARS

WIDTH: Final = 720
LEFT: Final = 250  # where the columns begin
RIGHT: Final = 110  # room for what is written behind a column
ROW: Final = 34
TOP: Final = 44
SHOWN: Final = {
    "cpu_us_per_request": "CPU per small request",
    "cpu_us_per_request_python": "the same, upstream in Python",
    "cpu_us_per_paced_chunk": "CPU per chunk, 64 streams at 20 ms",
    "cpu_us_per_fast_chunk": "CPU per chunk at full speed",
    "cpu_ms_per_5_mb": "CPU per 5 MB question",
    "added_us_p50": "latency added, one connection",
    "added_us_to_first_byte_p50": "time to first byte added",
    "added_us_per_paced_chunk_p50": "latency added to a chunk",
}
TITLE: Final = "Hostler beside nginx (1.0 is nginx; less is better)"
HOSTLER, OTHER, BAR, TEXT = "#2f6f4f", "#b9c4bd", "#c0392b", "#222"


def svg(table: dict[str, dict[str, float]]) -> str:
    """The picture of a table of figures by subject; figures without nginx's are left out."""
    ours, nginx, haproxy = (table.get(name, {}) for name in ("hostler", "nginx", "haproxy"))
    figures = [figure for figure in SHOWN if figure in ours and nginx.get(figure, 0) > 0]
    rows = [
        (SHOWN[figure], ours[figure] / nginx[figure], _part(haproxy, nginx, figure), _bar(figure, nginx))
        for figure in figures
    ]
    most = max([1.0, *(max(ratio, bar or 0) for _, ratio, _, bar in rows)])
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"',
        f'font-size="13" fill="{TEXT}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold">{TITLE}</text>',
    ]
    for number, row in enumerate(rows):
        parts += _row(TOP + ROW * number, scale, *row)
    one = LEFT + scale
    bottom = TOP + ROW * len(rows)
    parts.append(f'<line x1="{one:.1f}" y1="{TOP - 6}" x2="{one:.1f}" y2="{bottom}" stroke="#777"/>')
    parts.append(
        f'<text x="{LEFT}" y="{bottom + 20}" font-size="12">'
        f'<tspan fill="{HOSTLER}">■</tspan> Hostler  <tspan fill="{OTHER}">■</tspan> haproxy  '
        f'<tspan fill="{BAR}">┃</tspan> bar  │ nginx</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _row(
    y: int, scale: float, name: str, ratio: float, haproxy: float | None, bar: float | None
) -> list[str]:
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{y + 2}" width="{ratio * scale:.1f}" height="14" fill="{HOSTLER}"/>',
    ]
    behind = f"{ratio:.1f}"
    if haproxy is not None:
        parts.append(
            f'<rect x="{LEFT}" y="{y + 17}" width="{haproxy * scale:.1f}" height="6" fill="{OTHER}"/>'
        )
    at = ratio
    if bar is not None:
        x = LEFT + bar * scale
        parts.append(f'<rect x="{x - 1:.1f}" y="{y}" width="3" height="24" fill="{BAR}"/>')
        behind += f" (bar {bar:.1f})"
        at = max(ratio, bar)
    parts.append(f'<text x="{LEFT + at * scale + 8:.1f}" y="{y + 15}">{behind}</text>')
    return parts


def _part(haproxy: dict[str, float], nginx: dict[str, float], figure: str) -> float | None:
    return max(0.0, haproxy[figure] / nginx[figure]) if figure in haproxy else None


def _bar(figure: str, nginx: dict[str, float]) -> float | None:
    bound = BARS[figure].bound(nginx[figure]) if figure in BARS else None
    return bound / nginx[figure] if bound is not None else None
