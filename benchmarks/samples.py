"""The data: sample checkpoints, each written once, by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# Embeddings have 33 values unless it says otherwise; entries of "equal" have 202 bytes with frames.
_SAMPLES: dict[str, dict[str, Any]] = {
    "equal": {"entries": 20_000_000, "tables": 1, "shards": 4, "optimizer": "sgd", "varied": False},
    "varied": {"entries": 20_000_000, "tables": 4, "shards": 4, "optimizer": "sgd", "varied": True},
    "multi": {"entries": 5_000_000, "tables": 20, "shards": 4, "multi": True},
    "adagrad": {"entries": 1_000_000, "tables": 4, "varied": False},
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


if __name__ == "__main__":
    from monolith_cli.samples.sample import write_sample

    write_sample(sys.argv[1], force=True, **json.loads(sys.argv[2]))
    os.sync()  # else the system would write behind the measurements' back
