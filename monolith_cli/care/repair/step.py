"""The repair of a step: what is undamaged of it, in a new directory that a job can start from.

Bits that the checksums name are put back. Of tables what is damaged is left out, and so are states
of inputs; dense variables cannot lack anything. The new directory appears with its name when all of
it is written and synced. Nothing is written where the step was.
"""

from __future__ import annotations

import json
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.care.along import commit_of
from monolith_cli.care.new_directory import check_new_directory, new_directory
from monolith_cli.care.repair.beside import copy_beside, mend_inputs
from monolith_cli.care.repair.files import Copied, CopyTask, ValuesTask
from monolith_cli.care.repair.tables import mend_tables
from monolith_cli.checkpoint.checkpoint import Checkpoint
from monolith_cli.checkpoint.dense import list_dense
from monolith_cli.checkpoint.manifests import (
    file_crc32c,
    make_manifest,
    read_step_manifest,
    write_step_manifest,
)
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    CHECKPOINT,
    INDEX_SUFFIX,
    META_SUFFIX,
    ckpt_info_name,
    ckpt_repaired_name,
    parse_shard_name,
)
from monolith_cli.errors import (
    CorruptionError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
    UsageError,
)
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state
from monolith_cli.formats.ckpt_info import read_ckpt_info, write_ckpt_info
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES
from monolith_cli.storage.location import (
    HERE,
    absolute,
    as_location,
    join,
    name_of,
    normal,
    split,
)
from monolith_cli.storage.store import local_path, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from monolith_cli.execution.protocols import Task
    from monolith_cli.formats.flips import Flip
    from monolith_cli.formats.manifest import Manifest
    from monolith_cli.storage.location import AnyPath

__all__ = ["LeftOut", "MadeAnew", "PutBack", "Repaired", "StepRepair", "repair_step"]

_DENSE_HINT = "take another step: of dense variables nothing can be left out"


class PutBack(NamedTuple):
    """A bit that was put back: in which file below the model directory, of which dump."""

    file: str
    table: str | None
    flip: Flip

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        flip = self.flip
        return {
            "file": self.file,
            "table": self.table,
            "offset": flip.offset,
            "bit": flip.bit,
            "part": flip.part,
            "field": flip.field or None,
            "old": flip.old if flip.field else None,
            "new": flip.new if flip.field else None,
            "one_in": flip.one_in,
        }


class LeftOut(NamedTuple):
    """What is not in the new directory.

    Attributes
    ----------
    file
        Below the model directory.
    what
        What is wrong with it.
    records
        How many entries were lost with it; None if nobody knows.
    table
        Of whose dump it is; None of others, and of files that tables share.
    worker
        Whose input it is.
    """

    file: str
    what: str
    records: int | None = None
    table: str | None = None
    worker: int | None = None

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "file": self.file,
            "table": self.table,
            "worker": self.worker,
            "entries": self.records,
            "what": self.what,
        }


class MadeAnew(NamedTuple):
    """A damaged file that holds nothing but what others tell: which, and what was wrong with it."""

    file: str
    what: str

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        return {"file": self.file, "what": self.what}


class Repaired(NamedTuple):
    """What a repair has made.

    Attributes
    ----------
    step
        The only one in the new directory.
    path
        Of that directory.
    bits
        Those that were put back.
    left_out
        What was damaged beyond that. The step is whole without any.
    files, bytes
        How many files there are, and how large together.
    anew
        Damaged files that were made anew. Nothing is lost with them.
    """

    step: int
    path: str
    bits: Sequence[PutBack]
    left_out: Sequence[LeftOut]
    files: int
    bytes: int
    anew: Sequence[MadeAnew] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return not self.left_out


def repair_step(
    model_dir: AnyPath,
    target: AnyPath,
    step: int | None = None,
    *,
    max_record_bytes: int = MAX_RECORD_BYTES,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Repaired:
    """Write what is undamaged of a step into a new directory, with flipped bits put back.

    Everything is read once and written once, and what was changed is read again; memory is some
    megabytes for each thread.

    Parameters
    ----------
    target
        The new directory, on this machine. It must not exist.
    step
        The latest by default.
    max_record_bytes
        Longer records are damage.
    jobs, executor
        As of `Workers`.
    progress
        Called with the bytes copied so far, and those to copy.

    Raises
    ------
    UsageError
        `model_dir` is not a job's directory, or the new one would be in it.
    AlreadyExistsError
        There is something at `target`.
    StepNotFoundError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        There is no such step, or it went away meanwhile.
    CorruptionError
        Something is damaged that cannot be left out: a dense variable, the first record of a hash
        filter; or nobody knows which of two sets of files is a table. Nothing is made.
    WriteError
        The store refused to write. Nothing is made.
    """
    location, to = as_location(model_dir), normal(local_path(as_location(target)))
    directory = open_model_dir(location)
    if directory.kind != "training":
        raise UsageError("no job's directory: only its steps can be repaired", path=location)
    check_new_directory(to, location)
    checkpoint = directory.checkpoint(step)
    try:
        with new_directory(to) as stage:
            with Workers(jobs, executor) as workers:
                repair = StepRepair(checkpoint, stage, workers, max_record_bytes, progress)
                repair.write()
            checkpoint.require()
    except PathNotFoundError:
        checkpoint.require()  # which says it better if the step was deleted meanwhile
        raise
    files = repair.written
    size = sum(copied.bytes for copied in files.values())
    return Repaired(repair.step, to, repair.bits, repair.losses, len(files), size, repair.anew)


class StepRepair:
    """The repair of a step while it is made.

    Attributes
    ----------
    step, name
        Of the step, and of its dense variables: `model.ckpt-10`.
    source, stage
        The directory with its files, and the one that is written.
    info_path
        The counts as they were; None where there are none.
    manifest_files
        The names of the shards that the manifest has, where it is of this step.
    bits, losses, anew
        What was put back, what was left out, and what was made anew.
    written
        The files that are complete, by their path in `stage`.
    entries
        By the base name of a dump how many it has.
    shared
        The names of tables in dumps of many that are known so far.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        stage: str,
        workers: Workers,
        max_record_bytes: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if checkpoint.step is None or checkpoint.prefix is None:
            raise UsageError("a checkpoint without a number: only steps can be repaired")
        self.checkpoint = checkpoint
        self.prefix = checkpoint.prefix
        self.step = checkpoint.step
        self.source, self.name = split(checkpoint.prefix)
        self.stage = stage
        self.workers = workers
        self.max_record_bytes = max_record_bytes
        self.bits: list[PutBack] = []
        self.losses: list[LeftOut] = []
        self.anew: list[MadeAnew] = []
        self.written: dict[str, Copied] = {}
        self.entries: dict[str, int] = {}
        self.shared: set[str] = set()
        self.input_workers: list[int] = []
        self.info_path = join(self.source, ckpt_info_name(self.step))
        self.manifest_files: list[str] = []
        self._progress = progress
        self._done = self._total = 0

    # What those who write parts of it tell and ask.

    def run(self, tasks: Sequence[Task[Any]]) -> Iterator[Any]:
        """The results of tasks that copy files, in order."""
        with closing(self.workers.in_order(tasks)) as done:
            for _, result in done:
                yield result

    def target_of(self, name: str) -> str:
        """Where a file of that name below the model directory is written."""
        return join(self.stage, name)

    def source_of(self, target: str) -> str:
        """Where what is written there comes from."""
        return join(self.source, self._name(target))

    def copied(self, target: str, copied: Copied) -> None:
        """Keep that a file is complete."""
        self.written[target] = copied
        self._done += copied.bytes
        if self._progress:
            self._progress(self._done, max(self._total, self._done))

    def rewritten(self, *targets: str) -> None:
        """Keep that files were written anew; reads them."""
        for target in targets:
            self.written[target] = Copied(*file_crc32c(target))

    def put_back(self, source: str, flips: Sequence[Flip], table: str | None = None) -> None:
        """Keep which bits of a file were put back."""
        name = source[len(self.source) :].lstrip("/") if self.source else source
        self.bits += [PutBack(name, table, flip) for flip in flips]

    def left_out(
        self,
        target: str,
        what: str,
        records: int | None = None,
        *,
        table: str | None = None,
        worker: int | None = None,
    ) -> None:
        """Keep what is not in the file that is written there."""
        self.losses.append(LeftOut(self._name(target), what, records, table, worker))

    def _name(self, target: str) -> str:
        return target[len(self.stage) + 1 :]

    # The way.

    def write(self) -> None:
        """Write the step into `stage`. Raises as `repair_step`."""
        manifest = self._manifest()
        self._dense()
        if self.checkpoint.assets:
            listing = self.checkpoint.table_files()
            assets = self.target_of(self.name + ASSETS_SUFFIX)
            store_of(assets).make_directory(assets)
            self._total = self._done + sum(
                store_of(path).status(path).size
                for path in [
                    *(path for shards in listing.sets() for path in shards.paths),
                    *(path for broken in listing.broken for path in broken.paths),
                ]
            )
            mend_tables(self, listing, assets)
            self._hold_against(manifest)
        mend_inputs(self)
        copy_beside(self)
        self._counts()
        self._records(manifest)
        self._state()

    def _manifest(self) -> Manifest | None:
        """The manifest of this very save."""
        with suppress(MonolithError):
            manifest = read_step_manifest(self.source, self.step)
            index = file_crc32c(self.prefix + INDEX_SUFFIX)
            if manifest and index == (manifest.index_bytes, manifest.index_crc32c):
                assets = f"{self.name}{ASSETS_SUFFIX}/"
                self.manifest_files = [
                    file.name.removeprefix(assets)
                    for file in manifest.files
                    if file.name.startswith(assets)
                ]
                return manifest
        return None

    def _dense(self) -> None:
        """Copy the dense variables, all of which are verified."""
        problems = list_dense(self.checkpoint).problems
        for problem in problems:
            problem.hint = _DENSE_HINT
            raise problem
        try:
            bundle = TensorBundle(self.prefix)
            for _ in self.run([ValuesTask(bundle, shard) for shard in range(bundle.shards)]):
                pass
        except CorruptionError as error:
            error.hint = _DENSE_HINT
            raise
        store = store_of(self.prefix)
        paths = [bundle.data_path(shard) for shard in range(bundle.shards)]
        # A data file in which nothing lies may be missing; a meta graph often is.
        paths = [path for path in [*paths, self.prefix + META_SUFFIX] if store.is_file(path)]
        self.copy([*paths, self.prefix + INDEX_SUFFIX])

    def copy(self, paths: Sequence[str]) -> None:
        """Copy files of the model directory as they are."""
        tasks = [CopyTask(path, self.target_of(name_of(path))) for path in paths]
        for task, copied in zip(tasks, self.run(tasks), strict=True):
            self.copied(task.target, copied)

    def _hold_against(self, manifest: Manifest | None) -> None:
        """Note entries that the manifest has and that are not there, where nothing tells it yet."""
        promised = {table.name: table.entries for table in manifest.tables} if manifest else {}
        for base, kept in self.entries.items():
            entries = promised.get(base)
            if entries is None:
                continue
            shards = f"{self.name}{ASSETS_SUFFIX}/{base}-"
            ours = [i for i, each in enumerate(self.losses) if each.file.startswith(shards)]
            known = sum(self.losses[i].records or 0 for i in ours)
            unknown = [i for i in ours if self.losses[i].records is None]
            missing = entries - kept - known
            if missing <= 0:
                continue
            if len(unknown) == 1:
                self.losses[unknown[0]] = self.losses[unknown[0]]._replace(records=missing)
            elif not unknown and manifest is not None:
                self.losses += self._cut(manifest, base, missing)

    def _cut(self, manifest: Manifest, base: str, missing: int) -> list[LeftOut]:
        """The files of a dump that end between two records, before their end in the manifest."""
        there = {each.file for each in self.losses}
        cut = []
        for file in manifest.files:
            shard = parse_shard_name(name_of(file.name))
            copied = self.written.get(self.target_of(file.name))
            if shard is None or shard.base != base or copied is None or file.name in there:
                continue
            if copied.bytes < file.size_bytes:
                which = f"{copied.bytes:,}" if copied.bytes else "empty, 0"
                cut.append(
                    (file.name, f"{which} of {file.size_bytes:,} bytes that the manifest has")
                )
        if len(cut) == 1:
            return [LeftOut(*cut[0], missing, base)]
        what = f"{missing:,} entries fewer in all files of the table than the manifest has"
        if not cut:
            return [LeftOut(f"{self.name}{ASSETS_SUFFIX}/{base}-*", what, missing, base)]
        return [LeftOut(file, f"{text}; {what}", None, base) for file, text in cut]

    def _counts(self) -> None:
        """The counts file: as it was, unless entries were left out, or it cannot be read."""
        target = self.target_of(ckpt_info_name(self.step))
        try:
            read_ckpt_info(self.info_path)
        except PathNotFoundError:
            return
        except StateFileError as error:
            self.anew.append(MadeAnew(self._name(target), error.what))
            is_good = False
        else:
            is_good = not any(each.worker is None for each in self.losses)
        if is_good:
            self.copy([self.info_path])
            return
        from monolith_cli.tables.counts import CountOptions, count_checkpoint

        prefix = self.target_of(self.name)
        assets = [prefix + ASSETS_SUFFIX] if self.checkpoint.assets else []
        written = Checkpoint(
            step=self.step, prefix=prefix, assets=assets, has_index=True, has_manifest=False
        )
        options = CountOptions(max_record_bytes=self.max_record_bytes, jobs=self.workers.jobs)
        write_ckpt_info(target, count_checkpoint(written, options).ckpt_info())
        self.rewritten(target)

    def _records(self, manifest: Manifest | None) -> None:
        """The manifest, and what was put back and left out."""
        base = self.name.rpartition("-")[0]
        run_id = manifest.run_id if manifest else ""
        made = make_manifest(
            self.stage, base, self.step, run_id, workers=self.input_workers, entries=self.entries
        )
        files = []
        for file in made.files:
            copied = self.written.get(self.target_of(file.name))
            files.append(file._replace(crc32c=copied.crc32c if copied else None))
        write_step_manifest(self.stage, made._replace(files=tuple(files)))
        document: dict[str, object] = {
            "version": 1,
            "step": self.step,
            "from": absolute(self.source or HERE),
            "at": time.time(),
            "bits": [bit.as_json() for bit in self.bits],
            "left_out": [each.as_json() for each in self.losses],
            "made_anew": [each.as_json() for each in self.anew],
        }
        earlier = join(self.source, ckpt_repaired_name(self.step))
        with suppress(MonolithError, ValueError, RecursionError):
            document["before"] = json.loads(store_of(earlier).read(earlier))
        target = self.target_of(ckpt_repaired_name(self.step))
        store_of(target).put(target, (json.dumps(document) + "\n").encode())

    def _state(self) -> None:
        """`checkpoint`, last: the step, and when it was committed."""
        commit = commit_of(self.prefix, self.step)
        state = CheckpointState(self.name, (self.name,), (commit.at,), commit.preserved_at)
        path = self.target_of(CHECKPOINT)
        text = format_checkpoint_state(state)
        store_of(path).put(path, text.encode("utf-8", "surrogateescape"))
