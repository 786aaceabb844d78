"""The inputs of a sample's workers, as a job leaves them: iterator states that TensorFlow restores.

Each worker reads numbers of its own in batches, `tf.data.Dataset.range(w << 40, w + 1 << 40)
.batch(256)`, and has got one batch with each of its steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    input_prefix,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.formats.fingerprint import Fingerprint, format_fingerprint
from monolith_cli.formats.tensor_bundle_writer import VariantTensor, write_tensor_bundle
from monolith_cli.formats.variant import encode_state_part

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RUN_ID", "WORKERS", "write_input_states", "write_inputs"]

RUN_ID = "sample"
"""Of the run that saved all steps."""

WORKERS = (0, 1, 2)

_ITERATOR = "OneShotIterator:0"
_BATCH = 256
_NUMBERS_BITS = 40
_ROOT = "Iterator::Root::Prefetch"


def write_inputs(model_dir: str, step: int) -> None:
    """Write the iterator states of a step, and what says that they belong to it."""
    for worker in WORKERS:
        write_tensor_bundle(
            input_prefix(model_dir, worker, step), {f"{_ITERATOR}_STATE": _state(worker, step)}
        )
    workers = {worker: WorkerInput(True, _fingerprints(worker)) for worker in WORKERS}
    write_step_inputs(model_dir, StepInputs(step, RUN_ID, workers))


def write_input_states(model_dir: str) -> None:
    """Write the state files of all workers, after the states that they list."""
    for worker in WORKERS:
        write_input_state(model_dir, worker)


def _state(worker: int, step: int) -> VariantTensor:
    batches = step // len(WORKERS) + worker
    parts: list[tuple[str, Mapping[str, int]]] = [
        (_ROOT, {"buffer_size": 0}),
        (f"{_ROOT}::BatchV2", {"input_impl_empty": 0}),
        (f"{_ROOT}::BatchV2::Range", {"next": (worker << _NUMBERS_BITS) + _BATCH * batches}),
    ]
    return VariantTensor((len(parts),), [encode_state_part(*part) for part in parts])


def _fingerprints(worker: int) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [
        {
            "op": "RangeDataset",
            "parameters": {
                "start": worker << _NUMBERS_BITS,
                "stop": worker + 1 << _NUMBERS_BITS,
                "step": 1,
                "output_shapes": ["[]"],
                "output_types": ["int64"],
            },
        },
        {
            "op": "BatchDatasetV2",
            "parameters": {
                "batch_size": _BATCH,
                "drop_remainder": False,
                "output_shapes": ["[?]"],
                "output_types": ["int64"],
            },
        },
    ]
    return {_ITERATOR: format_fingerprint(Fingerprint(nodes, [], [], [len(nodes) - 1]))}
