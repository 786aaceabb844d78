"""What `BarrierHook` adds to a worker's step while no barrier is placed, in microseconds.

The variables are on a parameter server, a process of its own. Sessions without a hook, with one
that reads a variable there, and with `BarrierHook` take their steps in turns of 100; the medians of
the turns are compared. Runs by itself, and judges nothing: at most 1.05 of the step with the hook
that reads is meant.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp

STEPS = 100
TURNS = 100
SERVER = """
import sys
import tensorflow as tf
tf.compat.v1.train.Server({"ps": [sys.argv[1]], "worker": [sys.argv[2]]}, "ps")
sys.stdin.readline()
"""

v1 = tf.compat.v1


class ReadingHook(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]  # TensorFlow has none
    """Reads a variable on the parameter server at each step, and does nothing with it."""

    def begin(self) -> None:
        variable = v1.get_variable("read", initializer=False, trainable=False)
        self._args = v1.train.SessionRunArgs(variable.read_value())

    def before_run(self, run_context: Any) -> Any:
        return self._args


def make_session(kind: str, master: str) -> tuple[Any, Any]:
    """A monitored session of a worker, and the op of its step."""
    device = v1.train.replica_device_setter(1, worker_device="/job:worker/task:0")
    with tf.Graph().as_default(), v1.device(device):
        hooks: list[Any] = []
        if kind == "BarrierHook":
            hooks = [BarrierHook(1, BarrierOp(4))]
        elif kind == "a hook that reads":
            hooks = [ReadingHook()]
        train = v1.get_variable(f"counter_{len(kind)}", initializer=0).assign_add(1).op
        creator = v1.train.ChiefSessionCreator(master=master)
        return v1.train.MonitoredSession(creator, hooks=hooks), train


def microseconds(session: Any, train: Any) -> float:
    """Of a step, over one turn."""
    start = time.perf_counter()
    for _ in range(STEPS):
        session.run(train)
    return (time.perf_counter() - start) / STEPS * 1e6


def main() -> None:
    v1.disable_eager_execution()
    addresses = [free_address(), free_address()]
    command = [sys.executable, "-W", "ignore", "-c", SERVER, *addresses]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as server:
        try:
            cluster = {"ps": [addresses[0]], "worker": [addresses[1]]}
            worker = v1.train.Server(cluster, "worker")
            kinds = ["no hook", "a hook that reads", "BarrierHook"]
            sessions = {kind: make_session(kind, worker.target) for kind in kinds}
            times: dict[str, list[float]] = {kind: [] for kind in kinds}
            for turn in range(TURNS + 2):
                for kind, taken in times.items():
                    value = microseconds(*sessions[kind])
                    if turn >= 2:
                        taken.append(value)
        finally:
            server.kill()
    medians = {kind: statistics.median(taken) for kind, taken in times.items()}
    for kind, median in medians.items():
        print(f"{kind}: {median:.1f} µs a step")
    ratio = medians["BarrierHook"] / medians["a hook that reads"]
    print(f"BarrierHook against the hook that reads: {ratio:.3f}", flush=True)
    os._exit(0)  # a server of TensorFlow's has no end


def free_address() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


if __name__ == "__main__":
    main()
