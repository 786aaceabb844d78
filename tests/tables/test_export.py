"""Exports hold what TensorFlow and protobuf read, for every reader and in every format."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
from export_support import arrays_as_rows, records_by_tensorflow, rows_of, told
from table_support import SKIP, flip

from monolith_cli import messages
from monolith_cli.care.export import export_tables
from monolith_cli.errors import CorruptionError, MissingShardError, UsageError, WriteError
from monolith_cli.storage.atomic import AtomicFile
from monolith_cli.tables import EntryFilter, ranges
from monolith_cli.tables.export import export
from monolith_cli.tables.export.export import ExportOptions
from monolith_cli.tables.layout import COLUMNS

pyarrow = pytest.importorskip("pyarrow")

SEGMENTS = (("adagrad", 4), ("dynamic_wd_adagrad", 2), ("group_adagrad", 1), ("sgd", 3))
PLAIN = ds.random_entries(1, 300, segments=(("adagrad", 4), ("ftrl", 3)), special=True)
TABLES: dict[str, list[bytes]] = {
    "plain": PLAIN,
    "nullable": ds.random_entries(2, 150, segments=SEGMENTS, special=True),
    "mixed": ds.random_entries(3, 100, segments=None, special=True),
    "late": ds.random_entries(4, 200, segments=(("", 2),)) + ds.random_entries(5, 50, special=True),
    "empty": [],
    "no_dim": [messages.EntryDump(id=fid).SerializeToString() for fid in range(5)],
    "nothing": [b"", b""],
}
FORMATS = {
    "parquet": ExportOptions("parquet"),
    "parquet, stored": ExportOptions("parquet", compress=False),
    "arrow": ExportOptions("arrow"),
    "arrow, compressed": ExportOptions("arrow", compress=True),
    "npy": ExportOptions("npy"),
}


def read(folder: Path, format: str) -> list[dict[str, Any]]:
    """The rows in a folder, by a reader that is not ours."""
    if format == "npy":
        return arrays_as_rows(folder)
    if format == "parquet":
        import pyarrow.parquet as pq

        tables = [pq.read_table(path) for path in sorted(folder.iterdir())]
    else:
        tables = [pyarrow.ipc.open_file(path).read_all() for path in sorted(folder.iterdir())]
    for table in tables:
        table.validate(full=True)
        assert table.schema == tables[0].schema
    rows: list[dict[str, Any]] = pyarrow.concat_tables(tables).to_pylist()
    return rows


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of TensorFlow: single tables, and multi tables of the same."""
    model = tmp_path_factory.mktemp("export") / "model"
    multi = {f"multi_{name}": records for name, records in TABLES.items()}
    ds.write_model_dir(model, singles=TABLES, multis={"Multi": multi}, shards=2, tf=True)
    return model


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges, row groups and looks of some entries."""
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(export, "_RANGE_BYTES", 3000)
    monkeypatch.setattr(export, "_LOOK_BYTES", 300)
    monkeypatch.setattr("monolith_cli.tables.export.parquet._ROW_GROUP_BYTES", 9000)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", FORMATS)
def test_all_values_are_there(written: Path, tmp_path: Path, name: str) -> None:
    options = FORMATS[name]
    done = export_tables(written, tmp_path / "out", options=options, jobs=2)
    assets = written / "model.ckpt-300.assets"
    assert [table.name for table in done.tables] == sorted(
        [*TABLES, *(f"multi_{each}" for each in TABLES)], key=lambda each: ("multi" in each, each)
    )
    for table in done.tables:
        folder = tmp_path / "out" / table.folder
        if table.name in TABLES:
            expected = rows_of(records_by_tensorflow(assets, table.name))
        else:
            expected = rows_of(TABLES[table.name.removeprefix("multi_")])
        assert told(read(folder, options.format)) == told(expected), table.name
        assert table.entries == len(expected)
        assert table.files == len(list(folder.iterdir()))
        assert table.bytes == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("format", ["parquet", "arrow", "npy"])
def test_files_do_not_depend_on_jobs(written: Path, tmp_path: Path, format: str) -> None:
    files = None if format == "npy" else 3
    options = ExportOptions(format, files=files)
    found = []
    for jobs in (1, 2, 3, "elsewhere"):
        out = tmp_path / str(jobs)
        with ThreadPoolExecutor(2) as pool:
            how: dict[str, Any] = {"executor": pool} if jobs == "elsewhere" else {"jobs": jobs}
            export_tables(written, out, options=options, patterns=["plain", "nullable"], **how)
        paths = sorted(path for path in out.rglob("*") if path.is_file())
        found.append({str(path.relative_to(out)): path.read_bytes() for path in paths})
    assert all(each == found[0] for each in found)
    if files:
        parts = [f"part-0000{i}-of-00003.{format}" for i in range(3)]
        assert sorted(found[0]) == [
            f"{name}/{part}" for name in ("nullable", "plain") for part in parts
        ]


def test_types_say_what_is_there(written: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    done = export_tables(written, tmp_path / "out", jobs=1)
    types = {table.name: {each.name: each.text for each in table.columns} for table in done.tables}
    assert types["plain"] == {
        "fid": "int64",
        "slot": "int16",
        "embedding": "float[7]",
        "opt_0_adagrad_norm": "float[4]",
        "opt_1_ftrl_zero": "float[3]",
        "opt_1_ftrl_norm": "float[3]",
        "last_update_ts_sec": "int64",
    }
    assert types["nullable"]["opt_1_dynamic_wd_adagrad_last_update_step"] == "int64"
    assert types["nullable"]["opt_2_group_adagrad_grad_square_sum"] == "float"
    assert types["mixed"]["embedding"] == "float[]"
    assert types["empty"] == {
        "fid": "int64",
        "slot": "int16",
        "embedding": "float[]",
        "last_update_ts_sec": "int64",
    }
    schemas = {
        name: pq.read_schema(tmp_path / "out" / name / "part-00000-of-00001.parquet")
        for name in ("plain", "nullable", "late")
    }
    plain = schemas["plain"]
    assert str(plain.field("embedding").type).startswith("fixed_size_list<element: float")
    assert plain.field("embedding").type.list_size == 7
    assert str(plain.field("slot").type) == "int16"
    assert not any(field.nullable for field in plain)
    assert [field.name for field in schemas["nullable"] if field.nullable] == [
        "opt_1_dynamic_wd_adagrad_last_update_step",
        "opt_2_group_adagrad_grad_square_sum",
    ]
    assert schemas["late"].field("opt_0_adagrad_norm").nullable


def test_what_is_in_the_metadata(written: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    manifest = {
        "version": 1,
        "step": 300,
        "run_id": "some run",
        "index": {"bytes": 1, "crc32c": "01234567"},
        "files": [],
        "tables": [],
    }
    path = written / "ckpt.manifest-300"
    path.write_text(json.dumps(manifest))
    try:
        for format in ("parquet", "arrow", "npy"):
            out = tmp_path / format
            export_tables(written, out, options=ExportOptions(format), patterns=["plain"], jobs=1)
    finally:
        path.unlink()
    file = pq.ParquetFile(tmp_path / "parquet" / "plain" / "part-00000-of-00001.parquet")
    expected = {
        b"monolith.step": b"300",
        b"monolith.table": b"plain",
        b"monolith.manifest": b'{"run_id": "some run", "index_crc32c": "01234567"}',
    }
    metadata = file.schema_arrow.metadata
    assert {key: metadata[key] for key in expected} == expected
    assert metadata[b"monolith.tool"].startswith(b"monolith-cli ")
    part = tmp_path / "arrow" / "plain" / "part-00000-of-00001.arrow"
    metadata = pyarrow.ipc.open_file(part).schema.metadata
    assert {key: metadata[key] for key in expected} == expected
    document = json.loads((tmp_path / "npy" / "plain" / "table.json").read_text())
    assert (document["step"], document["table"]) == ("300", "plain")


def test_encodings_and_statistics(written: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    export_tables(written, tmp_path / "out", patterns=["plain"], jobs=1)
    file = pq.ParquetFile(tmp_path / "out" / "plain" / "part-00000-of-00001.parquet")
    group = file.metadata.row_group(0)
    columns = {(column := group.column(i)).path_in_schema: column for i in range(group.num_columns)}
    fid = columns["fid"].statistics
    fids = [row["fid"] for row in rows_of(PLAIN)]
    assert (fid.min, fid.max, fid.null_count) == (min(fids), max(fids), 0)
    for path, column in columns.items():
        assert column.compression == "ZSTD"
        assert not any("DICTIONARY" in encoding for encoding in column.encodings)
        is_float = path.endswith("element")
        assert ("BYTE_STREAM_SPLIT" in column.encodings) == is_float, path
        assert (column.statistics is None) == is_float, path


@pytest.mark.parametrize("format", ["parquet", "arrow", "npy"])
def test_some_columns_of_some_entries(written: Path, tmp_path: Path, format: str) -> None:
    options = ExportOptions(
        format, columns=("slot", "opt"), chosen=EntryFilter([(1, 400)], (), "v1")
    )
    export_tables(written, tmp_path / "out", options=options, patterns=["plain"], jobs=1)
    expected = [
        {name: value for name, value in row.items() if name == "slot" or name.startswith("opt_")}
        for row in rows_of(PLAIN, "v1")
        if 1 <= row["slot"] <= 400
    ]
    assert 0 < len(expected) < len(PLAIN)
    assert told(read(tmp_path / "out" / "plain", format)) == told(expected)


def test_a_layout_that_only_a_later_entry_contradicts(tmp_path: Path) -> None:
    """An entry of another size, behind those that are looked at first: all begins anew."""
    odd = messages.EntryDump(id=7, num=[1.0])
    odd.opt.dump.add().adam.beta1_power = 0.5
    records = [*ds.random_entries(1, 3000, segments=(("adagrad", 4),)), odd.SerializeToString()]
    ds.write_model_dir(tmp_path / "model", singles={"t": records}, shards=1)
    told_of: list[tuple[int, int]] = []
    for format in ("parquet", "arrow", "npy"):
        out = tmp_path / format
        options = ExportOptions(format)
        done = export_tables(
            tmp_path / "model",
            out,
            options=options,
            jobs=2,
            progress=lambda done, total: told_of.append((done, total)),
        )
        types = {each.name: each.text for each in done.tables[0].columns}
        assert (types["embedding"], types["opt_0_adam_beta1_power"]) == ("float[]", "float")
        assert told(read(out / "t", format)) == told(rows_of(records))
        assert told_of[-1][0] == told_of[-1][1]
        assert all(some <= total for some, total in told_of)


def test_damage(written: Path, tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path / "model", singles={"t": PLAIN, "u": PLAIN[:9]}, shards=1)
    path = tmp_path / "model" / "model.ckpt-300.assets" / "t-00000-of-00001"
    flip(path, 5000)
    for format in ("parquet", "arrow", "npy"):
        with pytest.raises(CorruptionError):
            export_tables(
                tmp_path / "model", tmp_path / "out", options=ExportOptions(format), jobs=2
            )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    with pytest.raises(CorruptionError):  # in one of files that are written at a time
        export_tables(tmp_path / "model", tmp_path / "out", options=ExportOptions(files=5), jobs=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    done = export_tables(tmp_path / "model", tmp_path / "out", reading=SKIP, jobs=2)
    assert [table.entries for table in done.tables] == [len(PLAIN) - 1, 9]
    assert [error.kind for error in done.outcome.errors] == ["bad_data_crc"]
    path.unlink()
    path.with_name("t-00001-of-00002").write_bytes(b"")
    with pytest.raises(MissingShardError):
        export_tables(tmp_path / "model", tmp_path / "more", jobs=2)
    done = export_tables(tmp_path / "model", tmp_path / "more", patterns=["u"], jobs=2)
    assert [table.name for table in done.tables] == ["u"]
    assert [error.kind for error in done.outcome.errors] == ["missing_shard"]


def test_options_that_make_no_sense(written: Path, tmp_path: Path) -> None:
    for options, message in (
        (ExportOptions("csv"), "no format 'csv'"),
        (ExportOptions("npy", compress=True), "cannot be compressed"),
        (ExportOptions("npy", files=2), "in one file each"),
        (ExportOptions(files=0), "0 files"),
        (ExportOptions(columns=("fid", "norm")), "no column norm"),
        (ExportOptions(columns=()), "no column"),
    ):
        with pytest.raises(UsageError, match=message):
            export_tables(written, tmp_path / "out", options=options)
    options = ExportOptions(columns=("opt",))
    with pytest.raises(UsageError, match="table 'empty' has no state of optimizers"):
        export_tables(written, tmp_path / "out", options=options, patterns=["empty"])
    many = messages.EntryDump(id=1)
    for _ in range(65):
        many.opt.dump.add().adagrad.norm.append(1.0)
    ds.write_model_dir(tmp_path / "model", singles={"t": [many.SerializeToString()]}, shards=1)
    with pytest.raises(UsageError, match="more than 64 optimizers") as caught:
        export_tables(tmp_path / "model", tmp_path / "out")
    assert str(caught.value.path).endswith("t-00000-of-00001")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("format", ["parquet", "arrow", "npy"])
def test_a_disk_that_is_full(
    written: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever write it is: nothing is left."""
    write = AtomicFile.write
    left = 0

    def write_some(file: AtomicFile, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise WriteError("not written: no space", path=file.path, kind="no_space")
        write(file, data)

    monkeypatch.setattr(AtomicFile, "write", write_some)
    options = ExportOptions(format)
    for writes in itertools.count():
        left = writes
        with contextlib.suppress(WriteError):
            export_tables(written, tmp_path / "out", options=options, patterns=["nullable"], jobs=1)
            break
        assert list(tmp_path.iterdir()) == []
    assert writes > 5


def test_floats_to_the_last_bit(tmp_path: Path) -> None:
    """All kinds of NaN, zeros with sign, the smallest and the largest: as bits."""
    rng = random.Random(5)
    bits = np.array(
        [0, 1 << 31, 0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 1, 0x7F7FFFFF]
        + [rng.getrandbits(32) for _ in range(6000 * 3 - 9)],
        np.uint32,
    )
    rows = bits.reshape(-1, 3)
    # A signalling NaN would not survive being a Python float.
    records = [
        ds.put_fixed64(1, i) + b"".join(ds.put_tag(2, 5) + cell.tobytes() for cell in row)
        for i, row in enumerate(rows)
    ]
    ds.write_model_dir(tmp_path / "model", singles={"t": records}, shards=1)
    import pyarrow.parquet as pq

    for name, options in FORMATS.items():
        out = tmp_path / name
        export_tables(tmp_path / "model", out, options=options, jobs=1)
        if options.format == "npy":
            found = np.load(out / "t" / "embedding.npy", mmap_mode="r")
        else:
            part = out / "t" / f"part-00000-of-00001.{options.format}"
            table = (
                pq.read_table(part)
                if options.format == "parquet"
                else pyarrow.ipc.open_file(pyarrow.memory_map(str(part))).read_all()
            )
            found = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
        assert np.array_equal(found.view(np.uint32), rows), name


def test_columns_of_the_command_are_those_of_the_library() -> None:
    from monolith_cli.commands.types import EXPORT_COLUMNS

    assert COLUMNS == EXPORT_COLUMNS
