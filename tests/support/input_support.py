"""Input pipelines of trainers, in graphs and sessions, for tests of their positions."""

from __future__ import annotations

import contextlib
import functools
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iterator_support import commit
from ports import free_addresses
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    input_prefix,
    write_step_inputs,
)

Pipeline = Callable[[], Any]
"""Makes a dataset, in the default graph."""


def numbers(count: int = 100) -> Any:
    """0, 1, 2 and so on, from a constant in the graph."""
    return tensorflow().data.Dataset.from_tensor_slices(list(range(count)))


def shuffled(batch: int = 2) -> Any:
    """A pipeline of several nodes: 1 to 100, shuffled, in batches."""
    data = tensorflow().data.Dataset.range(100).shuffle(10, seed=3)
    return data.batch(batch).map(lambda x: x + 1).prefetch(2)


def generated() -> Any:
    """0, 1, 2 and so on, from a generator: its position cannot be saved once it has begun."""
    tf = tensorflow()
    signature = tf.TensorSpec([], tf.int64)
    return tf.data.Dataset.from_generator(lambda: iter(range(100)), output_signature=signature)


class Input:
    """An iterator in the default graph.

    It is one-shot unless it is said to be initializable; then its initializer runs with the
    tables' ones.
    """

    def __init__(self, dataset: Any, *, initializable: bool = False) -> None:
        v1 = tensorflow().compat.v1
        if initializable:
            iterator = v1.data.make_initializable_iterator(dataset)
            v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
        else:
            iterator = v1.data.make_one_shot_iterator(dataset)
        self.next = iterator.get_next()

    def take(self, session: Any, count: int = 1) -> list[Any]:
        """The next elements, as Python values."""
        values = [session.run(self.next) for _ in range(count)]
        return [value if isinstance(value, bytes) else value.tolist() for value in values]


@contextlib.contextmanager
def graph() -> Iterator[Any]:
    """A default graph of its own."""
    with tensorflow().Graph().as_default() as made:
        yield made


@contextlib.contextmanager
def plain_session(**options: Any) -> Iterator[Any]:
    """A plain session in which everything is initialised."""
    v1 = tensorflow().compat.v1
    with v1.Session(**options) as session:
        session.run(
            [
                v1.global_variables_initializer(),
                v1.local_variables_initializer(),
                v1.tables_initializer(),
            ]
        )
        yield session


def save_in_graph(
    model: Path, steps: dict[int, int], *make: Callable[[], Any], initializable: bool = False
) -> dict[int, list[Any]]:
    """States of worker 1 as a job saves them, and three elements that follow, by step.

    `steps` says how many elements each iterator has given by then.
    """
    from monolith_cli.training.fingerprint import fingerprint
    from monolith_cli.training.inputs.state import InputState, iterators_of_graph

    following = {}
    model.mkdir(exist_ok=True)
    with graph():
        sources = [Input(each(), initializable=initializable) for each in make]
        state = InputState(iterators_of_graph())
        described = fingerprint(state.iterators)
        for step, count in steps.items():
            with plain_session() as session:
                for source in sources:
                    source.take(session, count)
                assert state.save(session, input_prefix(str(model), 1, step)) == []
                inputs = {1: WorkerInput(True, described)}
                write_step_inputs(str(model), StepInputs(step, "run", inputs))
                following[step] = [source.take(session, 3) for source in sources]
    commit(model, *steps)
    return following


@contextlib.contextmanager
def files_of_at_most(limit: int) -> Iterator[None]:
    """This process can write no file beyond so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@functools.cache
def servers(*jobs: str) -> dict[str, str]:
    """The addresses of servers in this process, one a job. They stay until the process ends."""
    tf = tensorflow()
    ports = {job: free_addresses(1) for job in jobs}
    started = {job: tf.compat.v1.train.Server(ports, job_name=job, task_index=0) for job in jobs}
    _servers.extend(started.values())
    return {job: server.target for job, server in started.items()}


_servers: list[Any] = []
