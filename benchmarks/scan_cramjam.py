"""Scanning multi tables, against only decompressing their blocks with cramjam.

By itself (`scan_cramjam.py PROCESSES FILE…`) it does the latter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, compared, python


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes; theirs are as many as there are cores."""
    from monolith_cli.execution.workers import usable_processors

    model = bench.samples.model("multi")
    files = [file for file in bench.samples.files("multi") if ".meta-" not in file]
    bench.warm(files)
    processes = usable_processors()
    medians = bench.seconds(
        [MONOLITH, "ckpt-info", "--dry-run", "--scan", model],
        python("scan_cramjam", processes, *files),
    )
    what = f"`ckpt-info --scan`, {bench.samples.entries('multi'):,} entries in SNAPPY multi tables"
    against = f"decompressing the blocks with cramjam in {processes} processes"
    yield compared(what, against, medians, "≤ 1.5", "1.2")


def _decompress(files: list[str]) -> None:
    from cramjam import snappy

    # TensorFlow's writer makes blocks of at most 256 KiB. One buffer for all saves page faults.
    buffer = bytearray(1 << 18)
    for path in files:
        with open(path, "rb", buffering=1 << 20) as file:
            while size := file.read(4):
                snappy.decompress_raw_into(file.read(int.from_bytes(size, "big")), buffer)


def _main(processes: int, files: list[str]) -> None:
    children = []
    for part in range(processes):
        if (child := os.fork()) == 0:
            _decompress(files[part::processes])
            os._exit(0)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1]:
            sys.exit("a process failed")


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
