"""A step as jobs leave it, written by TensorFlow, for tests of what is made of a damaged one."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import tf_support
from step_support import commit, save_step
from table_support import flip

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.formats.ckpt_info import write_ckpt_info
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle
from monolith_cli.tables.counts import count_checkpoint

STEP = 300
ASSETS = f"model.ckpt-{STEP}.assets"
SINGLE = "MonolithHashTable_a"
OTHER = "MonolithHashTable_b"
MULTI = "emb_0"
DENSE = {"dense/kernel": np.arange(600, dtype=np.float32).reshape(20, 30), "bias": np.ones(7)}


def write_job(directory: Path, *, manifest: bool = True, filters: int = 2) -> Path:
    """A job's directory with two steps, one of them listed, and all that may lie beside it."""
    entries = ds.random_entries(5, 3000)
    ds.write_model_dir(
        directory,
        STEP,
        singles={SINGLE: ds.random_entries(1, 300), OTHER: ds.random_entries(2, 40)},
        multis={MULTI: {"user": entries[:2000], "item": entries[2000:2990], "ad": entries[2990:]}},
        hash_filters=filters,
        tf=True,
    )
    tf_support.save_checkpoint(directory, STEP, DENSE)
    for step in (200, STEP):
        for worker in (0, 1):
            state = {"state": np.arange(worker + step, dtype=np.int64)}
            write_tensor_bundle(directory / f"input_worker_{worker}.ckpt-{step}", state)
    for worker in (0, 1):
        write_input_state(str(directory), worker, STEP)
    workers = {worker: WorkerInput(True, {"files": 3}) for worker in (0, 1)}
    write_step_inputs(str(directory), StepInputs(STEP, "run", workers))
    ds.write_plain(directory / f"model.ckpt-{STEP}_item_pool_0_0_1", [b"an item", b"another"])
    ds.write_plain(directory / f"model.ckpt-{STEP + 50}_item_pool_0_0_1", [b"newer"])
    (directory / "restore_ckpt").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    (directory / "monolith_checkpoint").write_text(
        f'exempt_model_checkpoint_paths: "/old/place/model.ckpt-{STEP}"\n'
        'exempt_model_checkpoint_paths: "model.ckpt-100"\n'
        "last_checkpoint_save_timestamp: 17\n"
        "builtin_hash_table_type: MULTI_CUCKOO_HASH_MAP\n"
    )
    (directory / "ckpt.override").write_text('{"model_step": 200, "inputs": {}}')
    (directory / "controller_server_addr.txt").write_text("localhost:1")
    counts = count_checkpoint(open_model_dir(directory).checkpoint())
    write_ckpt_info(directory / f"ckpt.info-{STEP}", counts.ckpt_info())
    if manifest:
        by_dump = {SINGLE: 300, OTHER: 40, MULTI: 3000}
        made = make_manifest(
            str(directory), "model.ckpt", STEP, "run", workers=(0, 1), entries=by_dump
        )
        write_step_manifest(str(directory), made)
    return directory


def write_damaged(directory: Path) -> Path:
    """A small step, not by TensorFlow, with damage of every kind that a repair reports."""
    save_step(directory, STEP, entries=20, inputs=(0,))
    commit(directory, STEP)
    assets = directory / ASSETS
    flip(assets / "user_0-00000-of-00002", 14)
    pool = directory / f"model.ckpt-{STEP}_item_pool_0_0_1"
    ds.write_plain(pool, [b"an item"])
    flip(pool, 14)
    scribble(assets / "user_1-00000-of-00002", 14)
    cut = assets / "item_0-00000-of-00002"
    cut.write_bytes(cut.read_bytes()[:-20])
    (directory / f"input_worker_0.ckpt-{STEP}.index").write_bytes(b"")
    (directory / f"ckpt.info-{STEP}").write_text("{")
    return directory


def contents_of(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below, with its bytes and when it was written."""
    return {
        os.fspath(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def bytes_of(directory: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {name: data for name, (data, _) in contents_of(directory).items()}


def shard(base: str, number: int = 0, total: int = 2) -> str:
    return f"{ASSETS}/{base}-{number:05d}-of-{total:05d}"


def scribble(path: Path, at: int, size: int = 8) -> None:
    """Damage that no bit explains."""
    data = bytearray(path.read_bytes())
    data[at : at + size] = bytes(byte ^ 0x5A for byte in data[at : at + size])
    path.write_bytes(data)


def read(path: Path, *, snappy: bool = False) -> list[bytes]:
    """The records of a file by TensorFlow's reader, which takes no blocks of more than 256 KiB."""
    tf_support.tensorflow()
    from tensorflow.python.lib.io import _pywrap_record_io as record_io

    return list(record_io.RecordIterator(str(path), "SNAPPY" if snappy else ""))


def records_of(directory: Path, base: str, *, snappy: bool = False) -> list[bytes]:
    """All records of a dump."""
    paths = sorted((directory / ASSETS).glob(f"{base}-*"))
    return [each for path in paths for each in read(path, snappy=snappy)]


def tables_of(directory: Path, shards: int = 2) -> dict[str, list[bytes]]:
    """The entries of the multi dump by table, as its contents files cut what TensorFlow reads."""
    from monolith_cli import messages

    found: dict[str, list[bytes]] = {}
    for number in range(shards):
        records = iter(read(directory / shard(MULTI, number, shards), snappy=True))
        for meta in read(directory / shard(f"{MULTI}.meta", number, shards)):
            table = messages.MultiHashTableMetadata.FromString(meta)
            entries = found.setdefault(table.table_name, [])
            entries += [next(records) for _ in range(table.num_entries)]
        assert not list(records)
    return found


def block_sizes(path: Path) -> list[int]:
    """The uncompressed sizes of the blocks of a SNAPPY file."""
    data, position, sizes = path.read_bytes(), 0, []
    while position < len(data):
        (size,) = struct.unpack(">I", data[position : position + 4])
        length, shift, at = 0, 0, position + 4
        while True:
            length |= (data[at] & 0x7F) << shift
            shift += 7
            if data[at] < 0x80:
                break
            at += 1
        sizes.append(length)
        position += 4 + size
    return sizes


def assert_restores(directory: Path) -> None:
    """TensorFlow's own Saver restores the latest checkpoint, as `checkpoint` names it."""
    tf = tf_support.tensorflow()
    v1 = tf.compat.v1
    path = tf.train.latest_checkpoint(str(directory))
    assert path == str(directory / f"model.ckpt-{STEP}")
    values: dict[str, Any] = {}
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.create_global_step()
        for name, value in DENSE.items():
            v1.get_variable(name, shape=value.shape, dtype=value.dtype)
        v1.train.Saver().restore(session, path)
        for variable in v1.global_variables():
            values[variable.op.name] = session.run(variable)
    assert values.pop("global_step") == STEP
    for name, value in DENSE.items():
        np.testing.assert_array_equal(values[name], value)
