"""A training job of several processes: one parameter server, a chief, and workers.

    python examples/train.py MODEL_DIR

writes some input, starts all of them on this machine, and trains until the input has ended. Kill
what you like, and start it again: it goes on from the last committed step. What the processes say
is in MODEL_DIR/log/<job>_<task>.log.

In a cluster start the same file once a process, with TF_CONFIG set as TensorFlow's documentation
describes it, and the chief as a task of its own:

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
import traceback
from pathlib import Path
from typing import Any

from monolith_cli.checkpoint.restart import restart_point
from monolith_cli.errors import MonolithError

EMBEDDING_DIM = 8
USER_SLOT, ITEM_SLOT, RECORD_SLOT = 1, 2, 3
SLOT_BIT = 48  # a feature id: slot above, signature below
EXIT_WITH_PARENT = "TRAIN_EXIT_WITH_PARENT"


def main() -> None:
    options = parse_arguments()
    config = os.environ.get("TF_CONFIG")
    if config is None:
        sys.exit(launch(options))
    job = json.loads(config)
    run_process(options, job["cluster"], job["task"]["type"], job["task"]["index"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model_dir", metavar="MODEL_DIR")
    parser.add_argument("--input", metavar="DIR", help="TFRecord files (MODEL_DIR/input, written)")
    parser.add_argument("--workers", type=int, default=2, help="besides the chief (2)")
    parser.add_argument("--records", type=int, default=6000, help="to write as input (6000)")
    parser.add_argument("--files", type=int, help="to write them to (2 a process)")
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
    options = parser.parse_args()
    if options.files is None:
        options.files = 2 * (1 + options.workers)
    if options.files < 1 + options.workers:
        parser.error("--files must be at least one for the chief and for each worker")
    if options.workers < 1 or options.records < 1 or options.batch < 1 or options.save_steps < 1:
        parser.error("--workers, --records, --batch and --save-steps must be at least 1")
    try:
        Path(options.model_dir, "log").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"MODEL_DIR: {error.strerror}: {error.filename}")
    if options.input is not None and not input_files(options):
        parser.error(f"--input: no part-*.tfrecord in {options.input}")
    return options


# --- a process of the job ---------------------------------------------------------------------


def run_process(
    options: argparse.Namespace, cluster: dict[str, list[str]], job: str, task: int
) -> None:
    """Be one process until it ends, and say how."""
    if EXIT_WITH_PARENT in os.environ:
        threading.Thread(target=exit_with_parent, daemon=True).start()
    code = 1
    try:
        if job == "input":
            write_input(input_dir(options), options.records, options.files)
        else:
            train(options, cluster, job, task)
        code = 0
    except MonolithError as error:
        print(f"error: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        # TensorFlow's server has no way to stop, and its threads must not outlive the interpreter.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def train(options: argparse.Namespace, cluster: dict[str, list[str]], job: str, task: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf
    from absl import logging

    from monolith_cli.training import (
        barrier_ops,
        basic_restore_hook,
        ckpt_hooks,
        ckpt_info,
        controller,
        hash_table,
        runs,
        save_utils,
    )

    v1 = tf.compat.v1
    logging.use_absl_handler()
    tf.get_logger().handlers.clear()  # its messages go there as well
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
        records = read_input(input_files(options)[index::processes], options.batch)
        step, train_op = build_model(records, len(cluster["ps"]))

        # The input's position: saved at the barrier, restored when a session is made.
        helper = ckpt_hooks.WorkerCkptHelper(options.model_dir, index, require_all=True)
        stop = controller.StopHelper()
        barrier = barrier_ops.BarrierOp(
            processes,
            is_chief=index == 0,
            wait_seconds=0.1,
            barrier_callbacks=[
                helper.create_save_iterator_callback(),
                stop.create_barrier_callback(),
            ],
        )
        hooks: list[Any] = [helper.create_restorer_hook()]
        scaffold = v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=3))
        if index == 0:
            restorer = hash_table.HashTableCheckpointRestorerListener(basename)
            hooks.insert(0, basic_restore_hook.CheckpointRestorerHook([restorer]))
            saver = save_utils.NoFirstSaveCheckpointSaverHook(
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
            # What people and scripts ask for, at a port or by a file. Workers end with the chief.
            asked = controller.ControllerHook(1, barrier, saver.timer.reset)
            by_file = controller.QueryActionHook(options.model_dir, asked)
            port = controller.ServerHook(options.model_dir, barrier, saver)
            hooks += [saver, asked, stop.create_stop_hook(), by_file, port]

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
    logging.info("Process %d has come to the end.", index)


def read_input(files: list[str], batch: int) -> dict[str, Any]:
    """The next batch of this process's records: number, user, item and label, a vector each."""
    import tensorflow as tf

    iterator = tf.compat.v1.data.make_one_shot_iterator(make_dataset(files, batch))
    batch_of: dict[str, Any] = iterator.get_next()
    return batch_of


def make_dataset(files: list[str], batch: int) -> Any:
    """The records of these files, shuffled, in batches."""
    import tensorflow as tf

    features = {
        "record": tf.io.FixedLenFeature([], tf.int64),
        "user": tf.io.FixedLenFeature([], tf.int64),
        "item": tf.io.FixedLenFeature([], tf.int64),
        "label": tf.io.FixedLenFeature([], tf.float32),
    }
    dataset = tf.data.TFRecordDataset(files).shuffle(32, seed=7).batch(batch)
    return dataset.map(lambda texts: tf.io.parse_example(texts, features)).prefetch(2)


def build_model(records: dict[str, Any], servers: int) -> tuple[Any, Any]:
    """Embeddings in a hash table, and a small dense part. Returns step and train op."""
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
        return step.read_value(), train_op


def fids(slot: int, signatures: Any) -> Any:
    """Feature ids of a slot."""
    return signatures + (slot << SLOT_BIT)


class ConsumedLog:
    """What a process has consumed: a JSON object a step, with the step and the records."""

    def __init__(self, model_dir: str, index: int) -> None:
        self._path = Path(model_dir, "log", f"input_{index}.jsonl")

    def append(self, step: int, records: list[int]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "records": records}) + "\n")


# --- all processes on this machine ------------------------------------------------------------


def launch(options: argparse.Namespace) -> int:
    """Start everything, and wait for it. Returns an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    ports = free_ports(2 + options.workers)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    cluster = {"ps": addresses[:1], "chief": addresses[1:2], "worker": addresses[2:]}
    log = Path(options.model_dir, "log")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        if not input_files(options):
            print(f"Writing {options.records} records to {input_dir(options)}.", flush=True)
            processes["input_0"] = start(cluster, "input", 0, log)
            if not wait(processes, ["input_0"], options):
                return 1
            del processes["input_0"]
        step = restart_point(options.model_dir).step
        print("Starting anew." if step is None else f"Going on from step {step}.", flush=True)
        for job, hosts in cluster.items():
            for task in range(len(hosts)):
                processes[f"{job}_{task}"] = start(cluster, job, task, log)
        print(f"Started {', '.join(processes)}; what they say is in {log}.", flush=True)
        if not wait(processes, [name for name in processes if name != "ps_0"], options):
            return 1
        step = restart_point(options.model_dir).step
        print(f"The job has ended; step {step} is the last.")
        return 0
    except MonolithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()


def start(cluster: dict[str, list[str]], job: str, task: int, log: Path) -> subprocess.Popen[bytes]:
    config = json.dumps({"cluster": cluster, "task": {"type": job, "index": task}})
    environment = {**os.environ, "TF_CONFIG": config, EXIT_WITH_PARENT: str(os.getpid())}
    with open(log / f"{job}_{task}.log", "ab") as file:
        return subprocess.Popen(
            [sys.executable, *sys.argv],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # so that a Ctrl-C is for the launcher alone
        )


def wait(
    processes: dict[str, subprocess.Popen[bytes]], names: list[str], options: argparse.Namespace
) -> bool:
    """Until those have ended well, or any has failed; tells of each step that is committed."""
    told = restart_point(options.model_dir).step
    while any(processes[name].poll() != 0 for name in names):
        for name, process in processes.items():
            if process.poll():
                path = Path(options.model_dir, "log", f"{name}.log")
                print(f"{name} has ended with {process.returncode}: see {path}", file=sys.stderr)
                return False
        step = restart_point(options.model_dir).step
        if step != told:
            print(f"Step {step} is saved.", flush=True)
            told = step
        time.sleep(0.2)
    return True


def exit_with_parent() -> None:
    while os.getppid() == int(os.environ[EXIT_WITH_PARENT]):
        time.sleep(0.5)
    os._exit(1)


def input_dir(options: argparse.Namespace) -> Path:
    return Path(options.input or os.path.join(options.model_dir, "input"))


def input_files(options: argparse.Namespace) -> list[str]:
    return sorted(str(file) for file in input_dir(options).glob("part-*.tfrecord"))


def write_input(directory: Path, records: int, files: int) -> None:
    """Records numbered from 0, in turns over the files; all of them, or none."""
    import random

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    unfinished = directory.with_name(f"{directory.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    numbers = random.Random(1)
    for part in range(files):
        with tf.io.TFRecordWriter(str(unfinished / f"part-{part:03d}.tfrecord")) as writer:
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
    os.rename(unfinished, directory)


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
