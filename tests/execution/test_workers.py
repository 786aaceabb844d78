"""Whoever runs tasks: in order, a few at a time, and nothing is left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import pytest

from monolith_cli.errors import BrokenExecutorError
from monolith_cli.execution.task import Partial
from monolith_cli.execution.workers import ALONE, Workers, is_given_up, usable_processors


class Square(NamedTuple):
    number: int
    seconds: float = 0

    def run(self) -> tuple[int, str]:
        time.sleep(self.seconds)
        return self.number**2, threading.current_thread().name


class Fails(NamedTuple):
    def run(self) -> None:
        raise ValueError("that is how it is")


class WaitsToBeGivenUp(NamedTuple):
    begun: threading.Event

    def run(self) -> bool:
        self.begun.set()
        until = time.monotonic() + 10
        while not is_given_up() and time.monotonic() < until:
            time.sleep(0.001)
        return is_given_up()


def test_alone() -> None:
    here = threading.current_thread().name
    assert ALONE.alone
    tasks = [Square(3), Square(4)]
    assert list(ALONE.in_order(tasks)) == [(tasks[0], (9, here)), (tasks[1], (16, here))]
    assert ALONE.run(Square(5)) == (25, here)


def test_as_many_as_there_are_processors() -> None:
    assert 1 <= usable_processors() <= (os.cpu_count() or 1)
    assert Workers(None).jobs == usable_processors()


def test_the_first_task_comes_first_though_it_is_done_last() -> None:
    before = threading.active_count()
    with Workers(3) as workers:
        tasks = [Square(number, 0.05 / (number + 1)) for number in range(8)]
        done = list(workers.in_order(tasks))
        assert [task for task, _ in done] == tasks
        assert [square for _, (square, _) in done] == [number**2 for number in range(8)]
        assert threading.current_thread().name not in {name for _, (_, name) in done}
    assert threading.active_count() == before


def test_twice_as_many_under_way_as_there_are_workers() -> None:
    taken = []

    def tasks() -> Iterator[Square]:
        for number in range(20):
            taken.append(number)
            yield Square(number)

    with Workers(3) as workers, closing(workers.in_order(tasks())) as done:
        next(done)
        assert len(taken) == 6


def test_errors_come_in_order() -> None:
    with Workers(2) as workers:
        done = workers.in_order([Square(1, 0.05), Fails(), Square(2)])
        assert next(done)[1][0] == 1
        with pytest.raises(ValueError, match="that is how it is"):
            next(done)


def test_who_stops_early_tells_those_that_run() -> None:
    begun = threading.Event()
    before = threading.active_count()
    with Workers(2) as workers:
        task = WaitsToBeGivenUp(begun)
        done = workers.in_order([Square(1), task, Square(3), Square(4)])
        next(done)
        begun.wait(10)
        started = time.monotonic()
        done.close()
        assert time.monotonic() - started < 5
        assert threading.active_count() == before
        assert not is_given_up()
        assert workers.run(Square(7))[0] == 49  # others do what comes later
    assert threading.active_count() == before


def test_an_executor_that_is_handed_in_is_not_shut_down() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as mine:
        with Workers(1, mine) as workers:
            assert not workers.alone
            done = list(workers.in_order([Square(2), Square(3)]))
            assert [name for _, (_, name) in done] == ["mine_0", "mine_0"]
            unfinished = workers.in_order([Square(2), Square(3, 0.05), Square(4)])
            next(unfinished)
            unfinished.close()
        assert mine.submit(Square(6).run).result() == (36, "mine_0")


def test_an_executor_is_kept_busy_by_default() -> None:
    with ThreadPoolExecutor(1) as mine:
        assert Workers(1, mine).jobs == Workers(None, mine).jobs == usable_processors()
        assert Workers(5, mine).jobs == 5


def test_an_executor_that_takes_nothing_any_more() -> None:
    mine = ThreadPoolExecutor(1)
    mine.shutdown()
    workers = Workers(2, mine)
    with pytest.raises(BrokenExecutorError, match="no task can be started: cannot schedule"):
        workers.run(Square(2))
    with pytest.raises(BrokenExecutorError, match="no task can be started: cannot schedule"):
        list(workers.in_order([Square(2)]))


def test_an_executor_that_is_shut_down_by_its_owner() -> None:
    mine = ThreadPoolExecutor(1)
    done = Workers(2, mine).in_order([Square(1), Square(2, 0.05), Square(3), Square(4), Square(5)])
    next(done)
    mine.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(BrokenExecutorError):
        list(done)


# --- partials -------------------------------------------------------------------------------


class Numbers(list[int]):
    def merge(self, other: Numbers, /) -> None:
        self += other


def test_partials_merge_end_to_end() -> None:
    first = Partial(Numbers([1]), 0, 10, ["a"], False)
    first.merge(Partial(Numbers([2, 3]), 10, 30, ["b"], True))
    assert (first.value, first.first, first.stop) == ([1, 2, 3], 0, 30)
    assert (first.damage, first.failed) == (["a", "b"], True)


@pytest.mark.parametrize(("failed", "start"), [(False, 11), (True, 10)])
def test_partials_that_do_not_fit(failed: bool, start: int) -> None:
    first: Partial[Numbers, str] = Partial(Numbers(), 0, 10, [], failed)
    with pytest.raises(ValueError, match="behind one that stops at 10"):
        first.merge(Partial(Numbers(), start, 20, [], False))
