from __future__ import annotations

from pathlib import Path

import bundle_support as bs
import pytest
from bundle_support import Stored, field
from dump_support import put_fixed64, write_model_dir

from monolith_cli.checkpoint.dense import DenseVariable, FileSize, list_dense
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import CorruptionError, MissingShardError, NotReadableError
from monolith_cli.tables.listing import TableListing, list_checkpoint

ENTRIES = [put_fixed64(1, n) for n in range(4)]
NUMBER = Stored(3, (2,), bytes(8))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model_dir(tmp_path, 7, singles={"a": ENTRIES}, multis={"M": {"x": ENTRIES}}, shards=1)
    bs.write_bundle(tmp_path / "model.ckpt-7", {b"w": NUMBER, b"v": NUMBER})
    return tmp_path


def test_a_checkpoint(model: Path) -> None:
    listing = list_checkpoint(open_model_dir(model).checkpoint())
    assets = model / "model.ckpt-7.assets"
    size = (assets / "a-00000-of-00001").stat().st_size
    assert listing.tables == [
        TableListing("a", "single", None, 1, size),
        TableListing("x", "multi", 4, 1, None),
    ]
    assert listing.table_bytes == sum(path.stat().st_size for path in assets.iterdir())
    assert listing.variables == [
        DenseVariable("", "v", "int32", (2,), 1, 8),
        DenseVariable("", "w", "int32", (2,), 1, 8),
    ]
    assert listing.dense_bytes == 16
    index = str(model / "model.ckpt-7.index")
    assert listing.files[0] == FileSize(index, Path(index).stat().st_size)
    assert (listing.problems, listing.warnings) == ([], [])


def test_one_problem_hides_nothing_else(model: Path) -> None:
    (model / "model.ckpt-7.assets" / "M-00000-of-00001").unlink()
    (model / "model.ckpt-7.data-00000-of-00001").write_bytes(bytes(15))
    listing = list_checkpoint(open_model_dir(model).checkpoint())
    assert [type(problem) for problem in listing.problems] == [CorruptionError, MissingShardError]
    assert ([table.name for table in listing.tables], listing.table_bytes) == (["a"], None)
    assert (len(listing.variables), listing.dense_bytes) == (2, 16)
    assert listing.problems[0].offset == 15


def test_only_data_files_with_something_in_them_must_be_there(tmp_path: Path) -> None:
    write_model_dir(tmp_path, 7)
    prefix = tmp_path / "model.ckpt-7"
    bs.write_bundle(prefix, {b"v": NUMBER._replace(shard=1)}, header=field(1, 3))
    Path(f"{prefix}.data-00000-of-00001").unlink()
    checkpoint = open_model_dir(tmp_path).checkpoint()
    (problem,) = list_dense(checkpoint).problems
    assert isinstance(problem, MissingShardError)
    assert problem.path == f"{prefix}.data-00001-of-00003"
    Path(problem.path).mkdir(parents=True)
    Path(f"{prefix}.index").unlink()
    Path(f"{prefix}.index").mkdir()
    listing = list_dense(checkpoint)
    assert isinstance(listing.problems[0], NotReadableError)
    assert (listing.is_whole, listing.size_bytes, listing.variables) == (False, None, [])
