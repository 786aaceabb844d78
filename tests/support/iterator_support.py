"""Iterator states without TensorFlow, for tests of what becomes of their files."""

from __future__ import annotations

import struct
from pathlib import Path

from monolith_cli._native import crc32c
from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.formats import wire
from monolith_cli.formats.dtypes import dtype_number, format_shape
from monolith_cli.formats.leveldb_table import format_table


def mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF


Parts = dict[str, dict[str, "int | bytes | list[bytes]"]]
"""The parts of an iterator's state by their names, each with its values by key."""


def write_states(prefix: Path, **iterators: int) -> None:
    """A bundle with a state an iterator: a range that stands at that number."""
    write_parts(
        prefix, **{name: {"Range": {"next": position}} for name, position in iterators.items()}
    )


def write_parts(prefix: Path, **iterators: Parts) -> None:
    """A bundle with a state an iterator, made of these parts; names go without `Iterator::Root`."""
    header = wire.varint_field(1, 1) + wire.bytes_field(3, wire.varint_field(1, 1))
    entries, data = [(b"", header)], b""
    for name, parts in sorted(iterators.items()):
        crc, content, stored = 0, b"", b""
        for part, values in parts.items():
            metadata = "@@".join([f"Iterator::Root::{part}", *values])
            element = wire.bytes_field(1, b"tensorflow::Iterator")
            element += wire.bytes_field(2, metadata.encode())
            for value in values.values():
                element += wire.bytes_field(3, _tensor(value))
            crc = crc32c(element, crc32c(struct.pack("<Q", len(element)), crc))
            stored = struct.pack("<I", mask(crc))
            content += wire.encode_varint(len(element)) + element + stored
            crc = crc32c(stored, crc)
        entry = (
            wire.varint_field(1, dtype_number("variant"))
            + wire.bytes_field(2, format_shape((len(parts),)))
            + wire.varint_field(4, len(data))
            + wire.varint_field(5, len(content))
            + wire.fixed32_field(6, mask(crc))
        )
        entries.append((f"{name}:0_STATE".encode(), entry))
        data += content
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    Path(f"{prefix}.index").write_bytes(format_table(entries))


def _tensor(value: int | bytes | list[bytes]) -> bytes:
    """A TensorProto: a scalar, or a vector of strings."""
    if isinstance(value, int):
        return wire.varint_field(1, 9) + wire.bytes_field(2, b"") + wire.varint_field(10, value)
    strings = value if isinstance(value, list) else [value]
    shape = format_shape((len(strings),) if isinstance(value, list) else ())
    tensor = wire.varint_field(1, 7) + wire.bytes_field(2, shape)
    return tensor + b"".join(wire.bytes_field(8, text) for text in strings)


def commit(directory: Path, *steps: int) -> None:
    """Steps of a model that has no variables, the last one the latest."""
    directory.mkdir(exist_ok=True)
    lines = [f'all_model_checkpoint_paths: "model.ckpt-{step}"\n' for step in steps]
    for step in steps:
        for suffix in (".data-00000-of-00001", ".index"):
            (directory / f"model.ckpt-{step}{suffix}").touch()
    lines.append(f'model_checkpoint_path: "model.ckpt-{steps[-1]}"\n')
    (directory / "checkpoint").write_text("".join(lines))


def write_job(directory: Path, workers: dict[int, list[int]], *steps: int) -> Path:
    """The directory of a job: workers with the steps of their states, and committed steps."""
    commit(directory, *steps)
    for worker, saved in workers.items():
        for step in saved:
            write_states(directory / f"input_worker_{worker}.ckpt-{step}", IteratorV2=step)
        if saved:
            write_input_state(str(directory), worker)
    return directory


def write_inputs(
    directory: Path, step: int, finished: list[int], late: tuple[int, ...] = ()
) -> None:
    """`ckpt.inputs` of a step; all of these workers have iterators."""
    print_ = {"IteratorV2:0": {"version": 1, "digest": "0" * 16, "files": None, "nodes": []}}
    workers = {worker: WorkerInput(True, print_) for worker in finished}
    workers |= {worker: WorkerInput(False, print_) for worker in late}
    write_step_inputs(str(directory), StepInputs(step, "run", workers))
