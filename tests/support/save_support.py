"""A job that trains one number and saves it, for tests of saves: its chief, and workers as threads.

The number equals the global step, so what a checkpoint holds tells when it was written.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tf_support import tensorflow

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StepNotFoundError

WORKER = "worker-"  # and the index: a thread's name


class Killed(BaseException):
    """Stands for a process that dies: nobody catches it."""


class Job:
    """The graph with its step, and the session of a chief with the hook under test."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        v1 = tensorflow().compat.v1
        self.directory = Path(directory)
        self.graph = tensorflow().Graph()
        self.hook: Any = None
        self.session: Any = None
        self.hooks: list[Any] = []
        with self.graph.as_default():
            self.step = v1.train.create_global_step()
            self.number = v1.get_variable("number", [], initializer=v1.zeros_initializer())
            self.train_op = tensorflow().group(self.step.assign_add(1), self.number.assign_add(1.0))

    def train(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.session.run(self.train_op)

    @property
    def at(self) -> int:
        return int(self.raw.run(self.step))

    @property
    def raw(self) -> Any:
        """The session without hooks."""
        return self.session._tf_sess()


@contextmanager
def chief(
    directory: str | os.PathLike[str],
    *,
    build: Callable[[Job], dict[str, Any]] | None = None,
    max_to_keep: int | None = 5,
    keep_hours: float = 10_000.0,
    restore: str | os.PathLike[str] | None = None,
    hook_class: Any = None,
    by_name: bool = False,
    more_hooks: Sequence[Any] = (),
    **options: Any,
) -> Iterator[Job]:
    """A chief with a hook that saves every 2 steps, unless told otherwise.

    `build` runs in the graph before the hook is made, and returns more options for it. TensorFlow's
    own session creator restores, by the name of a checkpoint with `by_name`.
    """
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    v1 = tensorflow().compat.v1
    job = Job(directory)
    with job.graph.as_default():
        options = {**options, **(build(job) if build else {})}
        if "save_secs" not in options:
            options.setdefault("save_steps", 2)
        saver = v1.train.Saver(
            max_to_keep=max_to_keep,
            keep_checkpoint_every_n_hours=keep_hours,
            save_relative_paths=True,
        )
        scaffold = v1.train.Scaffold(saver=saver)
        if "saver" not in options:
            options["scaffold"] = scaffold
        job.hook = (hook_class or NoFirstSaveCheckpointSaverHook)(os.fspath(directory), **options)
        where = os.fspath(restore or directory)
        if by_name:
            latest = tensorflow().train.latest_checkpoint(where)
            creator = v1.train.ChiefSessionCreator(scaffold, checkpoint_filename_with_path=latest)
        else:
            creator = v1.train.ChiefSessionCreator(scaffold, checkpoint_dir=where)
        hooks = [*job.hooks, job.hook, *more_hooks]
        with v1.train.MonitoredSession(creator, hooks) as job.session:
            yield job


def dense(directory: str | os.PathLike[str], step: int) -> tuple[int, float]:
    """What a checkpoint holds, as TensorFlow reads it: the global step and the number."""
    reader = tensorflow().train.load_checkpoint(os.path.join(directory, f"model.ckpt-{step}"))
    return int(reader.get_tensor("global_step")), float(reader.get_tensor("number"))


def steps(directory: str | os.PathLike[str]) -> list[int]:
    """The steps that readers are offered."""
    return open_model_dir(directory).steps()


def names(directory: str | os.PathLike[str]) -> set[str]:
    """The files, but TensorFlow's summaries and the claim of who saves there now."""
    others = ("events.out", "chief_claim")
    return {name for name in os.listdir(directory) if not name.startswith(others)}


def listener(name: str = "", calls: list[str] | None = None, **actions: Any) -> Any:
    """A listener that notes its calls, and does what it is told in them."""

    class Listener(tensorflow().compat.v1.train.CheckpointSaverListener):  # type: ignore[misc]
        def begin(self) -> None:
            self._call("begin")

        def before_save(self, session: Any, global_step_value: int) -> None:
            self._call("before", session, global_step_value)

        def after_save(self, session: Any, global_step_value: int) -> Any:
            return self._call("after", session, global_step_value)

        def end(self, session: Any, global_step_value: int) -> None:
            self._call("end", session, global_step_value)

        def _call(self, what: str, session: Any = None, step: int | None = None) -> Any:
            if calls is not None:
                calls.append(f"{name} {what}" + ("" if step is None else f" {step}"))
            return actions[what](session, step) if what in actions else None

    return Listener()


@contextmanager
def workers(job: Job, barrier_op: Any, *indices: int) -> Iterator[None]:
    """Threads that stop at the barrier, as workers do between two steps."""
    over = threading.Event()
    session = job.raw

    def work(index: int) -> None:
        while not over.is_set():
            if barrier_op.is_barrier_placed(session):
                barrier_op.wait_until_barrier_removed(session, index)
            time.sleep(0.005)

    threads = [
        threading.Thread(target=work, args=(index,), name=f"{WORKER}{index}") for index in indices
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)


def my_index() -> int:
    """The worker whose thread this is; 0 for the chief."""
    name = threading.current_thread().name
    return int(name.removeprefix(WORKER)) if name.startswith(WORKER) else 0


def no_space(*_: Any) -> None:
    raise tensorflow().errors.ResourceExhaustedError(None, None, "no space")


def stock() -> Any:
    return tensorflow().compat.v1.train.CheckpointSaverHook


def steps_or_none(directory: Path) -> list[int]:
    try:
        return steps(directory)
    except StepNotFoundError:
        return []


def full_step(graph: Any) -> int | None:
    """The step of a graph that a full save has covered last."""
    from monolith_cli.training.saves.graph_saves import GraphSaves

    return GraphSaves.of(graph).full_step


def of_step(directory: Path, step: int) -> set[str]:
    return {name for name in names(directory) if name.endswith(f"-{step}") or f"-{step}." in name}


@contextmanager
def no_thread_is_left() -> Iterator[None]:
    """Every thread that the block starts must end with it, or soon after."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # TensorFlow's writer of summaries lives as long as the process; grpc's poll for its
        # channels, of clients that is, ends some time after them.
        if type(thread).__name__ != "_EventLoggerThread" and "channel" not in thread.name:
            thread.join(5)
            assert not thread.is_alive(), thread
