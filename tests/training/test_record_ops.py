"""Records that are framed in a graph are those of protobuf and TensorFlow's record writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_support

from monolith_cli import messages

TIMES = [0, 1, 127, 128, 1_700_000_000, 2**35 - 1, 2**35, 2**62, 2**63 - 1, -1, -(2**63)]


def framed(ids: list[int], rows: Any, times: list[int]) -> bytes:
    tf = tf_support.tensorflow()
    from monolith_cli.training.tables.record_ops import RecordFormat

    form = RecordFormat(rows.shape[1])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        arguments = [tf.constant(ids, tf.int64), tf.constant(rows), tf.constant(times, tf.int64)]
        records = session.run(form.frame(*arguments, form.checksum_parts()))
    assert len(records) <= len(ids) * form.longest
    return bytes(records)


def written(path: Path, ids: list[int], rows: Any, times: list[int]) -> bytes:
    """The same by TensorFlow's own writer."""
    tf = tf_support.tensorflow()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for fid, row, time in zip(ids, rows, times, strict=True):
            entry = messages.EntryDump(id=fid, num=row, last_update_ts_sec=time)
            writer.write(entry.SerializeToString())
    return path.read_bytes()


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 33])
def test_times_of_every_length(tmp_path: Path, dim: int) -> None:
    rng = np.random.default_rng(dim)
    ids = [0, -1, 2**63 - 1, -(2**63), *range(len(TIMES) - 4)]
    rows = rng.normal(size=(len(TIMES), dim)).astype(np.float32)
    assert framed(ids, rows, TIMES) == written(tmp_path / "x", ids, rows, TIMES)


@pytest.mark.parametrize("time", TIMES)
def test_times_of_one_length(tmp_path: Path, time: int) -> None:
    rng = np.random.default_rng(7)
    ids = rng.integers(-(2**63), 2**63, 500).tolist()
    # Any bits: of floats that are no numbers, too.
    rows = rng.integers(0, 2**32, (500, 5), dtype=np.uint32).view(np.float32)
    records = framed(ids, rows, [time] * 500)
    expected = written(tmp_path / "x", ids, np.nan_to_num(rows), [time] * 500)
    assert len(records) == len(expected)
    assert framed(ids, np.nan_to_num(rows), [time] * 500) == expected
    (tmp_path / "y").write_bytes(records)
    read = [messages.EntryDump.FromString(data) for data in tf_support.read_records(tmp_path / "y")]
    got = np.array([entry.num for entry in read], np.float32)
    assert np.array_equal(got, rows, equal_nan=True)


def test_no_entry() -> None:
    assert framed([], np.zeros((0, 3), np.float32), []) == b""
