"""Run the benchmarks and print the table: `python -m tests.benchmarks [NAME ...]`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
from pathlib import Path

import torch

from atlas.engine.loading.quiet_libraries import quiet_transformers
from tests.benchmarks import app, corpus, engine, explanations, faithful, responding, weighing
from tests.places import REPO

OUTPUT = REPO / "benchmarks.json"


def main() -> None:
    """Measure, print, write."""
    modules = (engine, app, explanations, responding, faithful, corpus, weighing)
    by_name = {row.__name__: row for module in modules for row in module.ROWS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of: {', '.join(by_name)}")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="where the JSON goes (default: %(default)s)")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in by_name]
    if unknown:
        # Not `choices=`: argparse would hold the empty list of "all of them" against it.
        parser.error(f"there is no benchmark {', '.join(map(repr, unknown))}; there are {', '.join(by_name)}")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    cores = f"{os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads"
    print(f"{cores}; ratios are medians of pairs, with their quartiles")
    print("\n| what | measured | bar | |\n|---|---|---|---|")
    rows, tables = [], []
    with quiet_transformers():
        for name in given.names or by_name:
            row = by_name[name]()
            rows.append({"name": name, **row.plain()})
            tables += [row.table] if row.table else []
            print(f"| {row.what} | {row.measured} | {row.bar} | {'holds' if row.holds else 'missed'} |", flush=True)
    print(*(f"\n{table}" for table in tables), sep="\n")
    given.output.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {given.output}")


if __name__ == "__main__":
    main()
