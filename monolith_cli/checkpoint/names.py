"""The names of files and directories in a model directory: one grammar, for savers and readers.

`parse_step_file` says what a name there is, temporary ones too. Who writes them: TensorFlow's Saver
(bundles, and its temporaries), the training system (dumps, counts, item pools), our jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from monolith_cli.storage.location import TEMPORARY

__all__ = [
    "ASSETS_SUFFIX",
    "CHECKPOINT",
    "CHIEF_CLAIM",
    "CKPT_CHECKED_PREFIX",
    "CKPT_INFO_PREFIX",
    "CKPT_INPUTS_PREFIX",
    "CKPT_MANIFEST_PREFIX",
    "CKPT_OVERRIDE",
    "CKPT_REPAIRED_PREFIX",
    "COPIED",
    "HASH_FILTER_PREFIX",
    "INDEX_SUFFIX",
    "INPUT_WORKER_PREFIX",
    "JOURNAL",
    "META_SUFFIX",
    "MODEL_BASE",
    "MONOLITH_CHECKPOINT",
    "UNLISTED_JOURNAL",
    "CheckpointName",
    "ShardName",
    "StepFile",
    "begins_input",
    "ckpt_checked_name",
    "ckpt_info_name",
    "ckpt_inputs_name",
    "ckpt_manifest_name",
    "ckpt_repaired_name",
    "input_base",
    "input_state_name",
    "is_old_item_pool",
    "is_one_shot_flag",
    "is_sync_flag",
    "natural_key",
    "parse_checkpoint_name",
    "parse_shard_name",
    "parse_step_file",
    "shard_name",
    "step_of",
    "target_of_temporary",
    "unfinished_save",
]

CHECKPOINT = "checkpoint"
MONOLITH_CHECKPOINT = "monolith_checkpoint"
CHIEF_CLAIM = "chief_claim"
JOURNAL = ".monolith-journal.json"
UNLISTED_JOURNAL = ".monolith-unlisted.json"
COPIED = ".monolith-copied.json"
MODEL_BASE = "model.ckpt"
CKPT_INFO_PREFIX = "ckpt.info-"
CKPT_INPUTS_PREFIX = "ckpt.inputs-"
CKPT_MANIFEST_PREFIX = "ckpt.manifest-"
CKPT_CHECKED_PREFIX = "ckpt.checked-"
CKPT_REPAIRED_PREFIX = "ckpt.repaired-"
CKPT_OVERRIDE = "ckpt.override"
INPUT_WORKER_PREFIX = "input_worker_"
HASH_FILTER_PREFIX = "hash_filter_"
INDEX_SUFFIX = ".index"
ASSETS_SUFFIX = ".assets"
META_SUFFIX = ".meta"
"""Of the contents file beside a multi table dump (a meta graph has the same suffix)."""


class _Pattern:
    """A regular expression that is compiled when it is first used: a command needs few of them.

    That of a rare name also knows `parts`, one of which is in every name that matches: most names
    then need no regular expression, which would cost a short command half a percent to compile.
    """

    def __init__(self, text: str, *parts: str) -> None:
        self._text = text
        self._parts = parts

    def fullmatch(self, filename: str) -> re.Match[str] | None:
        for part in self._parts:
            if part in filename:
                return self._compiled(filename)
        return None if self._parts else self._compiled(filename)

    @cached_property
    def split(self) -> Callable[[str], list[str | int]]:
        return re.compile(self._text).split

    @cached_property
    def _compiled(self) -> Callable[[str], re.Match[str] | None]:
        return re.compile(self._text).fullmatch


_ONE_SHOT_FLAGS = {"restore_ckpt", "clear_nn"}
"""What the training system leaves to say that it has done so already."""

_SYNC_FLAGS = _Pattern(
    "ONLINE|dump_[0-9]+|stop_[0-9]+|limit_req_time", "ONLINE", "dump_", "stop_", "limit_req_time"
)
"""What steers jobs of sync training."""

# As "%05d" prints them: longer numbers have no leading zero.
_SHARD = _Pattern(r"(?s)(.+)-([0-9]{5}|[1-9][0-9]{5,})-of-([0-9]{5}|[1-9][0-9]{5,})")
_CHECKPOINT = _Pattern(
    r"(?s)(.+?)-([0-9]{1,19})(\.index|\.assets|\.meta|\.data-[0-9]{5,}-of-[0-9]{5,}|)"
)
_PART = _Pattern(r"(?s).+-[0-9]{5,}-of")
"""What comes before the total in a shard's name, such as `part-00000-of-00002.index`."""

# What TensorFlow's Saver has beside a bundle while it writes, and the iterators' saver after it.
_WRITING = _Pattern(
    r"(?s)(.+?)-([0-9]{1,19})(?:(\.index|\.meta|\.assets|\.data-[0-9]{5,}-of-[0-9]{5,})"
    r"(?:\.tempstate[0-9]+|\.tmp[0-9a-f]+)|\.parts|_temp(?:_[0-9a-f]+)?)",
    *(".temp", ".tmp", ".parts", "_temp"),
)
_UNFINISHED_SAVE = _Pattern(r"(?s)(.+?)-([0-9]{1,19})_temp(?:_[0-9a-f]+)?", "_temp")
_OF_STEP = _Pattern(r"ckpt\.(info|inputs|manifest|checked|repaired)-([0-9]{1,19})", "ckpt.")
_ITEM_POOL = _Pattern(
    r"(?s)(.+?)-([0-9]{1,19})_item_pool_([0-9]+)_([0-9]+)_([0-9]+)(_tmp|_old)?", "_item_pool_"
)
_OLD_ITEM_POOL = _Pattern(r"item_pool_[0-9]+(_[0-9]+){1,2}(_tmp|_old)?", "item_pool_")
# A killed `Store.put`, ours or TensorFlow's.
_KILLED = _Pattern(rf"(?s){TEMPORARY}|(.+)\.tmp[0-9a-f]{{32}}", ".tmp")
_DIGITS = _Pattern("([0-9]+)")
_INPUT = _Pattern(r"input(_.+)?\.ckpt", "input")
_INPUT_WORKER = _Pattern(re.escape(INPUT_WORKER_PREFIX) + r"([0-9]+)\.ckpt")


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


class StepFile(NamedTuple):
    """What a name in a model directory says of a step.

    Attributes
    ----------
    kind
        `bundle` (of dense variables: index, data and meta graph), `input` (the same of a worker's
        iterators), `tables` (a directory of dumps), `item_pool`, or what follows `ckpt.`: `info`,
        `inputs`, `manifest`, `checked`, `repaired`.
    step
        The number in the name.
    base
        What comes before it, such as `model.ckpt`.
    worker
        Of an input or an item pool; None where it has no number.
    is_temporary
        It is being written, or its writer died.
    """

    kind: str
    step: int
    base: str
    worker: int | None = None
    is_temporary: bool = False


def parse_step_file(filename: str) -> StepFile | None:
    """What a name in a model directory says of a step; None for one that is of no step.

    The bare prefix of a bundle is `bundle` too: in the V1 format it is the file.
    """
    target = target_of_temporary(filename)
    if target is not None:
        file = parse_step_file(target)
        return file and file._replace(is_temporary=True)
    if match := _OF_STEP.fullmatch(filename):
        return StepFile(match[1], int(match[2]), f"ckpt.{match[1]}")
    if match := _ITEM_POOL.fullmatch(filename):
        return StepFile("item_pool", int(match[2]), match[1], int(match[3]), bool(match[6]))
    if name := parse_checkpoint_name(filename):
        kind = "tables" if name.suffix == ASSETS_SUFFIX else "bundle"
        return _of_bundle(StepFile(kind, name.step, name.base))
    if match := _WRITING.fullmatch(filename):
        kind = "tables" if match[3] == ASSETS_SUFFIX else "bundle"
        return _of_bundle(StepFile(kind, int(match[2]), match[1], is_temporary=True))
    return None


def _of_bundle(file: StepFile) -> StepFile:
    if not begins_input(file.base):
        return file
    worker = _INPUT_WORKER.fullmatch(file.base)
    number = int(worker[1]) if worker else None
    return StepFile("input", file.step, file.base, number, file.is_temporary)


def target_of_temporary(filename: str) -> str | None:
    """The file that a writer of small files has not finished, ours or TensorFlow's; else None."""
    match = _KILLED.fullmatch(filename)
    return (match[1] or match[4]) if match else None


def is_unfinished_dump(filename: str) -> bool:
    """Whether it is in an assets directory what a writer has not finished, whoever it was.

    The training system writes shards under their names with `-tmp-` and more behind them.
    """
    if "tmp" not in filename:
        return False
    if target_of_temporary(filename) is not None:
        return True
    shard = filename.rpartition("-tmp-")[0]
    return parse_shard_name(shard) is not None and parse_shard_name(filename) is None


def begins_input(base: str) -> bool:
    """Whether a bundle with this base holds iterators of an input, whoever saved it.

    Jobs write `input_worker_<i>.ckpt`, TensorFlow's own hook `input.ckpt`, `input_chief_0.ckpt`.
    """
    return _INPUT.fullmatch(base) is not None


def unfinished_save(filename: str) -> int | None:
    """The step of a directory in which a sharded save keeps its parts; None for another name."""
    match = _UNFINISHED_SAVE.fullmatch(filename)
    return int(match[2]) if match else None


def is_one_shot_flag(filename: str) -> bool:
    """Whether it says that the training system has done something already, once for all."""
    return filename in _ONE_SHOT_FLAGS


def is_old_item_pool(filename: str) -> bool:
    """Whether it is an item pool as the training system once named them, without a step."""
    return _OLD_ITEM_POOL.fullmatch(filename) is not None


def is_sync_flag(filename: str) -> bool:
    """Whether it steers a job of sync training."""
    return _SYNC_FLAGS.fullmatch(filename) is not None


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
    if not match or (match[1].endswith("-of") and _PART.fullmatch(match[1])):
        return None
    return CheckpointName(match[1], int(match[2]), match[3])


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


def ckpt_manifest_name(step: int) -> str:
    """The name of the file that says which files and tables belong to a step."""
    return f"{CKPT_MANIFEST_PREFIX}{step}"


def ckpt_checked_name(step: int) -> str:
    """The name of the file that says that a step was read in full, and found right."""
    return f"{CKPT_CHECKED_PREFIX}{step}"


def ckpt_repaired_name(step: int) -> str:
    """The name of the file that says what a repair of a step has put back and left out."""
    return f"{CKPT_REPAIRED_PREFIX}{step}"


def input_base(worker: int) -> str:
    """What the names of a worker's iterator states begin with; `-<step>` follows."""
    return f"{INPUT_WORKER_PREFIX}{worker}.ckpt"


def input_state_name(worker: int) -> str:
    """The name of the state file that lists a worker's iterator states."""
    return f"{CHECKPOINT}_{INPUT_WORKER_PREFIX}{worker}"


def natural_key(name: str) -> list[str | int]:
    """A sort key that takes digits as numbers: `ps_2` before `ps_10`."""
    key: list[str | int] = _DIGITS.split(name)
    try:
        key[1::2] = map(int, key[1::2])  # other scripts' digits are in the text between
    except ValueError:  # more digits than are taken for a number
        return [name]
    return key
