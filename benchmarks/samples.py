"""The data: sample checkpoints, each written once, by a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Embeddings have 33 values unless it says otherwise; entries of "equal" have 202 bytes with frames.
_SAMPLES: dict[str, dict[str, Any]] = {
    "equal": {"entries": 20_000_000, "tables": 1, "shards": 4, "optimizer": "sgd", "varied": False},
    "varied": {"entries": 20_000_000, "tables": 4, "shards": 4, "optimizer": "sgd", "varied": True},
    "multi": {"entries": 5_000_000, "tables": 20, "shards": 4, "multi": True},
    "adagrad": {"entries": 1_000_000, "tables": 4, "varied": False},
    "stats": {
        "entries": 20_000_000,
        "tables": 1,
        "shards": 4,
        "optimizer": "adagrad",
        "varied": False,
    },
    "pages": {"entries": 1_000_000, "tables": 1, "optimizer": "sgd", "varied": True},
    # Four arrays a record, together just below 1 MiB.
    "long": {"entries": 1_000, "tables": 1, "optimizer": "amsgrad", "dim": 65_500, "shards": 1},
}
_DIM = 33
_LEAST = 100


class Samples:
    """Sample model directories below one directory, at some scale."""

    def __init__(self, directory: Path, scale: float) -> None:
        self.directory = directory
        self.scale = scale

    def at_scale(self, scale: float) -> Samples:
        """The same, smaller by that factor."""
        return Samples(self.directory, self.scale * scale)

    def entries(self, name: str) -> int:
        """How many entries a sample has."""
        full: int = _SAMPLES[name]["entries"]
        return max(_LEAST, round(full * self.scale))

    def model(self, name: str) -> str:
        """A sample's model directory; it is written first where it is not there."""
        entries = self.entries(name)
        return self._written(
            f"{name}-{entries}", {"dim": _DIM, **_SAMPLES[name], "entries": entries}
        )

    def small(self) -> str:
        """A model directory of some kilobytes, at any scale."""
        return self._written("small", {"entries": 100})

    def many_tables(self) -> str:
        """A model directory with 5,000 tables of an entry each, at any scale."""
        return self._written("many", {"entries": 5_000, "tables": 5_000, "shards": 1})

    def many_steps(self) -> str:
        """A model directory with 100 steps of 64 files of tables each, at any scale."""
        return self._many_steps("steps")

    def checked_steps(self) -> str:
        """The same, with the manifest and the record of a full check of each step."""
        path = self._many_steps("checked")
        if not Path(path, "ckpt.checked-100").exists():
            monolith = Path(sys.executable).with_name("monolith")
            command = [str(monolith), "ckpt", "fsck", "--step", "all", "--record", path]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        return path

    def _many_steps(self, name: str) -> str:
        path = Path(self._written(name, {"entries": 640, "tables": 16, "shards": 4, "step": 1}))
        for step in range(2, 101):
            _copy_step(path, 1, step)
        _list_steps(path, range(1, 101))
        return str(path)

    def many_counts(self) -> str:
        """A model directory with 1,000 counts of 300 slots each, at any scale."""
        path = Path(self._written("counts", {"entries": 100, "step": 1000}))
        for step in range(1, 1001):
            slots = (
                f"slot_counts {{\n  key: {s}\n  value: {step * s}\n}}\n" for s in range(1, 301)
            )
            (path / f"ckpt.info-{step}").write_text("".join(slots))
            os.utime(path / f"ckpt.info-{step}", (step, step))
        return str(path)

    def files(self, name: str) -> list[str]:
        """The files of a sample's tables."""
        return sorted(map(str, Path(self.model(name)).glob("*.assets/*")))

    def stored_bytes(self, name: str) -> int:
        """The size of those."""
        return sum(map(os.path.getsize, self.files(name)))

    def _written(self, name: str, arguments: dict[str, Any]) -> str:
        path = self.directory / name
        # Written last of all, so what has it is whole.
        if not (path / "checkpoint").exists():
            print(f"writing {path}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, str(path), json.dumps(arguments)]
            subprocess.run(command, check=True)
        return str(path)


def _copy_step(model: Path, step: int, to: int) -> None:
    """Make a step of another, without copying the tables' data."""
    source, target = f"model.ckpt-{step}", f"model.ckpt-{to}"
    if (model / f"{target}.assets").exists():
        return
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(model / f"{source}{suffix}", model / f"{target}{suffix}")
    shutil.copytree(model / f"{source}.assets", model / f"{target}.assets", copy_function=os.link)


def _list_steps(model: Path, steps: Iterable[int]) -> None:
    names = [f"model.ckpt-{step}" for step in steps]
    lines = [f'model_checkpoint_path: "{names[-1]}"\n']
    lines += [f'all_model_checkpoint_paths: "{name}"\n' for name in names]
    (model / "checkpoint").write_text("".join(lines))


if __name__ == "__main__":
    from monolith_cli.samples.sample import write_sample

    write_sample(sys.argv[1], force=True, **json.loads(sys.argv[2]))
    os.sync()  # else the system would write behind the measurements' back
