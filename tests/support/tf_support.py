"""TensorFlow for tests: the independent reader and writer of the formats."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@functools.cache
def _imported() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says of its own modules while they are imported
        try:
            import tensorflow
        except ImportError:
            return None
    return tensorflow


def tensorflow() -> Any:
    """The tensorflow module; skips the test where it is not installed.

    Importing it takes seconds, so call this in a test or fixture, not while tests are collected.
    """
    module = _imported()
    if module is None:
        pytest.skip("TensorFlow is not installed")
    return module


def write_plain(path: str | os.PathLike[str], records: list[bytes]) -> None:
    """Write a TFRecord file without compression, with TensorFlow's own writer."""
    with tensorflow().io.TFRecordWriter(os.fspath(path)) as writer:
        for record in records:
            writer.write(record)


def write_snappy(path: str | os.PathLike[str], records: list[bytes]) -> None:
    """Write a SNAPPY TFRecord file, with TensorFlow's own writer."""
    tensorflow()
    from tensorflow.python.lib.io import _pywrap_record_io as record_io

    writer = record_io.RecordWriter(os.fspath(path), record_io.RecordWriterOptions("SNAPPY"))
    for record in records:
        writer.write(record)
    writer.close()


def read_records(path: str | os.PathLike[str], *, snappy: bool = False) -> list[bytes]:
    """The records of a TFRecord file, read by TensorFlow; its errors are raised as they are."""
    tensorflow()
    from tensorflow.python.lib.io import _pywrap_record_io as record_io

    # The reader below its datasets, which take a hundred times as long for a record.
    return list(record_io.RecordIterator(os.fspath(path), "SNAPPY" if snappy else ""))


def save_checkpoint(
    directory: str | os.PathLike[str], step: int, variables: dict[str, Any] | None = None
) -> str:
    """Save dense variables (arrays by name) and `global_step` with TensorFlow's Saver.

    Writes `model.ckpt-<step>.index`, its data, its meta graph, and `checkpoint`; returns the
    prefix `<directory>/model.ckpt-<step>`.
    """
    tf = tensorflow()
    v1 = tf.compat.v1
    arrays = {"dense/kernel": [[1.5, -2.0], [0.25, 3.0]]} if variables is None else variables
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.create_global_step()
        for name, value in arrays.items():
            v1.get_variable(name, initializer=tf.constant(value))
        session.run(v1.global_variables_initializer())
        session.run(v1.train.get_global_step().assign(step))
        saver = v1.train.Saver(max_to_keep=None)
        prefix: str = saver.save(
            session, os.fspath(Path(directory) / "model.ckpt"), global_step=step
        )
    return prefix


@contextlib.contextmanager
def renames(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, bool]]]:
    """Fills a list: what gets its name by `os.replace`, and whether its content was synced before.

    In the order of names within a directory.
    """
    synced: set[tuple[int, int]] = set()
    found: list[tuple[str, bool]] = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(file: int) -> None:
        fsync(file)
        stat = os.fstat(file)
        synced.add((stat.st_dev, stat.st_ino))

    def noting_replace(source: Any, target: Any) -> None:
        stat = os.stat(source)
        found.append((os.fspath(target), (stat.st_dev, stat.st_ino) in synced))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noting_fsync)
        patch.setattr(os, "replace", noting_replace)
        yield found
    found.sort()
