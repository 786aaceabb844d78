"""What the processes of a job share in their graphs: scopes, devices and variables by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from monolith_cli.errors import UsageError

__all__ = ["VariableFactory", "job_scope", "plain", "shared_device", "shared_variables"]

v1 = tf.compat.v1

VariableFactory = Callable[[str, Any, Any], Any]  # of name, initial value and dtype


@contextlib.contextmanager
def shared_variables(name_prefix: str, is_chief: bool) -> Iterator[VariableFactory]:
    """The name scope and device of the job's shared variables, and a function that makes one there.

    In the chief they are local, so that only the chief initialises them, and no checkpoint has
    them.

    Raises
    ------
    UsageError
        As `job_scope`.
    """
    keys = v1.GraphKeys
    collections = [keys.LOCAL_VARIABLES if is_chief else keys.GLOBAL_VARIABLES]

    def variable(name: str, initial: Any, dtype: Any) -> Any:
        return v1.Variable(
            initial,
            name=name,
            dtype=dtype,
            trainable=False,
            collections=collections,
            use_resource=True,
        )

    device = shared_device()
    with job_scope(f"{name_prefix}_barrier_op", "a barrier"), tf.device(device):
        yield variable


@contextlib.contextmanager
def job_scope(name: str, what: str) -> Iterator[None]:
    """A name scope whose variables are shared with the same scope in the job's other processes.

    Raises
    ------
    UsageError
        It would get another name, because it is inside another scope, or there is one already.
    """
    outer = v1.get_default_graph().get_name_scope()
    if outer:
        raise UsageError(
            f"{what} inside the name scope {outer!r} would be another one than that of other"
            " processes",
            hint="make it outside of all scopes",
        )
    with tf.name_scope(name) as scope:
        if scope != f"{name}/":
            raise UsageError(
                f"there is {what} {name!r} in this graph already",
                hint="make one, and give it to all that use it",
            )
        yield


def plain(session: Any) -> Any:
    """The session without hooks, because reads of the barrier are not training steps."""
    for name in ("raw_session", "_tf_sess"):
        inner = getattr(session, name, None)
        if inner is not None:
            session = inner()
            break
    if session is None:
        raise RuntimeError("the session is closed")
    return session


def shared_device() -> Any:
    """Where the job's shared variables go: a CPU, of task 0 if variables have their own servers.

    A replica device setter would spread them over the servers, depending on how many variables the
    process has made before, which differs between chief and workers.
    """
    with tf.name_scope("barrier_op_device"):
        handle = tf.raw_ops.VarHandleOp(dtype=tf.bool, shape=[], shared_name="barrier_op_device")
        servers = tf.DeviceSpec.from_string(handle.device)
        here = tf.DeviceSpec.from_string(tf.no_op().device)
    cpu = tf.DeviceSpec(device_type="CPU", device_index=0)
    if servers.job and servers.job != here.job:
        return cpu.replace(job=servers.job, replica=servers.replica, task=0).to_string()
    return cpu.to_string()
