"""What the state of a pipeline says against what a program has taken from it.

Each pipeline reads 20 records, 000 to 019, from four files of 6, 0, 9 and 5. TensorFlow takes one
element after the other, and saves the state before each and after the last.
"""

from __future__ import annotations

import gzip
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from iterator_support import write_parts
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


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    tf = tensorflow()
    directory = tmp_path_factory.mktemp("records")
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


EXACT: dict[str, Make] = {
    "records": lambda f: f.records(),
    "batches": lambda f: f.records().batch(4),
    "batches, read ahead": lambda f: f.records().batch(3).prefetch(2),
    "whole batches only": lambda f: f.records().batch(3, drop_remainder=True),
    "one large batch": lambda f: f.records().batch(50),
    "map, then batch": lambda f: f.records().map(number_of, num_parallel_calls=2).batch(3),
    "batch, then map": lambda f: f.records().batch(3).map(number_of).prefetch(2),
    "batch, then map, in order": lambda f: f.records().batch(7).map(number_of, 1).prefetch(1),
    "batches in parallel": lambda f: f.records().batch(3, num_parallel_calls=2).prefetch(1),
    "padded batches": lambda f: f.records().map(number_of).padded_batch(3),
    "records read ahead": lambda f: f.records().prefetch(5).batch(3).prefetch(2),
    "one large read-ahead": lambda f: f.records().batch(3).prefetch(-1),
    "scan": lambda f: f.records().scan(0, lambda n, text: (n + 1, text)).batch(3),
    "named nodes": lambda f: f.records().map(number_of, name="parse").batch(3, name="mine"),
    "take": lambda f: f.records().take(13).batch(4),
    "skip": lambda f: f.records().skip(7).batch(4),
    "shard": lambda f: f.records().shard(3, 1).batch(2),
    "shard, then map": lambda f: f.records().shard(3, 2).batch(2).map(number_of).prefetch(2),
    "repeat": lambda f: f.records().repeat(3).batch(7),
    "repeat without end": lambda f: f.records().repeat().batch(7).prefetch(3),
    "repeat batches": lambda f: f.records().batch(7).repeat(3),
    "repeat mapped batches": lambda f: f.records().batch(7).map(number_of).repeat(3).prefetch(3),
    "repeat whole batches": lambda f: f.records().batch(7, drop_remainder=True).repeat(3),
    "repeat the files": lambda f: f.names().repeat(3).flat_map(one_file).batch(7),
    "repeat what is skipped": lambda f: f.records().skip(3).repeat(3).batch(7),
    "take of repeated": lambda f: f.records().repeat().take(33).batch(5),
    "take of batches": lambda f: f.records().repeat().batch(4).take(8).prefetch(2),
    "flat map of files": lambda f: f.names().flat_map(one_file).batch(4),
    "mapped in each file": lambda f: (
        f.names().flat_map(lambda p: one_file(p).map(same).prefetch(2)).batch(4)
    ),
    "skipped in each file": lambda f: f.names().flat_map(lambda p: one_file(p).skip(2)).batch(4),
    "batched in each file": lambda f: f.names().flat_map(lambda p: one_file(p).batch(4)),
    "cached": lambda f: f.records().cache().repeat(2).batch(7),
    "GZIP": lambda f: tensorflow().data.TFRecordDataset(f.gzip, "GZIP").batch(3),
    "ZLIB": lambda f: tensorflow().data.TFRecordDataset(f.zlib, "ZLIB").batch(3),
    "lines": lambda f: text_lines(f.lines).batch(3),
    "fixed length": lambda f: fixed(f.fixed).batch(3),
    "fixed length, GZIP": lambda f: fixed(f.fixed_gzip, "GZIP").batch(3),
    "range": lambda f: numbers(100, 140, 2).map(lambda n: (n - 100) // 2).batch(3),
    "slices": lambda f: tensorflow().data.Dataset.from_tensor_slices([*range(20)]).batch(3),
}
"""In order, so the last record that was taken is known by its number, too."""

SIDE_BY_SIDE: dict[str, Make] = {
    "zip": lambda f: (
        tensorflow().data.Dataset.zip((f.records(), numbers(50))).map(lambda a, b: a).batch(3)
    ),
    "enumerate": lambda f: f.records().enumerate().map(lambda i, t: t).batch(3),
}

SHUFFLED: dict[str, Make] = {
    "shuffle": lambda f: f.records().shuffle(5, seed=1).batch(3),
    "shuffle all": lambda f: f.records().shuffle(50, seed=1).batch(3).prefetch(2),
    "shuffle, batch, map": lambda f: (
        f.records().shuffle(8, seed=7).batch(4).map(lambda t: {"a": number_of(t)}).prefetch(2)
    ),
    "shuffle, then repeat": lambda f: f.records().shuffle(5, seed=1).repeat(3).batch(7),
    "repeat, then shuffle": lambda f: f.records().repeat(3).shuffle(5, seed=1).batch(7),
    "shuffle, repeat without end": lambda f: f.records().shuffle(5, seed=1).repeat().batch(7),
    "skip, shuffle, repeat": lambda f: f.records().skip(3).shuffle(4, 1).repeat(3).batch(7),
    "shuffle in each file": lambda f: (
        f.names().flat_map(lambda p: one_file(p).shuffle(3, seed=1)).batch(4)
    ),
    "cache, shuffle, repeat": lambda f: f.records().cache().shuffle(5, 1).repeat(3).batch(7),
}

UNKNOWN: dict[str, tuple[Make, str]] = {
    "flat map of elements": (
        lambda f: f.records().flat_map(lambda t: tensorflow().data.Dataset.from_tensors(t)),
        "FlatMap",
    ),
    "interleave": (lambda f: f.names().interleave(one_file, cycle_length=2), "Interleave"),
    "parallel reads": (lambda f: f.records(num_parallel_reads=2), "LegacyParallelInterleave"),
    "window": (
        lambda f: f.records().window(3, shift=2).flat_map(lambda w: w.batch(3)),
        "FlatMap",
    ),
    "unbatch": (lambda f: f.records().batch(5).map(same).unbatch(), "Unbatch"),
    "rebatch": (lambda f: f.records().batch(5).rebatch(3), "Rebatch"),
    "group": (
        lambda f: f.records().group_by_window(
            lambda t: number_of(t) % 2, lambda _, w: w.batch(3), window_size=3
        ),
        "GroupByWindow",
    ),
    "sample": (
        lambda f: tensorflow().data.Dataset.sample_from_datasets(
            [one_file(f.plain[0]), one_file(f.plain[2])], [0.5, 0.5], seed=1
        ),
        "DirectedInterleave",
    ),
    "unique": (lambda f: f.records().unique(), "Unique"),
    "errors left out": (lambda f: f.records().ignore_errors(), "IgnoreErrors"),
    "concatenation": (
        lambda f: one_file(f.plain[0]).concatenate(one_file(f.plain[2])).map(same),
        "Concatenate",
    ),
}

COUNTED: dict[str, Make] = {
    "filter": lambda f: f.records().filter(is_kept).batch(2),
    "filter, shuffle, repeat": lambda f: (
        f.records().filter(is_kept).shuffle(4, seed=2).repeat(3).batch(4)
    ),
    "interleave, shuffle": lambda f: (
        f.names().interleave(one_file, cycle_length=2).shuffle(4, seed=1).batch(3)
    ),
}


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


@pytest.fixture(params=["graph", "eager", "graph, symbolic", "eager, symbolic"])
def taken(request: pytest.FixtureRequest, files: Files, tmp_path: Path) -> Any:
    """Takes from a pipeline, in a graph's session or eagerly, with either kind of checkpoints."""
    where, _, kind = request.param.partition(", ")
    take = taken_in_a_graph if where == "graph" else taken_eagerly

    def run(make: Make) -> list[Taken]:
        def made() -> Any:
            return symbolic(make(files)) if kind else make(files)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated kinds of datasets are among them
            try:
                return list(take(made, tmp_path))
            except tensorflow().errors.UnimplementedError as error:
                if not kind or "does not support symbolic checkpointing" not in error.message:
                    raise
                pytest.skip("TensorFlow has no symbolic checkpoint of that")

    return run


def check(place: Place, taken: list[int], *, in_order: bool) -> bool:
    """Whether it says how much was consumed; then it is right."""
    consumed = place.consumed
    if consumed.records is None:
        assert consumed.why or consumed.hidden_by
        return False
    if consumed.skipped is not None:
        assert consumed.records - consumed.skipped == len(taken)
    if in_order:
        assert (consumed.records - 1) % RECORDS == taken[-1] if taken else consumed.records == 0
    if consumed.epoch is not None and consumed.records_in_epoch is not None:
        before = RECORDS * (consumed.epoch - 1)
        assert before + consumed.records_in_epoch == consumed.records
        assert consumed.records_in_epoch <= RECORDS
    return True


@pytest.mark.parametrize("name", EXACT)
def test_in_order(taken: Any, name: str) -> None:
    for each in taken(EXACT[name]):
        place = each.places()[0]
        assert check(place, each.records, in_order=True), place
        check(each.places(fingerprint=False)[0], each.records, in_order=True)


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_side_by_side(taken: Any, name: str) -> None:
    for each in taken(SIDE_BY_SIDE[name]):
        places = each.places()
        if not places[0].ended:
            assert {place.source.base for place in places} == {
                "TFRecord",
                "Range",
            } or len(each.records) in (0, RECORDS)
            known = [check(place, each.records, in_order=True) for place in places]
            assert all(known) or len(each.records) == RECORDS


@pytest.mark.parametrize("name", SHUFFLED)
def test_shuffled(taken: Any, name: str) -> None:
    for each in taken(SHUFFLED[name]):
        assert check(each.places()[0], each.records, in_order=False)
        check(each.places(fingerprint=False)[0], each.records, in_order=False)


@pytest.mark.parametrize("name", ["shuffle", "shuffle, batch, map", "shuffle, then repeat"])
def test_shuffled_whose_files_are_gone(taken: Any, name: str) -> None:
    for each in taken(SHUFFLED[name])[:6]:
        (place,) = each.places(input_dir="/nowhere")
        if not place.ended or place.source.base == "Shuffle":
            assert check(place, each.records, in_order=False)


@pytest.mark.parametrize("name", UNKNOWN)
def test_hidden(taken: Any, name: str) -> None:
    make, hides = UNKNOWN[name]
    states = taken(make)
    for each in states:
        for place in each.places():
            consumed = place.consumed
            if consumed.records is not None:  # all there is, or nothing
                assert consumed.records in (0, RECORDS)
                assert consumed.records == len(each.records)
                continue
            if not place.ended:
                assert consumed.hidden_by is not None
                assert consumed.hidden_by.base == hides
            assert consumed.elements in (None, len(each.records))
    assert any(place.consumed.records is None for each in states[1:3] for place in each.places())


@pytest.mark.parametrize("name", COUNTED)
def test_counted_behind_what_hides(taken: Any, name: str) -> None:
    known = 0
    for each in taken(COUNTED[name]):
        for place in each.places():
            if place.consumed.hidden_by is None:
                continue
            assert place.consumed.records is None
            if place.consumed.elements is not None:
                known += 1
                assert place.consumed.elements == len(each.records)
    assert known > 2


def taken_while(dataset: Any, most: int) -> Any:
    return dataset.enumerate().take_while(lambda i, _: i < most).map(lambda _, each: each)


NODES: dict[str, Callable[[Any, random.Random], Any]] = {
    "batch": lambda d, r: d.batch(r.randint(1, 6), drop_remainder=r.random() < 0.3),
    "parallel batch": lambda d, r: d.batch(
        r.randint(1, 6), drop_remainder=r.random() < 0.3, num_parallel_calls=2
    ),
    "prefetch": lambda d, r: d.prefetch(r.randint(1, 3)),
    "map": lambda d, r: d.map(same),
    "parallel map": lambda d, r: d.map(same, num_parallel_calls=2),
    "scan": lambda d, r: d.scan(0, lambda n, each: (n + 1, each)),
    "skip": lambda d, r: d.skip(r.randint(1, 4)),
    "take": lambda d, r: d.take(r.randint(2, 15)),
    "take while": lambda d, r: taken_while(d, r.randint(2, 15)),
    "shard": lambda d, r: d.shard(3, r.randint(0, 2)),
    "repeat": lambda d, r: d.repeat(r.choice([2, 3, None])),
    "shuffle": lambda d, r: d.shuffle(r.choice([2, 5, 9, 50]), seed=1),
    "zip": lambda d, r: (
        tensorflow().data.Dataset.zip((d, numbers(r.choice([7, 50])))).map(lambda each, _: each)
    ),
    "cache": lambda d, r: d.cache(),
    "filter": lambda d, r: d.filter(lambda each: True),
}

AHEAD = {"parallel batch", "prefetch", "parallel map", "map"}
"""They read ahead in a thread: a map in one with a batch."""

SOURCES: list[Make] = [
    lambda f: f.records(),
    lambda f: one_file(f.plain[2]),
    lambda f: f.names().flat_map(one_file),
    lambda f: f.names().flat_map(lambda p: one_file(p).map(same).skip(1)),
    lambda f: f.names().flat_map(lambda p: one_file(p).batch(4)),
    lambda f: f.names().interleave(one_file, cycle_length=2),
    lambda f: f.names().interleave(one_file, cycle_length=2, num_parallel_calls=2),
    lambda f: text_lines(f.lines),
    lambda f: tensorflow().data.TFRecordDataset(f.gzip, "GZIP"),
]


def random_pipeline(choose: random.Random, is_symbolic: bool) -> tuple[Make, list[str]]:
    source = choose.choice(SOURCES)
    names = choose.choices([*NODES], k=choose.randint(1, 4))
    if is_symbolic:
        names = [name for name in names if name != "cache"]  # TensorFlow has none of those
        if {"shuffle", "repeat"} <= {*names}:  # see `symbolic`
            names = [name for name in names if name not in AHEAD]
    seed = choose.random()

    def make(files: Files) -> Any:
        dataset, again = source(files), random.Random(seed)
        for name in names:
            dataset = NODES[name](dataset, again)
        return dataset

    return make, names


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["", "symbolic"])
def test_random_pipelines(files: Files, tmp_path: Path, kind: str, seed: int) -> None:
    """What is said is right; what a pipeline is made of decides whether anything is."""
    choose = random.Random(seed)
    said = 0
    for i in range(5):
        make, names = random_pipeline(choose, bool(kind))

        def made(make: Make = make) -> Any:
            return symbolic(make(files)) if kind else make(files)

        directory = tmp_path / str(i)
        directory.mkdir()
        try:
            states = list(taken_eagerly(made, directory))
        except tensorflow().errors.InvalidArgumentError as error:
            if "Cannot batch" not in error.message:
                raise
            continue
        for each in states:
            for fingerprint in (True, False):
                for place in each.places(fingerprint):
                    said += is_right(place, each.records, (names, each.prefix))
    assert said


def is_right(place: Place, taken: list[int], what: object) -> bool:
    """Whether it says how much was consumed; then it is right."""
    consumed = place.consumed
    # Those of a range are not records, nor are those of a cache, which may be batches.
    if consumed.records is None:
        assert consumed.why or consumed.hidden_by, (what, place)
        return False
    if consumed.skipped is None or place.unit == "elements":
        return False
    assert consumed.records - consumed.skipped == len(taken), (what, len(taken), place)
    return True


def only(each: Taken) -> Place:
    (place,) = each.places()
    return place


@pytest.mark.parametrize(("count", "held"), [(5, 25), (30, 0)])
def test_a_symbolic_shuffle(tmp_path: Path, count: int, held: int) -> None:
    """It keeps the slots of what was given out; how many are left it says itself."""
    tf = tensorflow()
    dataset = symbolic(tf.data.Dataset.range(30).map(tf.strings.as_string).shuffle(100, seed=1))
    iterator = iter(dataset)
    for _ in range(count):
        next(iterator)
    prefix = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "s"))
    (state,) = read_input(prefix)
    (place,) = state.places
    assert place.consumed.records == count
    assert sum(buffered.elements for buffered in place.buffered) == held
    assert [sum(node.elements.values()) for node in state.state.root.walk()][1] == held


def test_batches_of_batches(taken: Any) -> None:
    """Their rows are no records."""
    for each in taken(lambda files: files.records().batch(2).batch(3).shuffle(4, seed=1)):
        for fingerprint in (True, False):
            check(each.places(fingerprint)[0], each.records, in_order=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda files: one_file(files.plain[2]).batch(3).skip(2).skip(3),
        lambda files: one_file(files.plain[2]).skip(2).skip(20),
        lambda files: one_file(files.plain[2]).skip(5).shard(8, 7),
        lambda files: one_file(files.plain[2]).skip(0).batch(4),
    ],
)
def test_all_is_skipped(taken: Any, make: Make) -> None:
    for each in taken(make):
        for fingerprint in (True, False):
            place = each.places(fingerprint)[0]
            consumed = place.consumed
            assert consumed.why or consumed.records == len(each.records), place


def test_an_epoch_of_a_shuffle_that_is_empty_for_a_moment(taken: Any) -> None:
    """What is left in the lower one is not the size of an epoch; and the upper one begins anew."""
    for each in taken(lambda files: files.records().shuffle(100).shuffle(100).repeat()):
        place = only(each)
        count = len(each.records)
        assert place.consumed[:4] == (count, 0, *((1, count) if count else (None, None)))
        assert not place.ended


def test_what_is_repeated_has_not_ended(taken: Any) -> None:
    for each in taken(lambda files: files.records().shuffle(9).batch(4).repeat().shuffle(3)):
        assert not only(each).ended
    assert not only(each).consumed.why


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda files: files.records().take(5), 5),
        (lambda files: files.records().batch(2).take(2), 4),
        (lambda files: files.records().take(50).batch(4), RECORDS),
        (lambda files: files.records().shuffle(3).batch(2).take(2), None),
        (lambda files: files.records().repeat(2).take(23).batch(5), 3),
    ],
)
def test_what_was_read_when_enough_was_taken(taken: Any, make: Make, read: int | None) -> None:
    last = taken(make)[-1]
    place = only(last)
    assert place.ended or last.is_symbolic  # which is that of the last element
    assert place.read.records == read or last.is_symbolic
    assert (place.consumed.records or 0) == len(last.records)


def test_a_take_that_takes_all_there_is(taken: Any) -> None:
    """So the end of each epoch is read, and dropped, as without it."""
    make = lambda files: files.records().batch(8, drop_remainder=True).take(9).repeat()  # noqa: E731
    for each in taken(make):
        consumed = only(each).consumed
        epochs = max(0, len(each.records) - 1) // 16
        assert consumed.skipped == 4 * epochs
        assert consumed.records == len(each.records) + 4 * epochs


@pytest.mark.parametrize(
    "make",
    [
        lambda files: files.records().window(3).flat_map(lambda window: window.batch(3)),
        lambda files: files.records().batch(4).rebatch(3),
        lambda files: files.records().group_by_window(
            lambda _: tensorflow().constant(0, "int64"),
            lambda _, window: window.batch(3),
            window_size=3,
        ),
        lambda files: files.records().flat_map(
            lambda record: tensorflow().data.Dataset.from_tensors(record).repeat(3)
        ),
    ],
)
def test_elements_that_may_be_several_records(taken: Any, make: Make) -> None:
    for each in taken(lambda files: make(files).prefetch(3)):
        for place in each.places():
            assert place.consumed.records is None or not each.records
            ends = [held for held in place.buffered if held.node.op == "Prefetch"]
            assert all(held.records is None for held in ends), place


def test_what_is_repeated_again(taken: Any) -> None:
    """It is counted by a shuffle, or else not known."""
    for each in taken(lambda files: files.records().repeat(2).shuffle(4).repeat(3).batch(5)):
        consumed = only(each).consumed
        assert consumed.records in (None, len(each.records))
        assert consumed.epoch is None
    for each in taken(lambda files: files.records().batch(3, True).repeat(2).prefetch(1).repeat()):
        consumed = only(each).consumed
        assert consumed.records is None


def test_a_last_batch_that_was_returned(tmp_path: Path) -> None:
    """In some states the batch that was shorter is gone, and the source not: timing decides."""
    parts = {
        "MapAndBatch": {"call_counter": 0, "batch_results_size": 0},
        "MapAndBatch::Range": {"next": 9},
    }
    nodes = [
        {"op": "RangeDataset", "parameters": {"start": 0, "stop": 9, "step": 1}},
        {"op": "MapDataset", "parameters": {"f": {"function": "0"}}},
        {"op": "BatchDatasetV2", "parameters": {"batch_size": 2, "drop_remainder": False}},
    ]
    fingerprint = {"version": 1, "digest": "", "files": None, "nodes": nodes}
    write_parts(tmp_path / "state", Iterator=parts)
    (iterator,) = read_input(str(tmp_path / "state"), {"Iterator:0": fingerprint})
    assert iterator.places[0].consumed.records == 9
