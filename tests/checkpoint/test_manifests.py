"""Manifests made of what lies there: nothing but the index is opened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from monolith_cli.checkpoint.manifests import (
    file_crc32c,
    make_manifest,
    read_step_manifest,
    write_step_manifest,
)
from monolith_cli.errors import NotReadableError, PathNotFoundError, StateFileError
from monolith_cli.formats.manifest import ManifestFile, ManifestTable

FILES = {
    "model.ckpt-7.index": 9,
    "model.ckpt-7.data-00000-of-00002": 5,
    "model.ckpt-7.data-00001-of-00002": 6,
    "model.ckpt-7.assets/t_10-00000-of-00001": 1,
    "model.ckpt-7.assets/t_2-00000-of-00002": 2,
    "model.ckpt-7.assets/t_2-00001-of-00002": 3,
    "model.ckpt-7.assets/many-00000-of-00001": 4,
    "model.ckpt-7.assets/many.meta-00000-of-00001": 7,
    "model.ckpt-7.assets/hash_filter_0-00000-of-00001": 8,
    "input_worker_1.ckpt-7.index": 11,
    "input_worker_1.ckpt-7.data-00000-of-00001": 12,
}
OTHERS = [
    "model.ckpt-7.meta",
    "model.ckpt-7.data-00000-of-00001.tempstate123",
    "model.ckpt-70.index",
    "other.ckpt-7.index",
    "input_worker_2.ckpt-7.index",  # it has not finished
    "input.ckpt-7.index",
    "ckpt.info-7",
    "ckpt.inputs-7",
    "model.ckpt-7_item_pool_0_0_1",
    "model.ckpt-7.assets/notes.txt",
    "model.ckpt-7.assets/.t-00000-of-00001.tmp",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.ckpt-7.assets").mkdir()
    (tmp_path / "model.ckpt-7.assets" / "d-00000-of-00001").mkdir()
    for name, size in FILES.items():
        (tmp_path / name).write_bytes(b"x" * size)
    for name in OTHERS:
        (tmp_path / name).touch()
    (tmp_path / "model.ckpt-7.index").write_bytes(b"123456789")
    return tmp_path


def test_what_belongs_to_a_step(model: Path) -> None:
    made = make_manifest(
        str(model), "model.ckpt", 7, "run", workers=[0, 1], entries={"t_2": 5, "gone": 3}
    )
    assert (made.step, made.run_id) == (7, "run")
    # The check value of CRC-32C, of which its definitions say that it is that of these digits.
    assert (made.index_bytes, made.index_crc32c) == (9, "e3069283")
    assert {file.name: file.size_bytes for file in made.files} == FILES
    assert {file.crc32c for file in made.files} == {None}
    assert made.tables == (
        ManifestTable("d", "single", None),
        ManifestTable("hash_filter_0", "hash_filter", None),
        ManifestTable("many", "multi", None),
        ManifestTable("t_2", "single", 5),
        ManifestTable("t_10", "single", None),
    )


def test_only_the_index_is_opened(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = os.open

    def noting(path: str, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", noting)
    make_manifest(str(model), "model.ckpt", 7)
    assert opened == [str(model / "model.ckpt-7.index")]


def test_a_step_without_tables(tmp_path: Path) -> None:
    (tmp_path / "my.ckpt-3.index").write_bytes(b"")
    made = make_manifest(str(tmp_path), "my.ckpt", 3)
    assert (made.files, made.tables) == ((ManifestFile("my.ckpt-3.index", 0),), ())
    assert (made.index_bytes, made.index_crc32c) == (0, "00000000")


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match=r"model.ckpt-7.index: no such file"):
        make_manifest(str(tmp_path), "model.ckpt", 7)
    (tmp_path / "model.ckpt-7.index").mkdir()
    with pytest.raises(NotReadableError):
        make_manifest(str(tmp_path), "model.ckpt", 7)


def test_a_checksum_of_many_chunks(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(32))  # as in RFC 3720, B.4
    assert file_crc32c(str(tmp_path / "zeros")) == (32, "8a9136aa")
    whole = b"123456789" * 300_000
    (tmp_path / "large").write_bytes(whole)
    from monolith_cli._native import crc32c

    assert file_crc32c(str(tmp_path / "large")) == (len(whole), f"{crc32c(whole):08x}")


def test_writing_and_reading(model: Path) -> None:
    assert read_step_manifest(str(model), 7) is None
    made = make_manifest(str(model), "model.ckpt", 7)
    write_step_manifest(str(model), made)
    assert read_step_manifest(str(model), 7) == made
    said = json.loads((model / "ckpt.manifest-7").read_text())
    assert said["index"] == {"bytes": 9, "crc32c": "e3069283"}
    (model / "ckpt.manifest-7").rename(model / "ckpt.manifest-8")
    with pytest.raises(StateFileError, match=r"ckpt.manifest-8: is of step 7"):
        read_step_manifest(str(model), 8)
