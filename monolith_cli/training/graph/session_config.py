"""Which processes a session talks to: those that its graph names, not the whole cluster."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["with_device_filters"]

_SERVERS = "ps"  # as `replica_device_setter` names them


def with_device_filters(config: Any, graph: tf.Graph) -> Any:
    """The same config, with `device_filters` for the jobs and tasks in a finished graph.

    Without filters a session is made only when every process of the cluster answers, and a chief
    that starts again waits for workers that are dead. Filters that the config has are left alone.
    Costs one pass over the graph's ops.
    """
    if config is not None and config.device_filters:
        return config
    names = {op.device for op in graph.get_operations()}
    filters = sorted({process for process in map(_process, names) if process})
    if not filters:
        return config
    filtered = tf.compat.v1.ConfigProto()
    if config is not None:
        filtered.CopyFrom(config)
    filtered.device_filters.extend(filters)
    return filtered


def _process(name: str) -> str | None:
    spec = tf.DeviceSpec.from_string(name)
    if spec.job is None:
        return None
    # All servers: functions may name others than ops do.
    if spec.job == _SERVERS or spec.task is None:
        return f"/job:{spec.job}"
    return f"/job:{spec.job}/task:{spec.task}"
