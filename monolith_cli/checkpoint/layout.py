"""The names of files and directories in a model directory."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "ASSETS_SUFFIX",
    "CHECKPOINT",
    "CKPT_INFO_PREFIX",
    "CKPT_INPUTS_PREFIX",
    "CKPT_OVERRIDE",
    "HASH_FILTER_PREFIX",
    "INDEX_SUFFIX",
    "INPUT_WORKER_PREFIX",
    "META_SUFFIX",
    "MODEL_BASE",
    "MONOLITH_CHECKPOINT",
    "CheckpointName",
    "ShardName",
    "ckpt_info_name",
    "ckpt_inputs_name",
    "input_base",
    "input_state_name",
    "natural_key",
    "parse_checkpoint_name",
    "parse_shard_name",
    "shard_name",
    "step_of",
]

CHECKPOINT = "checkpoint"
MONOLITH_CHECKPOINT = "monolith_checkpoint"
MODEL_BASE = "model.ckpt"
CKPT_INFO_PREFIX = "ckpt.info-"
CKPT_INPUTS_PREFIX = "ckpt.inputs-"
CKPT_OVERRIDE = "ckpt.override"
INPUT_WORKER_PREFIX = "input_worker_"
HASH_FILTER_PREFIX = "hash_filter_"
INDEX_SUFFIX = ".index"
ASSETS_SUFFIX = ".assets"
META_SUFFIX = ".meta"
"""Of the table of contents beside a multi table dump (a meta graph has the same suffix)."""

# As "%05d" prints them: longer numbers have no leading zero.
_SHARD = re.compile(r"(?s)(.+)-([0-9]{5}|[1-9][0-9]{5,})-of-([0-9]{5}|[1-9][0-9]{5,})")
_CHECKPOINT = re.compile(
    r"(?s)(.+?)-([0-9]{1,19})(\.index|\.assets|\.meta|\.data-[0-9]{5,}-of-[0-9]{5,}|)"
)


class ShardName(NamedTuple):
    """`<base>-<number>-of-<total>`, such as `t-00000-of-00004`."""

    base: str
    number: int
    total: int


class CheckpointName(NamedTuple):
    """`<base>-<step><suffix>`, such as `model.ckpt-100.index`."""

    base: str
    step: int
    suffix: str


def parse_shard_name(filename: str) -> ShardName | None:
    """The parts of a shard's file name; None for any other name."""
    match = _SHARD.fullmatch(filename)
    return ShardName(match[1], int(match[2]), int(match[3])) if match else None


def shard_name(base: str, number: int, total: int) -> str:
    """The file name of shard `number` (from 0) of `total`."""
    return f"{base}-{number:05d}-of-{total:05d}"


def parse_checkpoint_name(filename: str) -> CheckpointName | None:
    """The parts of the name of a checkpoint or of one of its files; None for any other name."""
    match = _CHECKPOINT.fullmatch(filename)
    return CheckpointName(match[1], int(match[2]), match[3]) if match else None


def step_of(filename: str) -> int | None:
    """The step in the name of a checkpoint or of one of its files; None where there is none."""
    name = parse_checkpoint_name(filename)
    return name.step if name else None


def ckpt_info_name(step: int) -> str:
    """The name of the file with the counts of a step."""
    return f"{CKPT_INFO_PREFIX}{step}"


def ckpt_inputs_name(step: int) -> str:
    """The name of the file that says whose input states belong to a step."""
    return f"{CKPT_INPUTS_PREFIX}{step}"


def input_base(worker: int) -> str:
    """What the names of a worker's iterator states begin with; `-<step>` follows."""
    return f"{INPUT_WORKER_PREFIX}{worker}.ckpt"


def input_state_name(worker: int) -> str:
    """The name of the state file that lists a worker's iterator states."""
    return f"{CHECKPOINT}_{INPUT_WORKER_PREFIX}{worker}"


def natural_key(name: str) -> list[str | int]:
    """A sort key that takes digits as numbers: `ps_2` before `ps_10`."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", name)]
