"""The encoder, byte for byte against protobuf's own serializer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
import tf_support
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native, messages

I64 = np.int64
F32 = np.float32


def as_columns(kind: str, dumps: list[Any]) -> tuple[str, list[Any]]:
    """The values of SingleOptimizerDumps of one kind, as the encoder takes them."""
    arrays, floats, integers = ds.OPTIMIZERS[kind]
    fields = []
    for name in (*arrays, *floats, *integers):
        rows = []
        for single in dumps:
            dump = getattr(single, kind)
            if name in arrays:
                rows.append(list(getattr(dump, name)))
            else:
                rows.append([getattr(dump, name)] if dump.HasField(name) else [])
        values = np.array(
            [value for row in rows for value in row], dtype=I64 if name in integers else F32
        )
        fields.append((name, values, np.array([len(row) for row in rows], dtype=np.uint32)))
    return kind, fields


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(sorted(ds.OPTIMIZERS)), max_size=3),
    st.integers(0, 6),
    st.booleans(),
)
def test_as_protobuf_writes(seed: int, kinds: list[str], count: int, with_times: bool) -> None:
    rng = random.Random(seed)
    entries = []
    for _ in range(count):
        entry = ds.random_entry(rng, segments=[(kind, rng.randint(0, 40)) for kind in kinds])
        if not with_times:
            entry.ClearField("last_update_ts_sec")
        if not kinds:
            entry.num.extend([1.5] * rng.randint(0, 3))
        entries.append(entry)
    framed = _native.encode_entries(
        np.array([entry.id for entry in entries], dtype=I64),
        np.array([value for entry in entries for value in entry.num], dtype=F32),
        dims=np.array([len(entry.num) for entry in entries], dtype=np.uint32),
        times=np.array([entry.last_update_ts_sec for entry in entries], dtype=I64)
        if with_times
        else None,
        optimizers=[
            as_columns(kind, [entry.opt.dump[index] for entry in entries])
            for index, kind in enumerate(kinds)
        ],
    )
    assert framed == ds.frame(*(entry.SerializeToString() for entry in entries))


def test_matrices_need_no_lengths() -> None:
    framed = _native.encode_entries(
        np.array([1, -1], dtype=I64),
        np.array([[1, 2], [3, 4]], dtype=F32),
        times=np.array([5, 300], dtype=I64),
        optimizers=[
            ("adagrad", [("norm", np.array([[6, 7], [8, 9]], dtype=F32), None)]),
            ("batch_softmax", [("global_step", np.array([10, -1], dtype=I64), None)]),
            ("sgd", []),
        ],
    )
    first = messages.EntryDump(id=1, num=[1, 2], last_update_ts_sec=5)
    first.opt.dump.add().adagrad.norm.extend([6, 7])
    first.opt.dump.add().batch_softmax.global_step = 10
    first.opt.dump.add().sgd.SetInParent()
    second = messages.EntryDump(id=-1, num=[3, 4], last_update_ts_sec=300)
    second.opt.dump.add().adagrad.norm.extend([8, 9])
    second.opt.dump.add().batch_softmax.global_step = -1
    second.opt.dump.add().sgd.SetInParent()
    assert framed == ds.frame(first.SerializeToString(), second.SerializeToString())


def test_nothing_to_encode() -> None:
    assert _native.encode_entries(np.array([], dtype=I64), np.zeros((0, 4), dtype=F32)) == b""


FIDS = np.array([1, 2], dtype=I64)
VALUES = np.zeros((2, 3), dtype=F32)
LENGTHS = np.array([1, 2], dtype=np.uint32)
STEPS = np.array([1, 2], dtype=I64)


@pytest.mark.parametrize(
    "arguments",
    [
        {"embedding": np.zeros(3, dtype=F32)},
        {"embedding": VALUES, "dims": LENGTHS},
        {"embedding": VALUES, "dims": np.array([6], dtype=np.uint32)},
        {"embedding": VALUES, "dims": np.array([2**32 - 1, 7], dtype=np.uint32)},
        {"times": np.array([1], dtype=I64)},
        {"optimizers": [("nadam", [])]},
        {"optimizers": [("moving_average", [])]},
        {"optimizers": [("adagrad", [("zero", VALUES, None)])]},
        {"optimizers": [("ftrl", [("norm", VALUES, None), ("zero", VALUES, None)])]},
        {"optimizers": [("ftrl", [("norm", VALUES, None), ("norm", VALUES, None)])]},
        {"optimizers": [("adagrad", [("norm", np.zeros(5, dtype=F32), None)])]},
        {"optimizers": [("batch_softmax", [("global_step", np.array([1, 2, 3]), LENGTHS)])]},
        {"optimizers": [("group_adagrad", [("grad_square_sum", VALUES, None)])]},
    ],
)
def test_sizes_that_do_not_fit(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        _native.encode_entries(FIDS, **{"embedding": VALUES, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"embedding": VALUES.astype(np.float64)},
        {"optimizers": [("batch_softmax", [("global_step", STEPS.astype(F32), None)])]},
        {"optimizers": [("adagrad", [("norm", VALUES.astype(I64), None)])]},
    ],
)
def test_other_dtypes(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _native.encode_entries(FIDS, **{"embedding": VALUES, **arguments})


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 700_000])
def test_snappy_blocks(tmp_path: Path, size: int) -> None:
    records = [random.Random(size).randbytes(size), b"end"]
    blocks = _native.encode_snappy_blocks(ds.frame(*records))
    (tmp_path / "ours").write_bytes(blocks)
    # TensorFlow's reader takes no block of more than 262,144 bytes.
    assert tf_support.read_records(tmp_path / "ours", snappy=True) == records
    assert _native.encode_snappy_blocks(b"") == b""
