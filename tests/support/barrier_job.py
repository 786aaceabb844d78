"""A process of a job on loopback: parameter server, chief or worker, told what to do by lines.

Run as `barrier_job.py ROLE INDEX CLUSTER`, CLUSTER being JSON. A chief reads Python expressions
from its standard input and answers with JSON; a worker trains, and writes what happens. Each ends
with its standard input, and after three minutes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
STEP_SECONDS = 0.01


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def quick(creator: Any) -> Any:
    """The same creator, but one that looks for the chief more often than every 30 s."""
    make = creator._get_session_manager

    def get_session_manager() -> Any:
        manager = make()
        manager._recovery_wait_secs = 0.2
        return manager

    creator._get_session_manager = get_session_manager
    return creator


def main() -> None:
    role, index, cluster = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    timer = threading.Timer(180, os._exit, [9])
    timer.daemon = True
    timer.start()

    import tensorflow as tf

    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp

    v1 = tf.compat.v1
    say(imported=role)
    task = 0 if role == "ps" else index
    job_task = {"ps": ("ps", 0), "chief": ("chief", 0), "worker": ("worker", task - 1)}[role]
    config = v1.ConfigProto()
    if role != "ps":
        config.device_filters.extend(["/job:ps", f"/job:{job_task[0]}/task:{job_task[1]}"])
    server = v1.train.Server(
        cluster, job_name=job_task[0], task_index=job_task[1], config=config, start=True
    )
    if role == "ps":
        say(ready=role)
        end_with_stdin()

    steps = 0
    setter = v1.train.replica_device_setter(
        ps_tasks=1, worker_device=f"/job:{job_task[0]}/task:{job_task[1]}"
    )
    with tf.Graph().as_default(), v1.device(setter):
        is_chief = role == "chief"
        op = BarrierOp(
            3,
            is_chief=is_chief,
            wait_seconds=0.2,
            lease_seconds=3,
            barrier_callbacks=[lambda action, session: say(callback=action, steps=steps)],
        )
        v1.train.create_global_step()
        scaffold = v1.train.Scaffold()
        hooks = [BarrierHook(index, op)]
        if is_chief:
            creator = v1.train.ChiefSessionCreator(scaffold, server.target, config)
        else:
            creator = quick(v1.train.WorkerSessionCreator(scaffold, server.target, config))
        with tf.device(f"/job:{job_task[0]}/task:{job_task[1]}"):
            constant = tf.constant(1)
        with v1.train.MonitoredSession(creator, hooks) as session:
            raw = session._tf_sess()
            say(ready=role)
            if is_chief:
                for line in sys.stdin:
                    scope = {"op": op, "session": raw, "time": time}
                    say(answer=eval(line, scope), at=time.monotonic())
                os._exit(0)
            threading.Thread(target=end_with_stdin, daemon=True).start()
            while True:
                started = time.monotonic()
                session.run(constant)
                steps += 1
                say(step=steps, started=started)
                time.sleep(STEP_SECONDS)


if __name__ == "__main__":
    main()
