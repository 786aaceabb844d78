"""A process of a job in the sessions of `runs`, without a config.

Run as `filters_job.py ROLE TASK CLUSTER DIRECTORY`, CLUSTER being JSON. It
trains until its standard input ends, and prints each step.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    job, task, cluster, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    timer = threading.Timer(180, os._exit, [9])
    timer.daemon = True
    timer.start()

    import tensorflow as tf

    from monolith_cli.errors import UnreachableError
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.runs import monitored_session

    v1 = tf.compat.v1
    server = v1.train.Server(json.loads(cluster), job_name=job, task_index=task)
    if job == "ps":
        server.join()
    index = 0 if job == "chief" else task + 1
    here = f"/job:{job}/task:{task}"
    setter = v1.train.replica_device_setter(ps_tasks=1, worker_device=here)
    with tf.Graph().as_default(), v1.device(setter):
        step = v1.train.create_global_step()
        barrier = BarrierOp(3, is_chief=index == 0, wait_seconds=0.1, lease_seconds=3)
        train = step.assign_add(1)
        seconds = float(os.environ.get("DEADLINE_SECONDS", "60"))
        try:
            with monitored_session(
                barrier, index, directory, master=server.target, deadline_seconds=seconds
            ) as session:
                while not session.should_stop():
                    print(int(session.run(train)), flush=True)
                    time.sleep(0.1)
        except UnreachableError as error:
            print(error, flush=True)


main()
