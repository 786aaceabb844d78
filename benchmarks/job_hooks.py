"""What the hooks of a job cost it: CPU seconds of all its processes, with them and without.

A parameter server, a chief and three workers train the example's model for 20,000 steps in all.
With hooks: in a session of `runs`, with the hooks of the example; no save, no barrier, nobody asks.
Without: in TensorFlow's own monitored sessions, without any. Both in turns; starting up and
restoring do not count. Runs by itself, and judges nothing: at most 1.05 is meant.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

WORKERS = 3
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--process", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process:
        run_process(*arguments.process, steps=arguments.steps // (WORKERS + 1))
        return
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(arguments.runs):
        for kind, measured in seconds.items():
            measured.append(cpu_seconds(kind, arguments.steps))
            print(f"{kind} hooks: {measured[-1]:.2f} s of CPU", flush=True)
    with_hooks, without = (statistics.median(measured) for measured in seconds.values())
    print(f"with hooks {with_hooks:.2f} s, without {without:.2f} s: {with_hooks / without:.3f}")


def cpu_seconds(kind: str, steps: int) -> float:
    """Of all processes of one job, from when all are ready to train until all have trained."""
    names = [("ps", 0), ("chief", 0), *(("worker", task) for task in range(WORKERS))]
    cluster: dict[str, list[str]] = {}
    for job, _ in names:
        cluster.setdefault(job, []).append(free_address())
    with tempfile.TemporaryDirectory() as directory:
        processes = {
            (job, task): subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore", __file__, "--steps", str(steps)),
                    *("--process", f"{job}:{task}", json.dumps(cluster), kind, directory),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for job, task in names
        }
        try:
            trainers = [process for (job, _), process in processes.items() if job != "ps"]
            for process in trainers:
                expect(process, "ready")
            before = sum(used(process.pid) for process in processes.values())
            for process in trainers:
                tell(process, "go")
            for process in trainers:
                expect(process, "done")
            after = sum(used(process.pid) for process in processes.values())
        finally:
            for process in processes.values():
                process.kill()
                process.communicate()
    return after - before


def run_process(name: str, cluster: str, kind: str, directory: str, *, steps: int) -> None:
    import tensorflow as tf

    train = importlib.import_module("train")  # the example
    job, _, task = name.partition(":")
    servers = json.loads(cluster)
    v1 = tf.compat.v1
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
    if job != "ps":
        config.device_filters.extend(["/job:ps", f"/job:{job}/task:{task}"])
    server = v1.train.Server(servers, job_name=job, task_index=int(task), config=config)
    if job == "ps":
        server.join()
    index = 0 if job == "chief" else int(task) + 1
    here = f"/job:{job}/task:{task}"
    with tf.Graph().as_default(), v1.device(v1.train.replica_device_setter(1, worker_device=here)):
        _, train_op = train.build_model(records(index), 1)
        with session(kind, index, server.target, config, directory) as opened:
            for _ in range(50):
                opened.run(train_op)
            print("ready", flush=True)
            sys.stdin.readline()
            for _ in range(steps):
                opened.run(train_op)
            print("done", flush=True)
            sys.stdin.readline()


def session(kind: str, index: int, master: str, config: Any, directory: str) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    if kind == "without":
        creator = v1.train.WorkerSessionCreator if index else v1.train.ChiefSessionCreator
        return v1.train.MonitoredSession(creator(master=master, config=config))
    from monolith_cli.training import barrier_ops, ckpt_hooks, controller, runs, save_utils

    helper = ckpt_hooks.WorkerCkptHelper(directory, index)
    stop = controller.StopHelper()
    callbacks = [helper.create_save_iterator_callback(), stop.create_barrier_callback()]
    barrier = barrier_ops.BarrierOp(
        WORKERS + 1, is_chief=index == 0, wait_seconds=0.1, barrier_callbacks=callbacks
    )
    hooks: list[Any] = [helper.create_restorer_hook()]
    if index == 0:
        saver = save_utils.NoFirstSaveCheckpointSaverHook(
            directory,
            save_secs=3600,
            guard_saver_listeners=[ckpt_hooks.BarrierSaverListener(barrier)],
        )
        port = controller.ServerHook(directory, barrier, saver)
        hooks += [saver, stop.create_stop_hook(), port]
    return runs.monitored_session(
        barrier, index, directory, master=master, hooks=hooks, config=config
    )


def records(index: int) -> dict[str, Any]:
    """Endless batches."""
    import tensorflow as tf

    numbers = tf.data.Dataset.range(index, 1 << 40, WORKERS + 1).batch(BATCH)
    dataset = numbers.map(
        lambda number: {
            "record": number % 10_000,
            "user": number % 1_000,
            "item": number % 3_000,
            "label": tf.cast(number % 2, tf.float32),
        }
    )
    batch: dict[str, Any] = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
    return batch


def free_address() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


def expect(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            return
    raise SystemExit(f"a process has ended with {process.wait()}")


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def used(pid: int) -> float:
    """CPU seconds of a process so far, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
