"""`table rewrite`: a step of 4 GB in other files, read back, against copying and comparing them."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import MONOLITH, Bench, Row, compared, run

_SHARDS = "8"


def measure(bench: Bench) -> Iterator[Row]:
    """Against `cp`, `sync` and `cmp` of the files; and the most memory that it takes."""
    model = bench.samples.model("equal")
    files = bench.samples.files("equal")
    size = bench.samples.stored_bytes("equal") / 1e9
    with tempfile.TemporaryDirectory(prefix="rewrite-", dir=bench.samples.directory) as scratch:
        new, copy = Path(scratch, "new"), Path(scratch, "copy")
        command = [MONOLITH, "table", "rewrite", model, str(new), "--shards", _SHARDS]
        ours = ["/bin/sh", "-c", f"rm -rf {shlex.quote(str(new))} && {shlex.join(command)}"]
        theirs = ["/bin/sh", "-c", _copying(files, copy)]
        bench.warm(files)
        yield compared(
            f"`table rewrite --shards {_SHARDS}`, {size:.1f} GB, read back",
            "`cp` of the files, `sync`, `cmp`",
            bench.seconds(ours, theirs),
            "1.4",
            "1.1",
        )
        peaks = []
        for _ in range(min(3, bench.runs)):
            shutil.rmtree(new, ignore_errors=True)
            peaks.append(run(command).peak_bytes)
        yield Row(
            f"peak memory, `table rewrite`, {size:.1f} GB",
            ours=f"{max(peaks) / 1e6:.0f} MB",
            must="≤ 200 MB",
            aim="120 MB",
        )


def _copying(files: list[str], target: Path) -> str:
    """Copy files, wait for the disk, and compare; what was there of it goes first, as for us."""
    place = shlex.quote(str(target))
    compare = " && ".join(
        f"cmp {shlex.quote(each)} {shlex.quote(str(target / Path(each).name))}" for each in files
    )
    return f"rm -rf {place} && mkdir {place} && cp {shlex.join(files)} {place} && sync && {compare}"
