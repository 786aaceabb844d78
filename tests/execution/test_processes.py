"""Tasks in other processes give what one thread gives, and so do merged partials."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

import dump_support as ds
import numpy as np
import pytest
from table_support import SKIP, checkpoint_of, flip, open_all

from monolith_cli import _native, messages
from monolith_cli.errors import BrokenExecutorError, ChangedWhileReadError, CorruptionError
from monolith_cli.execution.task import Partial, run_task
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.tables import EntryFilter, ReadOptions, folds
from monolith_cli.tables.counting import CopyTask
from monolith_cli.tables.counts import CountOptions, count_checkpoint
from monolith_cli.tables.cutting import FindTask
from monolith_cli.tables.dump import Dump
from monolith_cli.tables.export.arrow import ArrowFormat
from monolith_cli.tables.export.npy import NpyFormat
from monolith_cli.tables.export.parquet import ParquetFormat
from monolith_cli.tables.extents import LocateTask, MapTask
from monolith_cli.tables.folds import protocol
from monolith_cli.tables.folds.batches import BatchesFold
from monolith_cli.tables.folds.chosen import ChosenFold
from monolith_cli.tables.folds.columns import ColumnsFold
from monolith_cli.tables.folds.count import CountFold
from monolith_cli.tables.folds.digest import DigestFold
from monolith_cli.tables.folds.entries import EntriesFold
from monolith_cli.tables.folds.output import FramesFold, JsonFold
from monolith_cli.tables.folds.record_count import RecordCountFold
from monolith_cli.tables.folds.records import RecordsFold
from monolith_cli.tables.folds.rewrite import (
    AgesFold,
    NewestFold,
    RecordSumsFold,
    RewriteFold,
    Transforms,
)
from monolith_cli.tables.folds.servers import ConvertedFold, ServersFold
from monolith_cli.tables.folds.shape import ColumnShape, Shape, ShapeFold
from monolith_cli.tables.folds.statistics import StatisticsFold
from monolith_cli.tables.hash_filters import FilterTask
from monolith_cli.tables.layout import layout_of
from monolith_cli.tables.lookup import find_entries
from monolith_cli.tables.ranges import RangeTask, read_files, read_ranges
from monolith_cli.tables.stream import EntryStream, Extent
from monolith_cli.tables.table import entry_stream

RECORDS = ds.random_entries(81, 150, segments=(("adagrad", 3), ("adam", 2)), special=True)
NESTED = ds.put_bytes(15, ds.frame(*RECORDS[:9]))
SOME = EntryFilter([(1, 400)], (), "v2")


def bits_of_some() -> _native.FidBits:
    """Of every third entry."""
    bits = _native.FidBits(16)
    join = _native.Join(bits=bits)
    fids = [messages.EntryDump.FromString(record).id for record in RECORDS[::3]]
    rows = b"".join(struct.pack("<q24x", fid) for fid in fids)
    join.run([_native.Parts(rows)], [], 0, _native.PARTS)
    return bits


SHAPE = Shape(
    1,
    {
        "embedding": ColumnShape(0, "floats", 1, 5, 5, 5),
        "opt_0_adagrad_norm": ColumnShape(1, "floats", 1, 3, 3, 3),
        "opt_1_adam_m": ColumnShape(2, "floats", 1, 2, 2, 2),
        "opt_1_adam_v": ColumnShape(3, "floats", 1, 2, 2, 2),
        "opt_1_adam_beta1_power": ColumnShape(4, "scalar", 0, 0, 1, 0),
        "opt_1_adam_beta2_power": ColumnShape(5, "scalar", 0, 0, 1, 0),
    },
)
"""Of `RECORDS`."""


def index_of_some() -> _native.FidIndex:
    """The feature ids of every third entry."""
    entries = map(messages.EntryDump.FromString, RECORDS[::3])
    return _native.FidIndex(struct.pack("<50Q", *(place(entry.id) for entry in entries)))


def place(fid: int) -> int:
    """Where a fid stands in order of the hash by which tables are compared."""
    h = fid & (2**64 - 1)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor & (2**64 - 1)
    return h ^ h >> 33


FOLDS: dict[str, Callable[[], Any]] = {
    "count": lambda: CountFold(EntryFilter()),
    "count some": lambda: CountFold(EntryFilter([(1, 3)], (), "v1")),
    "json": lambda: JsonFold(),
    "json of some": lambda: JsonFold(("fid", "table"), True, True, SOME),
    "entries": lambda: EntriesFold(),
    "entries of some": lambda: EntriesFold(("slot", "embedding"), False, False, SOME),
    "frames": lambda: FramesFold(),
    "frames of some": lambda: FramesFold(SOME),
    "columns": lambda: ColumnsFold(),
    "columns of some": lambda: ColumnsFold(False, True, SOME),
    "records": lambda: RecordsFold(),
    "digest": lambda: DigestFold(),
    "digest of some": lambda: DigestFold(SOME),
    "whole entries": lambda: ChosenFold(bits_of_some()),
    "whole entries of some slots": lambda: ChosenFold(bits_of_some(), SOME),
    "feature ids to convert": lambda: ConvertedFold(),
    "servers": lambda: ServersFold(defaultdict(partial(tuple, (1, 3)))),
    "record count": lambda: RecordCountFold(),
    "rewritten": lambda: RewriteFold(),
    "rewritten in blocks": lambda: RewriteFold(
        Transforms(slots=[(1, 400)], where="nonfinite", set_zero=True), snappy=True
    ),
    "rewritten by age": lambda: RewriteFold(Transforms(oldest=1_650_000_000, where="nan")),
    "rewritten for servers": lambda: RewriteFold(Transforms(convert=True, servers=3)),
    "rewritten with a delta": lambda: RewriteFold(
        Transforms(sieved=True, gone=index_of_some(), where="nan")
    ),
    "rewritten to nothing": lambda: RewriteFold(discard=True),
    "record sums": lambda: RecordSumsFold(),
    "newest": lambda: NewestFold(),
    "ages": lambda: AgesFold(1_700_000_000, SOME),
    "batches of Parquet": lambda: BatchesFold(ParquetFormat(), layout_of(SHAPE)),
    "batches of Arrow": lambda: BatchesFold(ArrowFormat(True), layout_of(SHAPE), SOME),
    "batches of arrays": lambda: BatchesFold(NpyFormat(), layout_of(SHAPE, ["fid", "opt"])),
    "batches that do not fit": lambda: BatchesFold(NpyFormat(), layout_of(Shape())),
    "shape": lambda: ShapeFold(),
    "shape of some": lambda: ShapeFold(False, True, SOME),
    "statistics": lambda: StatisticsFold(examples=9),
    "statistics of some": lambda: StatisticsFold(SOME, by_slot=True, examples=3),
}
"""Every fold that there is; made when it is used, as native filters go by the end of a test."""


def told(value: Any) -> Any:
    """The same as tuples, which can be compared."""
    if isinstance(value, _native.Parts):
        return (value.data, value.ends)
    if isinstance(value, _native.Output):
        return (value.data, value.entries, value.stream_bytes, value.sum, value.crc)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if hasattr(value, "to_pybytes"):  # a buffer of PyArrow
        return value.to_pybytes()
    if isinstance(value, _native.Summary):
        return value.pack()
    if hasattr(value, "__slots__") and value.__slots__:
        return tuple(told(getattr(value, name)) for name in value.__slots__)
    if isinstance(value, dict):
        return tuple((key, told(value[key])) for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return tuple(told(each) for each in value)
    return value


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


class Dies(NamedTuple):
    def run(self) -> None:
        os._exit(1)


def test_a_process_that_dies() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        workers = Workers(2, pool)
        for _ in range(2):
            with pytest.raises(BrokenExecutorError, match="terminated abruptly") as caught:
                workers.run(Dies())
            assert caught.value.kind == "broken_executor"


@pytest.fixture
def no_stream_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ranges", "extents", "plan", "hash_filters"):
        monkeypatch.setattr(f"monolith_cli.tables.{module}.SMALL_BYTES", 0)


def test_every_fold_is_here() -> None:
    modules = [
        import_module(f"{folds.__name__}.{each.name}") for each in iter_modules(folds.__path__)
    ]
    classes = {
        each for module in modules for each in vars(module).values() if isinstance(each, type)
    }
    every = {each for each in classes if each.__name__.endswith("Fold")} - {protocol.Fold}
    assert {type(make()) for make in FOLDS.values()} == {
        each for each in every if not each.__name__.startswith("_")
    }


@pytest.mark.usefixtures("no_stream_is_small")
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("block_bytes", [None, 700])
@pytest.mark.parametrize("name", FOLDS)
def test_folds_in_other_processes(
    tmp_path: Path, processes: Executor, name: str, block_bytes: int | None, damaged: bool
) -> None:
    fold = FOLDS[name]()
    path = tmp_path / "t"
    framed = ds.frame(*RECORDS[:70], NESTED, *RECORDS[70:])
    path.write_bytes(framed if block_bytes is None else ds.snappy_blocks(framed, block_bytes))
    if damaged:
        flip(path, path.stat().st_size // 3)

    def read(workers: Workers) -> list[Any]:
        file = DumpFile(os.fspath(path), "plain")
        stream = EntryStream([Extent(file, 0, file.stream_bytes, "t")])
        pieces = read_ranges(stream, SKIP, fold, workers=workers, range_bytes=900)
        return [(told(piece.value), piece.skipped, piece.size) for piece in pieces]

    assert read(Workers(2, processes)) == read(Workers())


@pytest.mark.parametrize("name", FOLDS)
def test_merged_partials(tmp_path: Path, name: str) -> None:
    fold = FOLDS[name]()
    path = tmp_path / "t"
    path.write_bytes(ds.frame(*RECORDS))
    whole = Extent(DumpFile(os.fspath(path)), 0, path.stat().st_size, "t")
    task = RangeTask(whole, ReadOptions(), fold, 0, whole.end)
    together: Partial[Any, Any] | None = None
    start = 0
    while start < whole.end:
        part = RangeTask(whole, ReadOptions(), fold, start, min(start + 2000, whole.end)).run()
        start = part.stop
        if together is None:
            together = part
        else:
            together.merge(part)
    alone = task.run()
    assert together is not None
    assert (together.first, together.stop) == (alone.first, alone.stop) == (0, whole.end)
    if name.startswith(("json", "frames")):
        assert b"".join(chunk.data for chunk in together.value) == alone.value[0].data
        assert sum(chunk.entries for chunk in together.value) == alone.value[0].entries
    elif name.startswith("rewritten"):
        outputs = together.value.outputs
        for pieces, [whole_output] in zip(outputs, alone.value.outputs, strict=True):
            assert sum(each.entries for each in pieces) == whole_output.entries
            assert sum(each.stream_bytes for each in pieces) == whole_output.stream_bytes
            assert sum(each.sum for each in pieces) % 2**64 == whole_output.sum
            if "blocks" not in name:
                assert b"".join(each.data for each in pieces) == whole_output.data
        assert together.value.slots == alone.value.slots
        assert told(together.value.delta) == told(alone.value.delta)
    elif name.startswith("columns"):
        fids = b"".join(bytes(part["fid"]) for part in together.value)
        assert fids == bytes(alone.value[0]["fid"])
    elif name.startswith(("digest", "whole", "feature ids")):
        words = [
            sorted(memoryview(b"".join(each.data for each in partial.value.parts)).cast("Q"))
            for partial in (together, alone)
        ]
        assert words[0] == words[1]
        assert len(words[0]) > 40
    elif name.startswith("batches"):
        shapes = Shape()
        for batch in together.value:
            shapes.merge(batch.shape)
        assert told(shapes) == told(alone.value[0].shape)
        assert len(together.value) > 5
    elif name == "records":
        assert together.value.count == alone.value.count
        starts = ds.frame_starts(RECORDS)
        numbers, positions = together.value.numbers, together.value.positions
        assert [starts[number] for number in numbers] == positions
        assert len(numbers) > 5
    elif name.startswith("statistics"):
        assert together.value.examples == alone.value.examples
        groups = zip(together.value.summary.groups(), alone.value.summary.groups(), strict=True)
        for (slot, there), (same_slot, here) in groups:
            assert slot == same_slot
            for field, same_field in zip(there.pop("fields"), here.pop("fields"), strict=True):
                # But for the last bits, as other sums were made.
                assert field.pop("name") == same_field.pop("name")
                assert field == pytest.approx(same_field, rel=1e-12)
            assert there == here
    else:
        assert told(together.value) == told(alone.value)


def test_every_other_task(tmp_path: Path, processes: Executor) -> None:
    """They find what they find here, and what a file's copy has found out stays with the file."""
    assets = ds.write_model_dir(
        tmp_path, multis={"M": {"a": RECORDS[:80], "b": RECORDS[80:]}}, hash_filters=2, shards=1
    )
    [dump] = {
        id(dump): dump for table in open_all(tmp_path).values() for dump in table.dumps
    }.values()
    [file], [contents] = dump.files, dump.contents
    found = processes.submit(run_task, MapTask(file)).result()
    assert found is not file
    file.adopt(found)
    assert (file.stored_bytes, file.stream_bytes) == (found.stored_bytes, found.stream_bytes)
    extents = processes.submit(run_task, LocateTask(file, contents, ReadOptions())).result()
    here = LocateTask(file, contents, ReadOptions()).run()
    places = [(each.start, each.end, each.table) for each in here.extents]
    assert [(each.start, each.end, each.table) for each in extents.extents] == places
    assert {each.file for each in extents.of(file).extents} == {file}
    whole = Extent(file, 0, file.stream_bytes, None)
    find = FindTask(whole, ReadOptions(), 0, [0, 3, 77], 0)
    starts = ds.frame_starts(RECORDS)
    assert processes.submit(run_task, find).result() == [0, starts[3], starts[77]]
    split = os.fspath(ds.shard_path(assets, "hash_filter_0", 1, 2))
    look = FilterTask(split, 1 << 20)
    assert processes.submit(run_task, look).result() == look.run()
    other = tmp_path / "other"
    other.write_bytes(Path(split).read_bytes()[:-1] + b"?")
    compare = CopyTask(split, os.fspath(other))
    told_there, told_here = processes.submit(run_task, compare).result(), compare.run()
    assert isinstance(told_there, CorruptionError)
    assert str(told_there) == str(told_here)


@pytest.mark.usefixtures("no_stream_is_small")
def test_whole_checkpoints_in_other_processes(tmp_path: Path, processes: Executor) -> None:
    ds.write_model_dir(
        tmp_path,
        singles={"s": RECORDS},
        multis={"M": {"a": RECORDS[:80], "b": RECORDS[80:], "c": []}},
        hash_filters=2,
        shards=2,
    )
    checkpoint = checkpoint_of(tmp_path)
    for options in (
        CountOptions(jobs=1),
        CountOptions(jobs=1, scan_multi=True),
        CountOptions(jobs=1, scan_multi=True, by_table=True),
        CountOptions(jobs=1, slots=[(0, 7)]),
    ):
        there = count_checkpoint(checkpoint, options, executor=processes)
        here = count_checkpoint(checkpoint, options)
        for name in vars(here):
            if name not in ("found", "problems", "differing"):
                assert getattr(there, name) == getattr(here, name), name

    def dump(executor: Executor | None, **options: Any) -> bytes:
        tables = list(open_all(tmp_path).values())
        stream = entry_stream(tables, executor=executor)
        return b"".join(Dump(stream, ReadOptions(), executor=executor, **options))

    for format in ("jsonl", "tfrecord"):
        assert dump(processes, format=format) == dump(None, format=format)

    fid = int(dump(None, columns=["fid"]).split(b'"')[3])
    stream = entry_stream(list(open_all(tmp_path).values()))
    there_found = find_entries(stream, ReadOptions(), [fid, 5], executor=processes)
    assert there_found == find_entries(stream, ReadOptions(), [fid, 5])
    assert there_found.absent == [5]

    for name in ("s", "a", "b", "c"):
        columns = open_all(tmp_path)[name].read_columns(executor=processes)
        assert told(columns) == told(open_all(tmp_path)[name].read_columns())
        page = open_all(tmp_path)[name].page(limit=5, executor=processes)
        assert page == open_all(tmp_path)[name].page(limit=5)


def test_a_file_that_changes_on_its_way(tmp_path: Path, processes: Executor) -> None:
    path = tmp_path / "t"
    path.write_bytes(ds.frame(*RECORDS))
    file = DumpFile(os.fspath(path))
    task = RangeTask(Extent(file, 0, file.stream_bytes, "t"), SKIP, RecordsFold(), 0, 1000)
    there = processes.submit(run_task, task).result()
    assert told(there.value) == told(task.run().value)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    other.replace(path)  # as long as it was
    copied = pickle.loads(pickle.dumps(task))
    with pytest.raises(ChangedWhileReadError, match="changed while it was read"):
        copied.run()
    with pytest.raises(ChangedWhileReadError, match="changed while it was read"):
        processes.submit(run_task, task).result()


def test_the_map_of_blocks_travels(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(ds.snappy_blocks(ds.frame(*RECORDS), 700))
    file = DumpFile(os.fspath(path), "snappy")
    assert file.open().block_map is not None
    copied = pickle.loads(pickle.dumps(file))
    assert copied.stream_bytes == file.stream_bytes == len(ds.frame(*RECORDS))
    assert file.open().block_map in copied.__getstate__()


@pytest.mark.parametrize("name", FOLDS)
def test_whole_files_in_other_processes(tmp_path: Path, processes: Executor, name: str) -> None:
    """A file that comes back knows its length, and where its blocks lie."""
    path = tmp_path / "t"
    path.write_bytes(ds.snappy_blocks(ds.frame(*RECORDS), 700))

    def read(workers: Workers) -> tuple[list[Any], DumpFile]:
        file = DumpFile(os.fspath(path), "snappy")
        with closing(read_files([file], ReadOptions(), FOLDS[name](), workers)) as pieces:
            return [(told(piece.value), piece.skipped, piece.size) for piece in pieces], file

    (here, _), (there, file) = read(Workers()), read(Workers(2, processes))
    assert here == there
    assert file.stream_bytes == len(ds.frame(*RECORDS))
    assert file.__getstate__()[0]
