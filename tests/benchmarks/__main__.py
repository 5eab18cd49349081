"""``python -m tests.benchmarks [section ...] [--quick | --full] [--check] [--device cuda]``."""

from __future__ import annotations

import argparse
import inspect
import platform
import sys
from collections.abc import Callable, Iterator

import torch

import nbcnnviz
from tests.benchmarks import api, dataset, explorer, features, front, judging, live, methods, synthesis, watching
from tests.benchmarks.table import Row, show

# Each yields tables as (title, rows), given how many rounds to measure, and a device if it takes one.
SECTIONS: dict[str, Callable[..., Iterator[tuple[str, list[Row]]]]] = {
    "api": api.tables,
    "explorer": explorer.tables,
    "front": front.tables,
    "features": features.tables,
    "synthesis": synthesis.tables,
    "live": live.tables,
    "watching": watching.tables,
    "dataset": dataset.tables,
    "judging": judging.tables,
    "methods": methods.tables,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure nbcnnviz beside other tools and its own bounds: ratios within one run on this machine.",
    )
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; default: all")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", dest="rounds", action="store_const", const=7, help="7 rounds: some minutes")
    length.add_argument("--full", dest="rounds", action="store_const", const=40, help="40 rounds: steadier figures")
    parser.add_argument("--device", default="cpu", help="where the section 'methods' runs; default: cpu")
    parser.add_argument("--check", action="store_true", help="exit with 1 if anything asked was missed")
    parser.set_defaults(rounds=15)
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}; there is {', '.join(SECTIONS)}")

    print(
        f"nbcnnviz {nbcnnviz.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads, {options.rounds} rounds, medians"
    )
    missed = 0
    for name in options.sections or SECTIONS:
        tables = SECTIONS[name]
        takes_device = "device" in inspect.signature(tables).parameters
        for title, rows in tables(options.rounds, *([options.device] if takes_device else [])):
            show(title, rows)
            sys.stdout.flush()
            missed += sum(row.met is False for row in rows)
    print(f"\n{missed} missed" if missed else "\nall met")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
