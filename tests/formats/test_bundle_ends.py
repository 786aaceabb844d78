"""Where the data files of a tensor bundle end, against what `TensorBundle` makes of the index."""

from __future__ import annotations

from pathlib import Path

import bundle_support
import numpy as np
import pytest
import tf_support

from monolith_cli.formats.bundle_ends import data_ends
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle


def test_a_bundle_of_tensorflow(tmp_path: Path) -> None:
    variables = {f"layer_{i}/kernel": np.zeros((i, 300), np.float32) for i in range(1, 200)}
    bundle_support.save(tmp_path / "model.ckpt-1", variables)
    bundle = TensorBundle(tmp_path / "model.ckpt-1")
    ends = [0] * bundle.shards
    for entry in bundle.entries.values():
        ends[entry.shard] = max(ends[entry.shard], entry.offset + entry.size_bytes)
    assert data_ends(str(tmp_path / "model.ckpt-1")) == ends
    assert ends == [Path(bundle.data_path(shard)).stat().st_size for shard in range(bundle.shards)]


def test_several_data_files(tmp_path: Path) -> None:
    tf_support.tensorflow()
    for number in (1, 2):
        bundle_support.save(tmp_path / f"part-{number}", {f"v{number}": np.zeros(10 * number)})
    bundle_support.merge([tmp_path / "part-1", tmp_path / "part-2"], tmp_path / "model.ckpt-1")
    assert data_ends(str(tmp_path / "model.ckpt-1")) == [80, 160]


def test_nothing_in_it(tmp_path: Path) -> None:
    write_tensor_bundle(tmp_path / "b", {})
    assert data_ends(str(tmp_path / "b")) == [0]


def test_what_was_saved_in_slices_is_for_others(tmp_path: Path) -> None:
    part = np.zeros((2, 3), np.float32)
    bundle_support.save_slices(tmp_path / "b", [("v", "4 3 0,2:-", part), ("v", "4 3 2,2:-", part)])
    assert data_ends(str(tmp_path / "b")) is None


@pytest.mark.parametrize("at", range(0, 112, 7))
def test_damage_is_for_others(tmp_path: Path, at: int) -> None:
    write_tensor_bundle(tmp_path / "b", {"v": np.zeros(300), "w": np.zeros((2, 2))})
    path = tmp_path / "b.index"
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.write_bytes(data)
    assert data_ends(str(tmp_path / "b")) is None
    path.write_bytes(data[:at])
    assert data_ends(str(tmp_path / "b")) is None
    assert data_ends(str(tmp_path / "nothing")) is None
