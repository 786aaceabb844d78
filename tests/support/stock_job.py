"""The job of examples/train.py in TensorFlow's own sessions, its hooks in the original's order.

`chaos_job` runs it where it is told to. The environment's STOCK_JOB is JSON, {} by default:

    {"last_step": 400}      StopAtStepHook in every process
    {"stay": true}          run_until_inputs_end in place of a plain loop
    {"end_last": true}      BarrierHook comes last, and the saver's hook first
    {"workers_last_step": {"1": 100}}   of one worker, by its index
    {"leave_after_seconds": {"1": 2}}   the same
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import train as example


def train(options: argparse.Namespace, cluster: dict[str, list[str]], job: str, task: int) -> None:
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
    tf.get_logger().handlers.clear()
    logging.set_verbosity(logging.INFO)
    wanted = json.loads(os.environ.get("STOCK_JOB", "{}"))
    config = v1.ConfigProto()
    if job != "ps":
        config.device_filters.extend(["/job:ps", f"/job:{job}/task:{task}"])
    server = v1.train.Server(cluster, job_name=job, task_index=task, config=config)
    if job == "ps":
        server.join()

    index = 0 if job == "chief" else task + 1
    processes = 1 + len(cluster["worker"])
    basename = os.path.join(options.model_dir, "model.ckpt")
    here = f"/job:{job}/task:{task}"
    setter = v1.train.replica_device_setter(ps_tasks=1, worker_device=here)
    with tf.Graph().as_default(), v1.device(setter):
        files = example.input_files(options)[index::processes]
        records = example.read_input(files, options.batch)
        step, train_op = example.build_model(records, 1)
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
        limit = wanted.get("leave_after_seconds", {}).get(str(index))
        limits = {} if limit is None else {"leave_after_seconds": limit}
        barrier_hook = barrier_ops.BarrierHook(index, barrier, **limits)
        hooks: list[Any] = [helper.create_restorer_hook()]
        if not wanted.get("end_last"):
            hooks.insert(0, barrier_hook)
        scaffold = v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=3))
        creator: Any
        if index == 0:
            restorer = hash_table.HashTableCheckpointRestorerListener(basename)
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
            asked = controller.ControllerHook(1, barrier, saver.timer.reset)
            by_file = controller.QueryActionHook(options.model_dir, asked)
            port = controller.ServerHook(options.model_dir, barrier, saver)
            tables = basic_restore_hook.CheckpointRestorerHook([restorer])
            hooks += [tables, saver, asked, by_file, port]
            creator = v1.train.ChiefSessionCreator(
                scaffold, server.target, config, checkpoint_dir=options.model_dir
            )
        else:
            creator = quick(v1.train.WorkerSessionCreator(scaffold, server.target, config))
        hooks.append(stop.create_stop_hook())
        last_step = wanted.get("workers_last_step", {}).get(str(index), wanted.get("last_step"))
        if last_step:
            hooks.append(v1.train.StopAtStepHook(last_step=last_step))
        if wanted.get("end_last"):
            hooks.append(barrier_hook)

        consumed = example.ConsumedLog(options.model_dir, index)
        with v1.train.MonitoredSession(creator, hooks) as session:
            logging.info("Process %d begins at step.", index)

            def run_step() -> None:
                at, ids, _ = session.run([step, records["record"], train_op])
                consumed.append(int(at), ids.tolist())
                time.sleep(options.pause)

            if wanted.get("stay"):
                runs.run_until_inputs_end(session, index, barrier, run_step, deadline_seconds=60)
            else:
                while not session.should_stop():
                    run_step()
    logging.info("Process %d has come to the end.", index)


def quick(creator: Any) -> Any:
    """The same creator, but one that looks for the chief more often than every 30 s."""
    make = creator._get_session_manager

    def get_session_manager() -> Any:
        manager = make()
        manager._recovery_wait_secs = 0.2
        return manager

    creator._get_session_manager = get_session_manager
    return creator
