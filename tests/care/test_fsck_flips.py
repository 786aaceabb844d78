"""A check names the bit that flipped; where more was damaged it names none."""

from __future__ import annotations

from pathlib import Path

import dump_support as ds
import pytest
from repair_support import scribble
from step_support import save_steps
from table_support import flip

from monolith_cli.care.findings import Finding
from monolith_cli.care.fsck.check import CheckOptions, check
from monolith_cli.care.repair.step import repair_step

ASSETS = "model.ckpt-3.assets"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = save_steps(tmp_path / "model", 3, multis={"M": {"t": 20, "u": 5}}, entries=20)
    ds.write_hash_filter(directory / ASSETS, splits=1)
    return directory


def damage_of(model: Path, quick: bool = False) -> dict[str, Finding]:
    """What is wrong, by the name of the file."""
    found = check(model, options=CheckOptions(quick=quick)).findings
    return {Path(each.file or "").name: each for each in found if each.severity == "error"}


def test_bits_of_tables_and_filters_are_named(model: Path) -> None:
    starts = ds.frame_starts(ds.random_entries(0, 20)[:10])
    flip(model / ASSETS / "user_0-00000-of-00002", starts[3] + 14, 2)
    flip(model / ASSETS / "user_1-00000-of-00002", 2, 6)
    flip(model / ASSETS / "hash_filter_0-00000-of-00001", 2001, 0)
    found = damage_of(model)
    data = found["user_0-00000-of-00002"]
    assert data.id == "bad_data_crc"
    assert f"flipping bit 2 of byte {starts[3] + 14:,} makes the checksum hold" in data.message
    assert "; fid: " in data.message
    assert data.suggest is not None
    assert "repair" in data.suggest
    header = found["user_1-00000-of-00002"]
    assert header.id == "bad_length_crc"
    assert "flipping bit 6 of byte 2 makes the record hold" in header.message
    assert "the length: " in header.message
    assert "; data[" in found["hash_filter_0-00000-of-00001"].message
    assert len(found) == 3


@pytest.mark.parametrize("quick", [True, False])
def test_a_bit_of_contents_is_named(model: Path, quick: bool) -> None:
    flip(model / ASSETS / "M.meta-00001-of-00002", 14, 1)
    message = damage_of(model, quick)["M.meta-00001-of-00002"].message
    assert "flipping bit 1 of byte 14 makes the checksum hold" in message
    assert "table_name: v → t" in message


def test_more_than_a_bit_and_compressed_files_are_not_named(model: Path) -> None:
    scribble(model / ASSETS / "user_0-00000-of-00002", 20)
    path = model / ASSETS / "M-00000-of-00002"
    flip(path, path.stat().st_size // 2)
    scribble(model / ASSETS / "M.meta-00001-of-00002", 14, 2)
    found = damage_of(model)
    assert len(found) == 3
    assert not any("flipping" in each.message for each in found.values())


def test_what_a_repair_leaves_is_judged_whole(model: Path, tmp_path: Path) -> None:
    flip(model / ASSETS / "user_0-00000-of-00002", 30)
    scribble(model / ASSETS / "user_1-00000-of-00002", 30)
    path = model / ASSETS / "M-00000-of-00002"
    flip(path, path.stat().st_size // 2)
    scribble(model / ASSETS / "hash_filter_0-00000-of-00001", 30_000)
    assert len(damage_of(model)) == 4
    assert not repair_step(model, tmp_path / "new").is_whole
    judged = check(tmp_path / "new", options=CheckOptions(strict=True))
    assert list(judged.findings) == []
