"""A job that trains and can be reached, and a client of bare grpc that knows nothing of ours.

The chief's session trains in a thread of its own, its workers are threads; the test is the client.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_jobs import ORIGINAL_METHODS, OUR_METHODS, message
from save_support import Job, chief, my_index, workers
from tf_support import tensorflow
from waiting import eventually

ADDRESS, TOKEN, LOG = "controller_server_addr.txt", "controller_token", "control.log"
METHODS = ORIGINAL_METHODS | OUR_METHODS
POLL = 0.02


class Client:
    """Calls methods by name: `client("PlaceBarrier", owner="me")`."""

    def __init__(
        self, address: str, token: str | None = None, credentials: Any = None, options: Any = ()
    ) -> None:
        # A channel of its own each, not one that grpc shares.
        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), *options]
        if credentials is None:
            self.channel = grpc.insecure_channel(address, own)
        else:
            self.channel = grpc.secure_channel(address, credentials, own)
        self.metadata = [] if token is None else [("authorization", f"Bearer {token}")]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.channel.close()

    def method(self, name: str) -> Any:
        return self.channel.unary_unary(
            f"/Controller/{name}",
            request_serializer=lambda asked: asked.SerializeToString(),
            response_deserializer=message(METHODS[name][1]).FromString,
        )

    def __call__(self, name: str, timeout: float | None = 20, **fields: Any) -> Any:
        asked = message(METHODS[name][0])(**fields)
        return self.method(name)(asked, timeout=timeout, metadata=self.metadata)

    def start(self, name: str, timeout: float | None = 20, **fields: Any) -> Any:
        """The same, without waiting."""
        asked = message(METHODS[name][0])(**fields)
        return self.method(name).future(asked, timeout=timeout, metadata=self.metadata)


def refused(code: str, call: Callable[[], object]) -> str:
    """What the job says when it refuses."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == getattr(grpc.StatusCode, code), caught.value.details()
    return str(caught.value.details())


class Running:
    """A job that trains in the background."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.job: Job
        self.server: Any = None  # the ServerHook
        self.barrier: Any = None
        self.stop = threading.Event()
        self.pause = 0.002
        self.during_step: Callable[[], object] = lambda: None
        self.after_session: Callable[[], object] = lambda: None
        self.error: BaseException | None = None

    @property
    def address(self) -> str:
        return (self.directory / ADDRESS).read_text()

    @property
    def token(self) -> str:
        return (self.directory / TOKEN).read_text()

    def client(self, **options: Any) -> Client:
        options.setdefault("token", self.token if (self.directory / TOKEN).exists() else None)
        return Client(self.address, **options)

    @property
    def at(self) -> int:
        return self.job.at

    def goes_on(self) -> None:
        before = self.at
        eventually(lambda: self.at > before + 1)

    def log(self) -> list[dict[str, Any]]:
        path = self.directory / LOG
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def states(self, step: int) -> list[int]:
        """Whose inputs' states of a step are there."""
        name = "input_worker_{}.ckpt-{}.index"
        return [i for i in range(9) if (self.directory / name.format(i, step)).exists()]


@contextmanager
def running(
    directory: Path,
    *present: int,
    capacity: int | None = None,
    callback: Callable[[str, Any], object] | None = None,
    max_pending_seconds: float = 10,
    listeners: Sequence[Any] = (),
    more_hooks: Sequence[Any] = (),
    serve: bool = True,
    raises: type[BaseException] | None = None,
    **server: Any,
) -> Iterator[Running]:
    """A chief and the workers that are present; the other arguments are the ServerHook's.

    It is over when the block is; what it raised then is raised, unless that was expected.
    """
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper
    from monolith_cli.training.controller import ServerHook
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    tensorflow()
    made = Running(directory)
    count = capacity or len(present) + 1
    hooks: list[Any] = []

    def build(job: Job) -> dict[str, Any]:
        dataset = tensorflow().data.Dataset.range(1 << 40)
        tensorflow().compat.v1.data.make_one_shot_iterator(dataset).get_next()
        saves = [
            WorkerCkptHelper(str(directory), index).create_save_iterator_callback()
            for index in range(count)
        ]
        callbacks = [lambda action, session: saves[my_index()](action, session)]
        made.barrier = BarrierOp(
            count,
            wait_seconds=POLL,
            barrier_callbacks=[*callbacks, *([callback] if callback else [])],
        )
        guard = BarrierSaverListener(made.barrier, POLL, max_pending_seconds)
        return {"guard_saver_listeners": [guard], "listeners": list(listeners)}

    def hook(*arguments: Any, **options: Any) -> Any:
        saver = NoFirstSaveCheckpointSaverHook(*arguments, **options)
        if serve:
            made.server = ServerHook(directory, made.barrier, saver, **server)
            hooks.append(made.server)
        # As in a job's own session: after the hooks that it is given.
        hooks.extend([*(h(made) for h in more_hooks), BarrierHook(0, made.barrier)])
        return saver

    is_ready = threading.Event()

    def train() -> None:
        try:
            with chief(
                directory, build=build, hook_class=hook, more_hooks=hooks, save_steps=10**9
            ) as job:
                made.job = job
                job.train()
                with workers(job, made.barrier, *present):
                    is_ready.set()
                    while not (made.stop.is_set() or job.session.should_stop()):
                        job.train()
                        made.during_step()
                        time.sleep(made.pause)
                    if made.stop.is_set():  # no last save, for which workers would be missing
                        job.hook.timer.update_last_triggered_step(job.at)
                    made.stop.set()
                    made.barrier.reset(job.raw)  # let the workers go
        except BaseException as error:
            made.error = error
        finally:
            is_ready.set()
            made.after_session()

    thread = threading.Thread(target=train, name="training")
    thread.start()
    is_ready.wait(60)
    try:
        if made.error is None:
            yield made
    finally:
        made.stop.set()
        thread.join(60)
        assert not thread.is_alive()
    if raises is not None:
        assert isinstance(made.error, raises)
    elif made.error is not None:
        raise made.error


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What so many threads get, which act at the same time; errors as they are."""
    barrier = threading.Barrier(count)

    def one(index: int) -> Any:
        barrier.wait()
        try:
            return act(index)
        except grpc.RpcError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class Slow:
    """A listener whose save waits until it is let go."""

    def __init__(self) -> None:
        from save_support import listener

        self.started, self.go = threading.Event(), threading.Event()
        self.listener = listener(before=self._before)

    def _before(self, session: Any, step: int | None) -> None:
        self.started.set()
        assert self.go.wait(20)


CHANGING = [
    "StopTraining",
    "ResumeTraining",
    "SaveCheckpoint",
    "PlaceBarrier",
    "RenewBarrier",
    "RemoveBarrier",
    "SaveNow",
    "StopJob",
]
