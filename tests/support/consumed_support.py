"""Pipelines over a few files, and what a program has taken from them when their state was saved.

Each pipeline reads 20 records, 000 to 019, from four files of 6, 0, 9 and 5. TensorFlow takes one
element after the other, and saves the state before each and after the last.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tf_support import tensorflow

from monolith_cli.iterators.inputs import read_input
from monolith_cli.iterators.place import Place

SIZES = (6, 0, 9, 5)
RECORDS = 20
MOST = 9  # elements that are taken

Make = Callable[["Files"], Any]


class Files(NamedTuple):
    """The same records in several formats; paths in order."""

    plain: list[str]
    gzip: list[str]
    zlib: list[str]
    lines: list[str]
    fixed: list[str]
    fixed_gzip: list[str]

    def records(self, **options: Any) -> Any:
        return tensorflow().data.TFRecordDataset(self.plain, **options)

    def names(self) -> Any:
        return tensorflow().data.Dataset.from_tensor_slices(self.plain)


def write_files(directory: Path) -> Files:
    tf = tensorflow()
    made = Files([], [], [], [], [], [])
    first = 0
    for i, size in enumerate(SIZES):
        numbers = [b"%03d" % n for n in range(first, first + size)]
        first += size
        for paths, suffix, compression in (
            (made.plain, "", ""),
            (made.gzip, ".gz", "GZIP"),
            (made.zlib, ".zlib", "ZLIB"),
        ):
            paths.append(str(directory / f"part-{i}{suffix}"))
            with tf.io.TFRecordWriter(paths[-1], compression) as writer:
                for number in numbers:
                    writer.write(number + b"x" * (int(number) % 7))
        lines = b"".join(b"%s%s\n" % (number, b"y" * (int(number) % 4)) for number in numbers)
        end = None if size != 9 else -1  # a last line without an end
        for paths, name, content in (
            (made.lines, f"lines-{i}", lines[:end]),
            (made.fixed, f"fixed-{i}", b"HH" + b"".join(numbers) + b"F"),
            (made.fixed_gzip, f"fixed-{i}.gz", gzip.compress(b"HH" + b"".join(numbers) + b"F")),
        ):
            (directory / name).write_bytes(content)
            paths.append(str(directory / name))
    return made


def number_of(text: Any) -> Any:
    tf = tensorflow()
    return tf.strings.to_number(tf.strings.substr(text, 0, 3), tf.int64)


def fixed(paths: list[str], compression: str = "") -> Any:
    return tensorflow().data.FixedLengthRecordDataset(
        paths, 3, header_bytes=2, footer_bytes=1, compression_type=compression
    )


def text_lines(paths: list[str]) -> Any:
    return tensorflow().data.TextLineDataset(paths)


def one_file(path: Any) -> Any:
    return tensorflow().data.TFRecordDataset(path)


def same(value: Any) -> Any:
    return value


def numbers(*arguments: int) -> Any:
    return tensorflow().data.Dataset.range(*arguments)


def is_kept(text: Any) -> Any:
    return number_of(text) % 3 != 0


class Taken(NamedTuple):
    """A state, what had been taken when it was saved, and the fingerprint."""

    prefix: str
    records: list[int]
    fingerprint: Any

    @property
    def is_symbolic(self) -> bool:
        (known,) = self.fingerprint.values()
        return "symbolic_checkpoint" in json.dumps(known["nodes"])

    def places(self, fingerprint: bool = True, input_dir: str | None = None) -> list[Place]:
        known = self.fingerprint if fingerprint else None
        (iterator,) = read_input(self.prefix, known, input_dir=input_dir)
        return iterator.places


def flat(value: Any) -> list[int]:
    (values,) = value.values() if isinstance(value, dict) else (value,)
    found = values.reshape(-1).tolist() if hasattr(values, "reshape") else [values]
    return [int(item[:3]) if isinstance(item, bytes) else int(item) for item in found]


def taken_in_a_graph(make: Callable[[], Any], directory: Path) -> Iterator[Taken]:
    from monolith_cli.training.fingerprint import fingerprint
    from monolith_cli.training.inputs.state import InputState

    tf = tensorflow()
    v1 = tf.compat.v1
    records: list[int] = []
    with tf.Graph().as_default():
        iterator = v1.data.make_one_shot_iterator(make())
        following = iterator.get_next()
        state = InputState([iterator._iterator_resource])
        described = json.loads(json.dumps(fingerprint(state.iterators)))
        with v1.Session() as session:
            for k in range(MOST):
                prefix = str(directory / f"g-{k}")
                if state.save(session, prefix):
                    pytest.skip("TensorFlow has no symbolic checkpoint of that")
                yield Taken(prefix, list(records), described)
                try:
                    records += flat(session.run(following))
                except tf.errors.OutOfRangeError:
                    prefix = str(directory / "g-end")
                    state.save(session, prefix)
                    yield Taken(prefix, records, described)
                    return


def taken_eagerly(make: Callable[[], Any], directory: Path) -> Iterator[Taken]:
    from monolith_cli.training.fingerprint import dataset_fingerprint

    tf = tensorflow()
    dataset = make()
    iterator = iter(dataset)
    described = {"iterator": json.loads(json.dumps(dataset_fingerprint(dataset)))}
    records: list[int] = []
    for k in range(MOST):
        try:
            prefix = tf.train.Checkpoint(iterator=iterator).write(str(directory / f"e-{k}"))
        except tf.errors.FailedPreconditionError:
            pytest.skip("TensorFlow saves no shuffle in a function eagerly")
        yield Taken(prefix, list(records), described)
        try:
            records += flat(tf.nest.map_structure(lambda each: each.numpy(), next(iterator)))
        except StopIteration:
            prefix = tf.train.Checkpoint(iterator=iterator).write(str(directory / "e-end"))
            yield Taken(prefix, records, described)
            return


def symbolic(dataset: Any) -> Any:
    """The dataset, whose state is that of what was given out, and not of what is read ahead."""
    options = tensorflow().data.Options()
    options.experimental_symbolic_checkpoint = True
    # TensorFlow hangs now and then if it saves such a state while a thread reads ahead of a shuffle
    # that repeats.
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)
