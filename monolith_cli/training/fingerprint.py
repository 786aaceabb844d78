"""What an input pipeline is: saved with its iterator state, and compared when that is restored.

TensorFlow restores the state of one pipeline into another without an error, and then goes on at a
wrong record. A fingerprint has the pipeline's nodes with their parameters, and its files with their
sizes.

It is the same in every process that runs the same code, wherever in the graph the pipeline is made.
It is JSON, a dictionary by iterator of::

    {"version": 1,
     "digest": "75d0b3a4e1c55f0e",
     "files": [{"path": "/data/part-0", "bytes": 1000}, {"path": "/data/part-1", "bytes": null}],
     "nodes": [
       {"op": "TensorSliceDataset", "parameters": {"components": [{"files": true}], ...}},
       {"op": "FlatMapDataset", "parameters": {"f": {"nodes": [
         {"op": "TFRecordDataset", "parameters": {"compression_type": "GZIP", ...}}]}, ...}},
       {"op": "MapDataset", "parameters": {"f": {"function": "0c7d..."}, ...}},
       {"op": "BatchDatasetV2", "parameters": {"batch_size": 4, ...}}]}

What it cannot see: the Python code behind `numpy_function`, `py_function` and `from_generator`, the
values of variables and tables that a function captures, and what is in the files.
"""

from __future__ import annotations

from monolith_cli.training.pipelines.differences import differences
from monolith_cli.training.pipelines.fingerprint import dataset_fingerprint, fingerprint

__all__ = ["dataset_fingerprint", "differences", "fingerprint"]
