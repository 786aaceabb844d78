"""A training job of several processes: one parameter server, a chief, and workers.

    python examples/train.py MODEL_DIR

writes some input, starts all of them on this machine, and trains until the input has ended. Kill
what you like, and start it again: it goes on from the last committed step. In a cluster start the
same file once a process, with TF_CONFIG set as TensorFlow's documentation describes it, and the
chief as a task of its own:

    TF_CONFIG='{"cluster": {"ps": [...], "chief": [...], "worker": [...]},
                "task": {"type": "worker", "index": 0}}' python examples/train.py MODEL_DIR

Every process with input appends what it has consumed to MODEL_DIR/log/input_<index>.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

EMBEDDING_DIM = 8
USER_SLOT, ITEM_SLOT, RECORD_SLOT = 1, 2, 3
SLOT_BIT = 48  # a feature id: slot above, signature below
EXIT_WITH_PARENT = "TRAIN_EXIT_WITH_PARENT"


def main() -> None:
    options = parse_arguments()
    config = os.environ.get("TF_CONFIG")
    if config is None:
        sys.exit(launch(options))
    if os.environ.get(EXIT_WITH_PARENT):
        threading.Thread(target=exit_with_parent, daemon=True).start()
    cluster = json.loads(config)
    train(options, cluster["cluster"], cluster["task"]["type"], cluster["task"]["index"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model_dir", metavar="MODEL_DIR")
    parser.add_argument("--input", metavar="DIR", help="TFRecord files (MODEL_DIR/input, written)")
    parser.add_argument("--workers", type=int, default=2, help="besides the chief (2)")
    parser.add_argument("--records", type=int, default=6000, help="to write as input (6000)")
    parser.add_argument("--batch", type=int, default=4, help="records a step (4)")
    parser.add_argument("--save-steps", type=int, default=100, help="between two saves (100)")
    parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS", help="after a step")
    parser.add_argument(
        "--deadline",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long to wait for processes that are gone (120)",
    )
    return parser.parse_args()


# --- a process of the job ---------------------------------------------------------------------


def train(options: argparse.Namespace, cluster: dict[str, list[str]], job: str, task: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf
    from absl import logging

    from monolith_cli.training import (
        barrier_ops,
        basic_restore_hook,
        ckpt_hooks,
        ckpt_info,
        hash_table,
        runs,
        save_utils,
    )

    v1 = tf.compat.v1
    logging.set_verbosity(logging.INFO)
    config = v1.ConfigProto()
    if job != "ps":
        # A process talks to the parameter server only: the death of another is none of its own.
        config.device_filters.extend(["/job:ps", f"/job:{job}/task:{task}"])
    server = v1.train.Server(cluster, job_name=job, task_index=task, config=config)
    if job == "ps":
        server.join()

    index = 0 if job == "chief" else task + 1
    processes = 1 + len(cluster["worker"])
    basename = os.path.join(options.model_dir, "model.ckpt")
    here = f"/job:{job}/task:{task}"
    setter = v1.train.replica_device_setter(ps_tasks=len(cluster["ps"]), worker_device=here)
    with tf.Graph().as_default(), v1.device(setter):
        files = sorted(Path(input_dir(options)).glob("part-*.tfrecord"))
        records = read_input([str(file) for file in files[index::processes]], options.batch)
        step, train_op, tables = build_model(records, len(cluster["ps"]))

        # The input's position: saved at the barrier, restored when a session is made.
        helper = ckpt_hooks.WorkerCkptHelper(options.model_dir, index, require_all=True)
        barrier = barrier_ops.BarrierOp(
            processes,
            is_chief=index == 0,
            wait_seconds=0.1,
            barrier_callbacks=[helper.create_save_iterator_callback()],
        )
        hooks: list[Any] = [helper.create_restorer_hook()]
        scaffold = v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=3))
        if index == 0:
            restorer = hash_table.HashTableCheckpointRestorerListener(basename)
            hooks.insert(0, basic_restore_hook.CheckpointRestorerHook([restorer]))
            hooks.append(
                save_utils.NoFirstSaveCheckpointSaverHook(
                    options.model_dir,
                    save_steps=options.save_steps,
                    scaffold=scaffold,
                    guard_saver_listeners=[ckpt_hooks.BarrierSaverListener(barrier)],
                    listeners=[
                        hash_table.HashTableCheckpointSaverListener(basename),
                        ckpt_info.FidSlotCountSaverListener(options.model_dir),
                    ],
                    require_all=True,
                )
            )

        consumed = ConsumedLog(options.model_dir, index)
        with runs.monitored_session(
            barrier,
            index,
            options.model_dir,
            master=server.target,
            hooks=hooks,
            scaffold=scaffold,
            config=config,
            deadline_seconds=options.deadline,
        ) as session:

            def run_step() -> None:
                at, ids, _ = session.run([step, records["record"], train_op])
                consumed.append(int(at), ids.tolist())
                time.sleep(options.pause)

            runs.run_until_inputs_end(
                session, index, barrier, run_step, deadline_seconds=options.deadline
            )
    logging.info("Process %d has ended; %d tables.", index, len(tables))
    # TensorFlow's server has no way to stop, and its threads must not outlive the interpreter.
    sys.stdout.flush()
    os._exit(0)


def read_input(files: list[str], batch: int) -> dict[str, Any]:
    """The next batch of this process's records: number, user, item and label, a vector each."""
    import tensorflow as tf

    features = {
        "record": tf.io.FixedLenFeature([], tf.int64),
        "user": tf.io.FixedLenFeature([], tf.int64),
        "item": tf.io.FixedLenFeature([], tf.int64),
        "label": tf.io.FixedLenFeature([], tf.float32),
    }
    dataset = tf.data.TFRecordDataset(files).shuffle(32, seed=7).batch(batch)
    dataset = dataset.map(lambda texts: tf.io.parse_example(texts, features)).prefetch(2)
    iterator = tf.compat.v1.data.make_one_shot_iterator(dataset)
    batch_of: dict[str, Any] = iterator.get_next()
    return batch_of


def build_model(records: dict[str, Any], servers: int) -> tuple[Any, Any, list[Any]]:
    """Embeddings in a hash table, and a small dense part. Returns step, train op and tables."""
    import tensorflow as tf

    from monolith_cli.training.hash_table import HashTable

    v1 = tf.compat.v1
    with v1.device(f"/job:ps/task:{servers - 1}"):
        table = HashTable("MonolithHashTable_embeddings", EMBEDDING_DIM)
        # How often each record was trained on: so anybody can check what a checkpoint covers.
        seen = HashTable("MonolithHashTable_seen", 1)
    ids = tf.concat([fids(USER_SLOT, records["user"]), fids(ITEM_SLOT, records["item"])], axis=0)
    rows = table.lookup(ids)
    users, items = tf.split(rows, 2)
    step = v1.train.get_or_create_global_step()
    weights = v1.get_variable("weights", [2 * EMBEDDING_DIM, 1])
    bias = v1.get_variable("bias", [1], initializer=v1.zeros_initializer())
    logits = tf.squeeze(tf.matmul(tf.concat([users, items], axis=1), weights) + bias, axis=1)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=records["label"], logits=logits)
    loss = tf.reduce_mean(losses)
    # The first time an id comes its row is zeros, which have no gradient but the weights'.
    [gradient] = tf.gradients(loss, [rows])
    optimizer = v1.train.GradientDescentOptimizer(0.05)
    now = tf.cast(tf.timestamp(), tf.int64)
    counted = seen.assign_add(
        fids(RECORD_SLOT, records["record"]), tf.ones([tf.size(records["record"]), 1]), now
    )
    updated = table.assign_add(ids, -0.05 * gradient, now)
    with tf.control_dependencies([updated.as_op(), counted.as_op()]):
        train_op = optimizer.minimize(loss, global_step=step)
    with tf.control_dependencies([train_op]):
        return step.read_value(), train_op, [table, seen]


def fids(slot: int, signatures: Any) -> Any:
    """Feature ids of a slot."""
    return signatures + (slot << SLOT_BIT)


class ConsumedLog:
    """What a process has consumed: a JSON object a step, with the step and the records."""

    def __init__(self, model_dir: str, index: int) -> None:
        directory = Path(model_dir, "log")
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"input_{index}.jsonl"

    def append(self, step: int, records: list[int]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "records": records}) + "\n")


# --- all processes on this machine ------------------------------------------------------------


def launch(options: argparse.Namespace) -> int:
    """Start everything, and wait for it. Returns an exit code."""
    if options.input is None:
        write_input(input_dir(options), options.records, files=2 * (1 + options.workers))
    ports = free_ports(2 + options.workers)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    cluster = {"ps": addresses[:1], "chief": addresses[1:2], "worker": addresses[2:]}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for job, hosts in cluster.items():
            for task in range(len(hosts)):
                processes[f"{job}:{task}"] = start(cluster, job, task)
        return wait(processes)
    except KeyboardInterrupt:
        return 130
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def start(cluster: dict[str, list[str]], job: str, task: int) -> subprocess.Popen[bytes]:
    config = {"cluster": cluster, "task": {"type": job, "index": task}}
    environment = dict(os.environ, TF_CONFIG=json.dumps(config), **{EXIT_WITH_PARENT: "1"})
    return subprocess.Popen([sys.executable, *sys.argv], env=environment)


def wait(processes: dict[str, subprocess.Popen[bytes]]) -> int:
    """Until chief and workers have ended well, or one process has not."""
    while True:
        codes = {name: process.poll() for name, process in processes.items()}
        for name, code in codes.items():
            if code:
                print(f"{name} has ended with {code}", file=sys.stderr)
                return 1
        if all(code == 0 for name, code in codes.items() if not name.startswith("ps:")):
            return 0
        time.sleep(0.2)


def exit_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def input_dir(options: argparse.Namespace) -> str:
    return options.input or os.path.join(options.model_dir, "input")


def write_input(directory: str, records: int, files: int) -> None:
    """Records numbered from 0, in turns over the files. Does nothing if there are files."""
    path = Path(directory)
    if any(path.glob("part-*.tfrecord")):
        return
    import random

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    path.mkdir(parents=True, exist_ok=True)
    numbers = random.Random(1)
    for part in range(files):
        with tf.io.TFRecordWriter(str(path / f".part-{part:03d}.tmp")) as writer:
            for record in range(part, records, files):
                user, item = numbers.randrange(500), numbers.randrange(200)
                values = {"record": record, "user": user, "item": item}
                feature = {
                    name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                    for name, value in values.items()
                }
                label = float((user + item) % 3 == 0)
                feature["label"] = tf.train.Feature(float_list=tf.train.FloatList(value=[label]))
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    for part in range(files):
        os.rename(path / f".part-{part:03d}.tmp", path / f"part-{part:03d}.tfrecord")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    main()
