"""What the state of a pipeline says against what a program has taken from it.

Each pipeline reads 20 records, 000 to 019, from four files of 6, 0, 9 and 5. TensorFlow takes one
element after the other, and saves the state before each and after the last.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from consumed_support import (
    RECORDS,
    Files,
    Make,
    Taken,
    fixed,
    is_kept,
    number_of,
    numbers,
    one_file,
    same,
    symbolic,
    taken_eagerly,
    taken_in_a_graph,
    text_lines,
)
from iterator_support import write_parts
from tf_support import tensorflow

from monolith_cli.iterators.inputs import read_input
from monolith_cli.iterators.place import Place

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
