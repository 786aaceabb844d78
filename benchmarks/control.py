"""Asking a running job: what it costs those who ask, and the job. Runs by itself.

A chief in a process of its own trains steps of some milliseconds and serves the Controller service.
Measured: `monolith barrier status`, a whole process, against `python -c "import grpc"`; from place
to its answer, alone and while 20 clients ask for the status all the time; and a training step while
20 clients ask for the status 200 times each, against the same job while nobody asks, in turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from measure import MONOLITH, python, run

CLIENTS = 20
CALLS = 200
TURNS = 5
PLACES = 50
STARTS = 15


def job(model_dir: str) -> None:
    """The chief: answers each line of its input with the times of its steps since the last."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.controller import ServerHook
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    v1 = tf.compat.v1
    took: list[float] = []
    asked = threading.Event()

    def listen() -> None:
        for _ in sys.stdin:
            asked.set()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        weights = v1.get_variable("weights", [600, 600])
        with tf.control_dependencies([weights.assign(tf.matmul(weights, weights) * 1e-3 + 1e-3)]):
            train = v1.assign_add(step, 1)
        barrier = BarrierOp(1)
        scaffold = v1.train.Scaffold()
        saver = NoFirstSaveCheckpointSaverHook(model_dir, save_secs=3600, scaffold=scaffold)
        hooks = [saver, BarrierHook(0, barrier), ServerHook(model_dir, barrier, saver)]
        with v1.train.SingularMonitoredSession(hooks, scaffold, config=config) as session:
            while True:
                start = time.perf_counter()
                session.run(train)
                took.append(time.perf_counter() - start)
                if asked.is_set():
                    asked.clear()
                    print(json.dumps(took), flush=True)
                    took.clear()


def clients(model_dir: str, calls: int) -> None:
    """All of them, each with a connection of its own; prints how many calls have failed."""
    from monolith_cli.control.client import connect
    from monolith_cli.errors import MonolithError

    failed = []

    def ask() -> None:
        with connect(model_dir) as client:
            for _ in range(calls):
                try:
                    client.info()
                except MonolithError as error:
                    failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(failed))


def steps_of(process: Any) -> list[float]:
    """The seconds of each of the job's steps since this was asked last."""
    process.stdin.write("\n")
    process.stdin.flush()
    took: list[float] = json.loads(process.stdout.readline())
    return took


def place_times(model_dir: str) -> str:
    """Of placing over a connection that is there, and of connecting and placing."""
    from monolith_cli.control.client import connect

    places, connected = [], []
    for _ in range(PLACES):
        start = time.perf_counter()
        with connect(model_dir) as client:
            asked = time.perf_counter()
            lease = client.place(reason="", owner="benchmark", ttl_seconds=60)
            end = time.perf_counter()
            places.append((end - asked) * 1e3)
            connected.append((end - start) * 1e3)
            client.remove(owner="benchmark", lease=lease)
    return (
        f"{statistics.median(places):.1f} ms, worst {max(places):.1f};"
        f" with connecting {statistics.median(connected):.1f} ms, worst {max(connected):.1f}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        model_dir = str(Path(directory, "model"))
        process = subprocess.Popen(
            [sys.executable, __file__, "job", model_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not Path(model_dir, "controller_server_addr.txt").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the job has not started")
                time.sleep(0.1)
            measure(process, model_dir)
        finally:
            process.kill()
            process.wait()


def measure(process: Any, model_dir: str) -> None:
    """Print all figures."""
    time.sleep(1)
    steps_of(process)
    quiet, busy, lost, asking = [], [], 0, 0.0
    for _ in range(TURNS):
        time.sleep(3)
        quiet += steps_of(process)
        start = time.perf_counter()
        asked = subprocess.run(
            python("control", "clients", model_dir), capture_output=True, text=True, check=True
        )
        asking += time.perf_counter() - start  # their start-up included
        lost += int(asked.stdout)
        busy += steps_of(process)
    alone, shared = statistics.median(quiet) * 1e3, statistics.median(busy) * 1e3
    print(
        f"a step: {alone:.2f} ms alone, {shared:.2f} ms with {CLIENTS} clients that make {CALLS}"
        f" status calls each: {shared - alone:.2f} ms more"
        f" ({(statistics.fmean(busy) - statistics.fmean(quiet)) * 1e3:.2f} in the mean);"
        f" {lost} calls lost, {CLIENTS * CALLS * TURNS / asking:.0f} answered a second"
    )
    print(f"place to answer: {place_times(model_dir)}")
    others = subprocess.Popen(python("control", "poll", model_dir), stderr=subprocess.DEVNULL)
    try:
        time.sleep(2)
        print(f"the same while {CLIENTS} clients poll the status: {place_times(model_dir)}")
    finally:
        others.kill()
        others.wait()
    ours, theirs = [], []
    for _ in range(STARTS):
        ours.append(run([MONOLITH, "barrier", "status", model_dir]).seconds)
        theirs.append(run([sys.executable, "-c", "import grpc"]).seconds)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"barrier status: {mine * 1e3:.0f} ms, python -c 'import grpc': {other * 1e3:.0f} ms:"
        f" {mine / other:.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["job"]:
        job(sys.argv[2])
    elif sys.argv[1:2] == ["clients"]:
        clients(sys.argv[2], CALLS)
    elif sys.argv[1:2] == ["poll"]:
        clients(sys.argv[2], 10**9)
    else:
        main()
