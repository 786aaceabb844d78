"""Counting multi tables by name, which their contents files are enough for."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import MONOLITH, Bench, Row, duration, output, run


def measure(bench: Bench) -> Iterator[Row]:
    """What is opened says strace; without it, data that is all zeros must change nothing."""
    model = bench.samples.model("multi")
    command = [MONOLITH, "ckpt-info", "--dry-run", model]
    seconds = statistics.median(run(command).seconds for _ in range(bench.runs + 1))
    data = [file for file in bench.samples.files("multi") if ".meta-" not in file]
    if shutil.which("strace"):
        meta, opened = _opened(command)
        seen = f"opens {meta} `.meta` files and {opened} of {len(data)} data files"
    else:
        seen = _without_data(Path(model))
    yield Row(
        f"`ckpt-info`, {bench.samples.entries('multi'):,} entries in multi tables, by name",
        ours=f"{duration(seconds)}, {seen}",
        must="reads `.meta` only",
    )


def _opened(command: list[str]) -> tuple[int, int]:
    """How many `.meta` files and how many data files a command opens."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as log:
        run(["strace", "-f", "-e", "trace=open,openat,openat2", "-o", log.name, *command])
        # Before its opening quote comes the call; behind the closing one, how it is opened.
        paths = {line.split('"')[1] for line in log if line.count('"') > 1}
    ours = [path for path in paths if ".assets/" in path and "-of-" in path]
    meta = sum(".meta-" in path for path in ours)
    return meta, len(ours) - meta


def _without_data(model: Path) -> str:
    report = [MONOLITH, "ckpt-info", "--dry-run", "--text"]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / model.name

        def only_sizes(source: str, target: str) -> None:
            if "-of-" in source and ".meta-" not in source:
                with open(target, "wb") as file:
                    file.truncate(os.path.getsize(source))
            else:
                shutil.copyfile(source, target)

        shutil.copytree(model, copy, copy_function=only_sizes)
        same = output([*report, str(copy)]) == output([*report, str(model)])
    return f"{'the same' if same else 'NOT the same'} with zeros in place of the data"
