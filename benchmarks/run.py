"""Measure everything that the README says about speed, and print its table. `make bench` runs it.

It reports; it judges nothing. The package must be installed, with its extra `test`.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import apply_delta
import ckpt_cp
import count_cat
import count_cold
import count_tensorflow
import dump_json
import flipped_bit
import fsck
import get_fid
import iterator_state
import last_page
import memory
import names_meta
import paging
import scan_cramjam
import startup
import steps
import table_diff
import table_export
import table_rewrite
import table_stats
from measure import Bench, Row
from samples import Samples

MEASUREMENTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "equal": count_cat.equal,
    "varied": count_cat.varied,
    "two-cats": count_cat.side_by_side,
    "cold": count_cold.measure,
    "tensorflow": count_tensorflow.measure,
    "scan": scan_cramjam.measure,
    "names": names_meta.measure,
    "json": dump_json.measure,
    "paging": paging.measure,
    "last-page": last_page.measure,
    "get": get_fid.measure,
    "stats": table_stats.measure,
    "diff": table_diff.measure,
    "export": table_export.measure,
    "rewrite": table_rewrite.measure,
    "apply": apply_delta.measure,
    "flip": flipped_bit.measure,
    "startup": startup.measure,
    "steps": steps.measure,
    "fsck": fsck.measure,
    "cp": ckpt_cp.measure,
    "iterator": iterator_state.measure,
    "memory": memory.measure,
}
"""In the order of the report."""

HEADINGS = Row("what", "against", "ours", "theirs", "ratio", "must", "aim")


def machine() -> str:
    """Where this was measured, in a line."""
    from monolith_cli.execution.workers import usable_processors

    try:
        tensorflow = f", TensorFlow {metadata.version('tensorflow')}"
    except metadata.PackageNotFoundError:
        tensorflow = ""
    return (
        f"{_processor()}, {usable_processors()} cores, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}{tensorflow}, {time.strftime('%Y-%m-%d')}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="of each side (7)")
    parser.add_argument(
        "--only",
        action="append",
        choices=MEASUREMENTS,
        metavar="NAME",
        help=", ".join(MEASUREMENTS),
    )
    parser.add_argument(
        "--scale", type=float, default=1, metavar="FRACTION", help="of the sizes, 0.05 say (1)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="where the samples are kept, 20 GB of them; else they are removed at the end",
    )
    return parser.parse_args()


def report(bench: Bench, names: list[str]) -> None:
    """Print the table, a line as soon as it is known."""
    for line in (HEADINGS, Row(*("---" for _ in HEADINGS))):
        print("|", " | ".join(line), "|", flush=True)
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        for row in MEASUREMENTS[name](bench):
            print("|", " | ".join(row), "|", flush=True)
    scale = f", sizes scaled by {bench.scale:g}" if bench.scale != 1 else ""
    print(f"\n{machine()}; medians of {bench.runs} runs or more{scale}.")


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="monolith-bench-") as scratch:
        directory = options.data or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        samples = Samples(directory, options.scale)
        report(Bench(samples, options.runs, options.scale), options.only or list(MEASUREMENTS))


if __name__ == "__main__":
    main()
