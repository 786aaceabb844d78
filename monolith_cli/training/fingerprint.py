"""What an input pipeline is, to be saved beside its position, and compared when that is restored.

TensorFlow restores a position into a changed pipeline without a word, at a wrong place. A
fingerprint tells the pipeline's nodes with their parameters, and its files with their sizes.

It is the same for each process that runs the same code, wherever in the graph the pipeline is
made; it is JSON, a dictionary by iterator of::

    {"version": 1,
     "digest": "75d0b3a4e1c55f0e",
     "files": [{"path": "/data/part-0", "bytes": 1000}, {"path": "/data/part-1", "bytes": null}],
     "nodes": [
       {"op": "TensorSliceDataset", "parameters": {"components": [{"files": true}], ...}},
       {"op": "FlatMapDataset", "parameters": {"f": {"nodes": [
         {"op": "TFRecordDataset", "parameters": {"compression_type": "GZIP", ...}}]}, ...}},
       {"op": "MapDataset", "parameters": {"f": {"function": "0c7d..."}, ...}},
       {"op": "BatchDatasetV2", "parameters": {"batch_size": 4, ...}}]}

What it can't see: the Python code behind `numpy_function`, `py_function` and `from_generator`, the
values of variables and tables that a function captures, and the content of files beyond their size.
"""

from __future__ import annotations

from monolith_cli.training.pipelines.differences import differences
from monolith_cli.training.pipelines.fingerprint import dataset_fingerprint, fingerprint

__all__ = ["dataset_fingerprint", "differences", "fingerprint"]
