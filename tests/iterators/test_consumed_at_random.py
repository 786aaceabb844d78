"""What the state of a pipeline says that was put together at random, against what was taken."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from consumed_support import (
    Files,
    Make,
    numbers,
    one_file,
    same,
    symbolic,
    taken_eagerly,
    text_lines,
)
from tf_support import tensorflow

from monolith_cli.iterators.place import Place


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
