"""One worker with inputs, and the helper that saves and restores their positions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from input_support import Input, numbers, plain_session
from tf_support import save_checkpoint, tensorflow

from monolith_cli import messages


def info(step: int) -> Any:
    return messages.WorkerCkptInfo(global_step=step)


class Worker:
    """A graph with inputs and the helper of one worker."""

    def __init__(
        self,
        hooks: Any,
        model_dir: Path,
        *datasets: Callable[[], Any],
        index: int = 1,
        initializable: bool = False,
        disable: str = "",
        **options: Any,
    ) -> None:
        self.hooks = hooks
        self.graph = tensorflow().Graph()
        with self.graph.as_default():
            if disable == "before":
                hooks.disable_iterator_save_restore()
            makers = datasets or (numbers,)
            self.inputs = [Input(maker(), initializable=initializable) for maker in makers]
            self.helper = hooks.WorkerCkptHelper(str(model_dir), index, **options)
            if disable == "after":
                hooks.disable_iterator_save_restore()
            self.callback = self.helper.create_save_iterator_callback()
            self.restorer = self.helper.create_restorer_hook()

    @contextmanager
    def session(self, kind: str = "plain") -> Iterator[Any]:
        """A session whose iterators have been restored."""
        train = tensorflow().compat.v1.train
        with self.graph.as_default():
            if kind == "plain":
                self.restorer.begin()
                with plain_session() as session:
                    self.restorer.after_create_session(session, None)
                    yield session
            else:
                with getattr(train, kind)(hooks=[self.restorer]) as session:
                    yield session

    def save(self, session: Any, step: int) -> Any:
        self.hooks.assign_ckpt_info(session, info(step))
        return self.callback(self.hooks.SAVE_ACTION, session)

    def next(self, kind: str = "plain") -> list[Any]:
        """The next element of each input in a new session."""
        with self.session(kind) as session:
            return [source.take(session)[0] for source in self.inputs]


def save_steps(
    hooks: Any, model_dir: Path, steps: list[int], *datasets: Callable[[], Any], index: int = 1
) -> None:
    """Save after each of these steps, with as many elements consumed."""
    worker = Worker(hooks, model_dir, *datasets, index=index)
    with worker.session() as session:
        for before, step in zip([0, *steps], steps, strict=False):
            for source in worker.inputs:
                source.take(session, step - before)
            assert worker.save(session, step) is True


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


STATE_FILES = [
    "checkpoint_input_worker_1",
    "input_worker_1.ckpt-10.data-00000-of-00001",
    "input_worker_1.ckpt-10.index",
]


def committed(directory: Path, step: int) -> None:
    save_checkpoint(directory, step)


def remove_state(directory: Path, step: int) -> None:
    for path in directory.glob(f"input_worker_1.ckpt-{step}.*"):
        path.unlink()
