"""Processes of examples/train.py, forked off one that has imported TensorFlow; each can be killed.

Reads JSON objects from its standard input, a line each, and writes what has started and ended:

    {"argv": [...], "environment": {...}, "output": FILE, "stop": null, "arguments": {}}
    {"started": PID}
    {"ended": PID, "code": CODE}

`stop` lets a process stand still in a save: {"at": BOUNDARY, "save": N, "marker": FILE}, at the
first save from the Nth on that comes there. It then writes the save's step to the marker.
`arguments` of classes, {"BarrierOp": {"lease_seconds": 3}}, go before those of the example;
"controller" stands for the module's constants, {"clock": {"seconds": 3600}} for a clock that is
fast, {"stock": {...}} for a job in TensorFlow's own sessions (`stock_job`).

It ends with its standard input, and takes all processes with it.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIFE_SECONDS = 600
POLL_SECONDS = 0.02


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests/support")]
    import tensorflow  # noqa: F401  (so that no process has to)
    import train

    from monolith_cli.training import (  # noqa: F401
        barrier_ops,
        ckpt_hooks,
        ckpt_info,
        hash_table,
        runs,
        save_utils,
    )

    gc.freeze()  # no process goes through what was imported, again and again
    alive: set[int] = set()
    unread = b""
    try:
        while True:
            if select.select([0], [], [], POLL_SECONDS)[0]:
                received = os.read(0, 65536)
                if not received:
                    return
                *lines, unread = (unread + received).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    pid = os.fork()
                    if not pid:
                        be_process(train, order)
                    alive.add(pid)
                    print(json.dumps({"started": pid}), flush=True)
            for pid in list(alive):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    alive.remove(pid)
                    code = os.waitstatus_to_exitcode(status)
                    print(json.dumps({"ended": pid, "code": code}), flush=True)
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def be_process(train: Any, order: dict[str, Any]) -> None:
    """In the child: never returns."""
    try:
        signal.alarm(LIFE_SECONDS)
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for fd in (1, 2):
            os.dup2(output, fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"], **{train.EXIT_WITH_PARENT: str(os.getppid())})
        sys.argv[1:] = order["argv"]
        for name, values in order["arguments"].items():
            set_arguments(name, values)
        if order["stop"]:
            stop = order["stop"]
            BOUNDARIES[stop["at"]][1](Stop(stop["save"], stop["marker"]))
        train.main()
    finally:
        os._exit(70)


def set_arguments(name: str, values: dict[str, Any]) -> None:
    import clocks

    from monolith_cli.training import barrier_ops, ckpt_hooks, controller

    if name == "controller":
        vars(controller).update(values)
        return
    if name == "stock":
        import stock_job
        import train

        os.environ["STOCK_JOB"] = json.dumps(values)
        train.train = stock_job.train
        return
    if name == "clock":
        clocks.shift_this_process(**values)
        return
    cls = {
        "BarrierOp": barrier_ops.BarrierOp,
        "BarrierSaverListener": ckpt_hooks.BarrierSaverListener,
        "ServerHook": controller.ServerHook,
    }[name]
    cls.__init__ = functools.partialmethod(cls.__init__, **values)


class Stop:
    """Where a process stands still, and when."""

    def __init__(self, save: int, marker: str) -> None:
        self._save = save
        self._marker = marker
        self._saves = 0
        self._step = 0

    def begin_save(self, step: int) -> None:
        self._saves += 1
        self._step = int(step)

    @property
    def is_due(self) -> bool:
        return self._saves >= self._save

    def here(self) -> None:
        """Stand still for ever, if this save is the one."""
        if not self.is_due:
            return
        unfinished = Path(f"{self._marker}.tmp")
        unfinished.write_text(str(self._step))
        os.rename(unfinished, self._marker)
        while True:
            time.sleep(1)


# --- the boundaries ---------------------------------------------------------------------------


def around(
    owner: Any,
    name: str,
    *,
    before: Callable[..., object] | None = None,
    after: Callable[..., object] | None = None,
) -> None:
    """Let something be called with the arguments, around a function of a class or module."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before:
            before(*args, **kwargs)
        result = original(*args, **kwargs)
        if after:
            after(*args, **kwargs)
        return result

    setattr(owner, name, wrapped)


def count_saves(stop: Stop) -> None:
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener

    around(BarrierSaverListener, "before_save", before=lambda _, __, step: stop.begin_save(step))


def before_barrier(stop: Stop) -> None:
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener

    around(BarrierSaverListener, "before_save", before=lambda *_: stop.here())
    count_saves(stop)  # which then comes first


def barrier_placed(stop: Stop) -> None:
    from monolith_cli.training.barrier.state import BarrierState

    count_saves(stop)
    around(BarrierState, "place", after=lambda *_: stop.here())


def barrier_still_placed(stop: Stop) -> None:
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener

    count_saves(stop)
    around(BarrierSaverListener, "after_save", before=lambda *_: stop.here())


def renaming(pattern: str, *, done: bool, worker: bool = False) -> Callable[[Stop], None]:
    """Before a save first renames a file to a path that matches, or when it has done so."""

    def patch(stop: Stop) -> None:
        if worker:
            from monolith_cli.training.ckpt_hooks import WorkerCkptHelper

            around(
                WorkerCkptHelper, "_write", before=lambda _, __, step, ___: stop.begin_save(step)
            )
        else:
            count_saves(stop)

        def look(_: Any, target: Any) -> None:
            if re.search(pattern, os.fspath(target)):
                stop.here()

        around(os, "replace", **{"after" if done else "before": look})

    return patch


def after(module: str, owner: str, name: str) -> Callable[[Stop], None]:
    """After a method of the chief."""

    def patch(stop: Stop) -> None:
        import importlib

        count_saves(stop)
        cls = getattr(importlib.import_module(f"monolith_cli.training.{module}"), owner)
        around(cls, name, after=lambda *_: stop.here())

    return patch


def dense_data(stop: Stop) -> None:
    """Between the two renames of TensorFlow's, in C++: the index gets its name of before again."""
    import tensorflow as tf

    count_saves(stop)

    def take_back(saver: Any, session: Any, prefix: str, global_step: int, **_: Any) -> None:
        if stop.is_due:
            base = f"{prefix}-{global_step}"
            os.rename(f"{base}.index", f"{base}.index.tempstate1234567890")
            os.unlink(f"{base}.meta")
            stop.here()

    around(tf.compat.v1.train.Saver, "save", after=take_back)


def dense_without_meta(stop: Stop) -> None:
    import tensorflow as tf

    count_saves(stop)
    around(tf.compat.v1.train.Saver, "export_meta_graph", before=lambda *_, **__: stop.here())


def dense(stop: Stop) -> None:
    import tensorflow as tf

    count_saves(stop)
    around(tf.compat.v1.train.Saver, "save", after=lambda *_, **__: stop.here())


def dropping(nth: int) -> Callable[[Stop], None]:
    """After the nth removal that a commit makes."""

    def patch(stop: Stop) -> None:
        from monolith_cli.checkpoint import commits
        from monolith_cli.checkpoint.names import parse_step_file
        from monolith_cli.storage.local import LocalStore

        removed: list[str] = []
        is_dropping: list[bool] = []
        count_saves(stop)

        def look(_: LocalStore, path: str) -> None:
            if is_dropping and parse_step_file(os.path.basename(path)):
                removed.append(path)
                if len(removed) == nth:
                    stop.here()

        around(LocalStore, "delete", after=look)
        around(
            commits.CommittedSteps,
            "_drop",
            before=lambda *_: (removed.clear(), is_dropping.append(True)),
            after=lambda *_: is_dropping.clear(),
        )

    return patch


def clearing(stop: Stop) -> None:
    """While what a failed save has left is removed; it needs one before it."""
    from monolith_cli.checkpoint.names import parse_step_file
    from monolith_cli.storage.local import LocalStore

    removed: list[str] = []
    stop.begin_save(0)

    def look(_: LocalStore, path: str) -> None:
        if parse_step_file(os.path.basename(path)):
            removed.append(path)
            if len(removed) == 3:
                stop.here()

    around(LocalStore, "delete", after=look)


ASSETS = r"model\.ckpt-\d+\.assets/"
CHIEF, WORKER = "chief_0", "worker_0"

# Name: the process that stops, how, and whether the save is committed by then (None: no save).
BOUNDARIES: dict[str, tuple[str, Callable[[Stop], None], bool | None]] = {
    "before the barrier": (CHIEF, before_barrier, False),
    "barrier placed": (CHIEF, barrier_placed, False),
    "iterator state: data without index": (
        WORKER,
        renaming(r"input_worker_1\.ckpt-\d+\.index$", done=False, worker=True),
        False,
    ),
    "iterator state not acknowledged": (
        WORKER,
        renaming(r"checkpoint_input_worker_1$", done=True, worker=True),
        False,
    ),
    "after the iterator states": (
        CHIEF,
        after("ckpt_hooks", "BarrierSaverListener", "before_save"),
        False,
    ),
    "tables written, none in place": (CHIEF, renaming(ASSETS, done=False), False),
    "one table of two in place": (CHIEF, renaming(ASSETS, done=True), False),
    "after the tables": (
        CHIEF,
        after("tables.listeners", "HashTableCheckpointSaverListener", "before_save"),
        False,
    ),
    "after ckpt.info": (
        CHIEF,
        after("ckpt_info", "FidSlotCountSaverListener", "before_save"),
        False,
    ),
    "dense variables: data without index": (CHIEF, dense_data, False),
    "dense variables without meta graph": (CHIEF, dense_without_meta, False),
    "after the dense variables": (CHIEF, dense, False),
    "clearing what a failed save left": (CHIEF, clearing, None),
    "after ckpt.inputs": (CHIEF, renaming(r"ckpt\.inputs-\d+$", done=True), False),
    "before the rename of checkpoint": (CHIEF, renaming(r"/checkpoint$", done=False), False),
    "after the rename of checkpoint": (CHIEF, renaming(r"/checkpoint$", done=True), True),
    "after the rename, ending a rollback": (CHIEF, renaming(r"/checkpoint$", done=True), True),
    "an old step's index removed": (CHIEF, dropping(1), True),
    "in the middle of dropping a step": (CHIEF, dropping(6), True),
    "committed, the barrier still placed": (CHIEF, barrier_still_placed, True),
}


if __name__ == "__main__":
    main()
