"""`python -m bench.suite`: measures every subject in alternating rounds and writes a table."""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from bench import alone, machine, picture, swap
from bench.bars import verdict
from bench.lab import Lab, lab
from bench.measurements import MEASUREMENTS, Figures, single
from bench.processes import ROOT, end_on_signals, environment

SECONDS: Final = 6.0
ALONE: Final = ("memory", "starts", "swaps", "logs")
# Of these the part that a subject adds to `direct` is said as well.
DELAYS: Final = (
    "us_p50", "us_p99", "us_to_first_byte_p50", "us_to_first_byte_p99", "us_per_paced_chunk_p50",
    "us_per_paced_chunk_p99",
)  # fmt: skip


def measure(at: Lab, names: list[str], rounds: int, seconds: float) -> dict[str, Figures]:
    """Every measurement on every subject; figures are medians over the rounds."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for subject in at.subjects:
        single(subject, at, seconds)  # the first one starts the model
    for number in range(rounds):
        for name in names:
            turn = number % len(at.subjects)
            for subject in at.subjects[turn:] + at.subjects[:turn]:
                say(f"round {number + 1}/{rounds}: {name}, {subject.name}")
                for figure, value in MEASUREMENTS[name](subject, at, seconds).items():
                    found[subject.name][figure].append(value)
    table = {name: {key: statistics.median(v) for key, v in each.items()} for name, each in found.items()}
    add_delays(table)
    return table


def add_delays(table: dict[str, Figures]) -> None:
    """What each subject adds to `direct`."""
    direct = table.get("direct", {})
    for name, figures in table.items():
        if name != "direct":
            for key in DELAYS:
                if key in figures and key in direct:
                    figures["added_" + key] = figures[key] - direct[key]


def measure_alone(at: Lab, names: list[str], table: dict[str, Figures]) -> list[str]:
    """Add what is measured on Hostler by itself to `table`; returns what else there is to say."""
    ours = table.setdefault("hostler", {})
    notes: list[str] = []
    for name in names:
        say(f"hostler alone: {name}")
        if name == "memory":
            for subject, figures in alone.memory(at).items():
                table.setdefault(subject, {}).update(figures)
        elif name == "starts":
            figures, heaviest = alone.imports()
            ours |= alone.starts(at) | figures
            notes.append(f"Heaviest imports, ms of their own: {', '.join(heaviest)}.")
        elif name == "swaps":
            ours |= swap.swaps(at)
        else:
            figures, text = logs()
            ours |= figures
            notes.append(text)
    return notes


def logs() -> tuple[Figures, str]:
    """The figures of the log's own benchmarks, which are programs of their own as well."""
    micro = subprocess.run([sys.executable, "-m", "bench.logs_micro"], env=environment(), cwd=ROOT,
                           stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    flood = importlib.import_module("bench.logs_flood")
    figures: Figures = flood.measure()
    return figures, f"```text\n{micro.stdout.rstrip()}\n```"


def say(text: str) -> None:
    """To whoever waits."""
    print(text, file=sys.stderr, flush=True)


def markdown(table: dict[str, Figures]) -> str:
    """The table as people read it; bars are Hostler's."""
    names = list(table)
    figures = sorted({figure for each in table.values() for figure in each})
    lines = [f"| figure | {' | '.join(names)} | hostler / nginx | bar |", "|---" * (len(names) + 3) + "|"]
    for figure in figures:
        values = [table[name].get(figure) for name in names]
        ours, reference = table["hostler"].get(figure), table.get("nginx", {}).get(figure)
        ratio = f"{ours / reference:.2f}" if ours is not None and reference else ""
        said = verdict(figure, ours, reference) if ours is not None else ""
        cells = [f"{value:,.2f}" if value is not None else "" for value in values]
        lines.append(f"| `{figure}` | {' | '.join(cells)} | {ratio} | {said} |")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    options = _options()
    end_on_signals()
    machine.allow_many_files()
    rounds, seconds = (1, 2.0) if options.quick else (options.rounds, SECONDS)
    names = options.only or [*MEASUREMENTS, *ALONE]
    try:
        with lab() as at:
            table = measure(at, [name for name in names if name in MEASUREMENTS], rounds, seconds)
            notes = measure_alone(at, [name for name in names if name in ALONE], table)
    except FileNotFoundError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    described = machine.description()
    print(", ".join(f"{key}: {value}" for key, value in described.items()), end="\n\n")
    print("\n\n".join([markdown(table), *notes]))
    if options.json:
        kept = {"machine": described, "figures": table}
        options.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    if options.svg:
        options.svg.write_text(picture.svg(table), encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*MEASUREMENTS, *ALONE], metavar="WHAT",
                        help=f"some of: {', '.join([*MEASUREMENTS, *ALONE])}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, short: for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the picture there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
