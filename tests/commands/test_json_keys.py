"""The keys of what commands print as JSON are those that are declared, both ways.

Every command is run on samples of all kinds, also damaged, empty, of many tables, of an export.
What it prints is compared with `monolith_cli/reports/keys`: no key that is not declared, none that
is declared and never seen, values of the declared type, null only where that is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Done, call
from dump_support import (
    put_fixed64,
    put_floats,
    random_entries,
    shard_path,
    write_checkpoint_state,
    write_model_dir,
    write_multi_table,
    write_plain,
    write_single_table,
)
from dying_store import DyingStore
from fake_jobs import OriginalJob, OurJob, serving
from iterator_support import Parts, commit, write_job, write_parts, write_states
from prune_support import exempt, list_steps, make_old, save_job
from repair_support import write_damaged
from rollback_support import write_rolled
from step_support import save_steps

from monolith_cli.care.fsck import CheckOptions, check
from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.cli import COMMANDS
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle
from monolith_cli.formats.tfrecord import RecordWriter
from monolith_cli.reports.keys import OUTPUTS, Key, Output, paths
from monolith_cli.reports.keys.declare import LINES, MAP

Case = tuple[str, int, list[object]]
"""A command, which of its outputs is looked at, and the arguments."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


# --- samples --------------------------------------------------------------------------------


def write_checkpoints(root: Path) -> Iterator[Path]:
    """Model directories of all kinds."""
    plain = root / "plain"
    write_model_dir(plain, 300, hash_filters=2)
    write_model_dir(plain, 400)
    write_checkpoint_state(plain, [300, 400])
    write_tensor_bundle(plain / "model.ckpt-400", {"kernel": np.zeros((1, 2)), "bias": np.zeros(3)})
    yield plain
    damaged = shutil.copytree(plain, root / "damaged")
    path = shard_path(damaged / "model.ckpt-400.assets", "MonolithHashTable_a", 0, 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)
    yield damaged
    lacking = shutil.copytree(plain, root / "lacking")
    shard_path(lacking / "model.ckpt-400.assets", "MonolithHashTable_a", 1, 2).unlink()
    Path(lacking, "model.ckpt-400.data-00000-of-00001").unlink()
    yield lacking
    multi = root / "multi"
    tables = {"user": random_entries(3, 40), "item": random_entries(4, 20)}
    write_model_dir(multi, 30, multis={"emb_0": tables}, hash_filters=1)
    (multi / "ckpt.info-30").write_text(
        'slot_counts { key: 7 value: 3 }\nfeature_counts { key: "user" value: 41 }\n'
        'feature_counts { key: "gone" value: 2 }\n'
    )
    yield multi
    yield multi / "model.ckpt-30.assets"
    odd = root / "odd"
    mixed = [put_fixed64(1, 5) + b"".join(put_floats(3, [float("nan"), 0.25]))]
    nan = put_fixed64(1, 5) + b"".join(put_floats(2, [float("nan")]))
    singles = {"odd": [*mixed, *random_entries(6, 5)], "nan": [nan], "none": []}
    write_model_dir(odd, 7, singles=singles)
    (odd / "ckpt.info-7").write_text("slot_counts { key: 7 value: 3 }\n")
    yield odd
    bare = root / "bare"
    write_single_table(bare, "table_a", random_entries(8, 5))
    yield bare
    export = root / "export"
    for graph in ("ps_0", "entry"):
        (export / graph / "100" / "variables").mkdir(parents=True)
        write_tensor_bundle(export / graph / "100" / "variables" / "variables", {"v": np.zeros(3)})
    assets = export / "ps_0" / "100" / "assets"
    assets.mkdir()
    write_plain(assets / "table_ps_0-00000-of-00001", random_entries(9, 5))
    yield export
    (root / "empty").mkdir()
    yield root / "empty"


def write_input(root: Path) -> Path:
    """A job with a worker in the second of three files, and one whose state is damaged."""
    paths = [str(root / f"part-{number}") for number in range(3)]
    for path in paths:
        with RecordWriter(path) as writer:
            for _ in range(5):
                writer.write(b"1234")
    with open(paths[1], "ab") as file:
        file.write(b"1234567")
    model = write_job(root / "inputs", {0: [10, 20], 1: [10, 20], 2: [10], 3: [20]}, 10, 20)
    (model / "input_worker_3.ckpt-20.index").write_bytes(b"")
    flat_map, element = "Prefetch::BatchV2::FlatMap", [b"1234"] * 3
    parts = {
        "Prefetch": {"buffer_size": 1},
        "Prefetch::0": {"status.code": 0, "buffer.size": 1, "buffer[0]": element},
        "Prefetch::BatchV2": {"input_impl_empty": 0},
        flat_map: {"element_index": 2, "exhausted": 0, "inputs[0]": paths[1].encode()},
        f"{flat_map}::TensorSlice": {":index": 2},
        f"{flat_map}[1]::TFRecord": {"current_file_index": 0, "offset": 60},
    }
    hidden = {"FancyV7": {"gears": 3, "colour": b"red"}, "FancyV7::Range": {"next": 5}}
    write_parts(model / "input_worker_1.ckpt-20", IteratorV2=parts, Other=hidden)
    read = {"nodes": [{"op": "TFRecordDataset", "parameters": {"compression_type": ""}}]}
    nodes = [
        {"op": "TensorSliceDataset", "parameters": {"components": [{"files": True}]}},
        {"op": "FlatMapDataset", "parameters": {"f": read}},
        {"op": "BatchDatasetV2", "parameters": {"batch_size": 3, "drop_remainder": False}},
    ]
    files = [{"path": path, "bytes": os.path.getsize(path)} for path in paths]
    print_ = {"version": 1, "digest": "75d0b3a4e1c55f0e", "files": files, "nodes": nodes}
    inputs = {1: WorkerInput(True, {"IteratorV2:0": print_})}
    write_step_inputs(str(model), StepInputs(20, "run", inputs))
    write_states(model / "input_chief_0.ckpt-20", IteratorV2=20)
    return model


def write_other_states(root: Path) -> Iterator[Path]:
    """States that are no workers': in an epoch, of a file that is cut, of one without a name."""
    repeated = "Prefetch::MapAndBatch::FiniteRepeat"
    reader = f"{repeated}[1]::FlatMap"
    parts: Parts = {
        "Prefetch": {"buffer_size": 1},
        "Prefetch::0": {"status.code": 0, "buffer.size": 1, "buffer[0]": [b"a", b"b"]},
        "Prefetch::MapAndBatch": {"batch_results_size": 1, "batch_results_0_num_elements": 3},
        repeated: {"i": 1, "input_impl_empty": 0},
        reader: {"element_index": 2, "exhausted": 0},
        f"{reader}[1]::TFRecord": {"current_file_index": 0, "offset": 20},
    }
    write_parts(root / "nameless", It=parts)
    yield root / "nameless"
    stream = root / "stream"
    stream.write_bytes(zlib.compress((root / "part-0").read_bytes())[:-5])
    parts[reader] = {"element_index": 1, "exhausted": 0, "inputs[0]": str(stream).encode()}
    write_parts(root / "compressed", It=parts)
    yield root / "compressed"
    plain: Parts = {"TFRecord": {"current_file_index": 0, "offset": 20}}
    write_parts(root / "only", It=plain)
    yield root / "only"


# --- what is run ----------------------------------------------------------------------------


def checkpoint_cases(root: Path) -> Iterator[Case]:
    for model in write_checkpoints(root):
        for options in (
            ["--dry-run", "--step", "all"],
            ["--check", "--step", "all"],
            ["--check", "--scan"],
            ["--scan", "--on-corrupt", "skip", "--dry-run"],
            ["--slot", "0-9"],
            ["--force"],
        ):
            yield "ckpt-info", 0, [*options, model]
        yield "ckpt ls", 0, [model]
        yield "ckpt latest", 0, [model]
        yield "ckpt latest", 0, ["--complete", model]
        yield "ckpt fsck", 0, ["--step", "all", model]
        yield "ckpt fsck", 0, ["--quick", model]
        yield "ckpt show", 0, [model]
        yield "ckpt show", 0, ["--step", "all", model]
        yield "table ls", 0, [model]
        yield "table ls", 0, ["--scan", "--on-corrupt", "skip", model]
        yield "table ls", 1, ["--step", "all", model]
        yield "table dump", 0, [model]
        yield "table dump", 0, ["--columns", "slot,fid", "--on-corrupt", "skip", model]
        yield "table dump", 1, ["--limit", 2, "--columns", "slot", "--cursor", model]
        yield "table dump", 1, ["--columns", "slot", "--cursor", model]
        yield "table get", 0, [model, 5]
        yield "table get", 1, [model, 1, 2]
        yield "table stats", 0, [model]
        yield "table stats", 0, ["--examples", 2, "--on-corrupt", "skip", model]
        yield "table stats", 0, ["--by", "slot", "--step", "all", model]
        yield "table stats", 0, ["--duplicates", "--fail-if", "entries ge 0", model]
        yield "table export", 0, ["-o", root / f"{model.name} exported", model]
    yield "ckpt metrics", 0, [root / "gone"]
    data = root / "plain" / "model.ckpt-400.data-00000-of-00001"
    data.write_bytes(bytes(8) + data.read_bytes()[8:-1] + b"\1")
    yield "ckpt fsck", 0, [root / "plain"]
    yield "ckpt report", 0, [root / "gone"]
    yield "sample", 0, [root / "new", "--entries", 500]
    yield "sample", 0, [root / "new"]
    yield "sample", 0, [root / "drifting", "--steps", 2, "--drift", "--entries", 500]
    yield "sample", 0, [root / "flipped", "--flip-bit", "--entries", 500]


def repair_cases(root: Path) -> Iterator[Case]:
    model = write_damaged(root / "to repair")
    yield "ckpt repair", 0, ["--to", root / "repaired", model]
    yield "ckpt repair", 0, ["--to", root / "repaired again", root / "repaired"]


def copy_cases(root: Path) -> Iterator[Case]:
    model = save_steps(root / "to copy", 1, 2, 3, manifest=True)
    (model / "model.ckpt-1.assets" / "user_0-00000-of-00002").unlink()
    target = root / "copied"
    yield "ckpt cp", 0, ["--all", model, target]
    (target / "ckpt.manifest-2").unlink()
    (target / "model.ckpt-3.data-00000-of-00001").write_bytes(b"")
    yield "ckpt cp", 0, ["--all", "--verify-only", model, target]
    for path in model.glob("model.ckpt-*.assets/user_0-00000-of-00002"):
        path.unlink()
    yield "ckpt cp", 0, ["--all", "--dry-run", model, root / "not copied"]


def rewrite_cases(root: Path) -> Iterator[Case]:
    model = save_steps(root / "to rewrite", 1, multis={"M": {"t": 3, "u": 2}})
    yield "table rewrite", 0, ["--expire", 9, "--drop-table", "t", model, root / "fresh"]
    yield "table rewrite", 0, ["--shards", 3, "-n", model, root / "none"]


def step_cases(root: Path) -> Iterator[Case]:
    model = save_steps(root / "saved steps", 1, 2, 3, multis={"M": {"t": 3}})
    save_steps(model / "dense_only", 1, tables=())
    (model / "model.ckpt-2.data-00000-of-00001").unlink()
    (model / "model.ckpt-4_temp").mkdir()
    check(model, 3, CheckOptions(record=True))
    yield "ckpt ls", 0, [model]
    yield "ckpt fsck", 0, ["--step", 3, "--max-age", "7d", model]
    yield "ckpt wait", 0, ["--step", 1, model]
    yield "ckpt history", 0, [model]
    (model / "ckpt.info-1").touch()
    (model / "ckpt.info-2").write_text("slot_counts { key: 1 value: 2 }")
    (model / "ckpt.info-3").write_text(
        "slot_counts { key: 1 value: 3 } slot_counts { key: 2 value: 9 }"
    )
    conditions = ("change(slot[*].entries) gt 20%", "entries gt 5", "nan gt 0")
    yield "ckpt history", 0, [*(word for each in conditions for word in ("--fail-if", each)), model]
    write_checkpoint_state(model, [1, 9])
    (model / "ckpt.info-9").touch()
    yield "ckpt history", 0, [model]
    (root / "counts alone").mkdir()
    (root / "counts alone" / "ckpt.info-9").touch()
    yield "ckpt history", 0, [root / "counts alone"]


def prune_cases(root: Path) -> Iterator[Case]:
    model = save_job(root / "to prune", 1, 2, 3, 4, tables=("t",))
    save_job(model / "dense_only", 1, 4, tables=())
    (model / "model.ckpt-2.index").unlink()
    (model / "model.ckpt-2.data-00000-of-00001").unlink()
    shutil.rmtree(model / "model.ckpt-2.assets")
    list_steps(model, 1, 2, 3, 4, times=False)
    version = model / "exported" / "1"
    (version / "assets").mkdir(parents=True)
    (version / "assets" / "t-00000-of-00001").touch()
    text = f'entries {{ export_dir: "{version}" global_step: 1 }}'
    (version.parent / "ExportSaverListenerState").write_text(text)
    (model / "ckpt.manifest-9").touch()
    make_old(model)
    make_old(model / "ckpt.manifest-9", 1.0)
    policy = ["--keep-last", 1, "--leftovers", "--exports-may-go", "--quiet-for", 0]
    yield "ckpt prune", 0, [*policy, "-n", model]
    check(model, 4, CheckOptions(record=True))
    yield "ckpt prune", 0, [*policy, "-n", model]

    def stop() -> None:
        raise KeyboardInterrupt

    with DyingStore(4, hook=stop).installed():
        yield "ckpt prune", 0, [*policy, "--yes", model]
    exempt(model, "model.ckpt-3")
    yield "ckpt prune", 1, [*policy, "--yes", model]
    yield "ckpt prune", 0, [*policy, "--yes", model]


def going_back_cases(root: Path) -> Iterator[Case]:
    model = write_rolled(root / "to go back", 1, 2, 3, beside=(3,))
    version = model / "exported" / "1"
    (version / "assets").mkdir(parents=True)
    text = f'entries {{ export_dir: "{version}" global_step: 3 }}'
    (version.parent / "ExportSaverListenerState").write_text(text)
    yield "ckpt pin", 0, [model, 2]
    yield "ckpt unpin", 0, [model, 2]
    yield "ckpt unpin", 0, [model, 2]
    (model / "model.ckpt-4.assets").mkdir()
    yield "ckpt rollback", 0, ["--step", 3, model]
    yield "ckpt rollback", 0, ["--undo", "--to", root / "never committed", model]
    yield "ckpt rollback", 0, ["--step", 2, "--exports-may-go", "-n", model]
    yield "ckpt rollback", 0, ["--step", 2, "--exports-may-go", model]
    yield "ckpt rollback", 0, ["--undo", model]


def diff_cases(root: Path) -> Iterator[Case]:
    model = root / "compared"
    records = random_entries(1, 30)
    write_model_dir(model, 1, singles={"t": records[:20], "u": []})
    moved = put_floats(2, [1e30]) + put_floats(2, [0.5])
    write_model_dir(model, 2, singles={"t": records[5:], "v": [b"".join(moved)]})
    write_checkpoint_state(model, [1, 2])
    write_model_dir(root / "moved-on", 1, singles={"v": [b"".join(put_floats(2, [1.0, 0.25]))]})
    conditions = ["--fail-if", "added gt 0", "--fail-if", "nan gt 0"]
    yield "table diff", 0, ["--values", *conditions, model]
    yield "table diff", 0, ["--values", "--with", model, root / "moved-on"]
    yield "table diff", 0, ["--delta", root / "delta", model]
    assets = shutil.copytree(model / "model.ckpt-2.assets", root / "no-step.assets")
    yield "table diff", 0, ["--with", assets, assets]
    yield "table diff", 1, ["--format", "jsonl", model]
    yield from ckpt_diff_cases(model, conditions)


def ckpt_diff_cases(model: Path, conditions: list[str]) -> Iterator[Case]:
    older = {"v": np.ones(3), "zero": np.zeros(2), "shape": np.zeros(2), "gone": np.ones(1)}
    newer = {"v": np.full(3, 2.0), "zero": np.ones(2), "shape": np.zeros(3), "new": np.ones(1)}
    write_tensor_bundle(model / "model.ckpt-1", older)
    write_tensor_bundle(model / "model.ckpt-2", newer)
    write_multi_table(model / "model.ckpt-1.assets", "M", {"m": random_entries(2, 3)})
    write_multi_table(model / "model.ckpt-2.assets", "N", {"n": random_entries(2, 3)})
    write_states(model / "input_worker_0.ckpt-1", IteratorV2=1)
    write_states(model / "input_worker_0.ckpt-2", IteratorV2=4)
    write_states(model / "input_worker_1.ckpt-1", IteratorV2=1)
    write_states(model / "input_worker_2.ckpt-2", IteratorV2=1)
    yield "ckpt diff", 0, ["--entries", *conditions, model]
    (model / "input_worker_1.ckpt-1.index").write_bytes(b"cut")
    for step in (1, 2):
        write_ckpt_info(model / f"ckpt.info-{step}", CkptInfo({step: 3}, {}))
    yield "ckpt diff", 0, [model]


def input_cases(root: Path) -> Iterator[Case]:
    model = write_input(root)
    yield "ckpt diff", 0, ["--with", model, model]
    yield "iterator ls", 0, [model]
    yield "iterator ls", 0, ["--step", 10, model]
    yield "ckpt fsck", 0, [model]
    for worker in range(4):
        yield "iterator show", 0, ["--worker", worker, model]
        yield "iterator show", 1, ["--raw", "--worker", worker, model]
    yield "iterator show", 0, [model / "input_worker_1.ckpt-10"]
    yield "iterator show", 0, ["--worker", 1, "--input-dir", root / "empty", model]
    yield "iterator show", 0, [model / "input_chief_0.ckpt-20"]
    for prefix in write_other_states(root):
        yield "iterator show", 0, [prefix]
    back = write_job(root / "back", {0: [10, 20], 1: [10, 20]}, 10, 20)
    for options in (["--dry-run"], [], ["--worker", 0]):
        yield "iterator rollback", 0, ["--step", 10, *options, back]
    yield "iterator rollback", 0, ["--step", "latest", back]


@contextlib.contextmanager
def job_cases(root: Path) -> Iterator[Iterator[Case]]:
    """With the jobs that are asked."""
    ours, original = root / "ours", root / "original"
    for directory in (ours, original):
        commit(directory, 10)
    job = OurJob(ours)
    with serving(job), serving(OriginalJob(original)) as address:
        yield _job_cases(job, ours, original, address)


def _answer(model: Path) -> None:
    """A job that takes a request from the file, once."""
    deadline = time.monotonic() + 10
    while not (model / "monolith_action").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (model / "monolith_action_response").write_text("OK")
    (model / "monolith_action").unlink()


def _job_cases(job: OurJob, ours: Path, original: Path, address: str) -> Iterator[Case]:
    for model in (ours, original):
        yield "job status", 0, [model]
        yield "barrier status", 0, [model]
        yield "barrier place", 0, ["--owner", "me", "--reason", "why", model]
        yield "barrier status", 0, [model]
        yield "barrier wait", 0, ["--blocked", model]
        yield "barrier remove", 0, ["--owner", "me", "--force", model]
    yield "barrier place", 0, ["--owner", "me", "--ttl", 0, ours]
    yield "barrier hold", 0, ["--owner", "you", ours, "--", "true"]
    yield "barrier hold", 0, [ours, "--", "no-such-program"]
    job.last_saved_step = None
    yield "job status", 0, [ours]
    yield "job save", 0, [ours]
    job.saved |= {"finished_workers": [0, 1], "unfinished_workers": [2]}
    yield "job save", 0, [ours]
    yield "job save", 0, ["--address", address]
    yield "job stop", 0, [ours]
    answering = threading.Thread(target=_answer, args=[original])
    answering.start()
    yield "job stop", 0, ["--via", "file", original]
    answering.join()
    entries = [
        {"time": "T", "method": "RemoveBarrier", "owner": "a", "peer": "p", "reason": "r"},
        {"result": "done", "holder": "b"},
    ]
    (ours / "control.log").write_text("".join(f"{json.dumps(each)}\n" for each in entries))
    yield "job log", 0, [ours]


# --- what is found --------------------------------------------------------------------------


class Seen:
    """Which declarations were met: several outputs may share one."""

    def __init__(self) -> None:
        self.outputs: set[tuple[str, int]] = set()
        self.values: set[int] = set()
        self.nulls: set[int] = set()

    def take(self, command: str, number: int, document: Any, columns: bool) -> None:
        """Compare an object with the keys of an output, of which `columns` picks some."""
        assert isinstance(document, dict), (command, document)
        self.outputs.add((command, number))
        keys = OUTPUTS[command][number].keys
        if columns:
            keys = {name: key for name, key in keys.items() if name in document}
        self._object(document, keys, f"{command}: ")

    def _object(self, document: dict[str, Any], keys: Mapping[str, Key], before: str) -> None:
        for name, value in document.items():
            path = f"{before}{name}"
            assert name in keys, f"{path} is not declared"
            key = keys[name]
            if value is None:
                assert key.null, f"{path} is null, which is not declared"
                self.nulls.add(id(key))
            else:
                self.values.add(id(key))
                self._value(value, key, path)
        for name, key in keys.items():
            assert name in document or key.only, f"{before}{name} is not always there"

    def _value(self, value: Any, key: Key, path: str) -> None:
        assert TYPES[key.type](value), f"{path} is no {key.type}: {value!r}"
        if key.keys:
            inner = f"{path}[]." if isinstance(value, list) else f"{path}."
            for each in value if isinstance(value, list) else [value]:
                self._object(each, key.keys, inner)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def is_string(value: Any) -> bool:
    return isinstance(value, str)


TYPES: dict[str, Callable[[Any], bool]] = {
    "string": is_string,
    "number": is_number,
    "number or string": lambda value: is_number(value) or is_string(value),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    MAP: lambda value: isinstance(value, dict) and all(map(is_number, value.values())),
    "list of strings": is_list(is_string),
    "list of numbers": is_list(lambda value: value is None or is_number(value)),
    "list of objects": is_list(lambda value: isinstance(value, dict)),
}


def documents(done: Done, output: Output, command: str, number: int) -> Iterator[Any]:
    """The objects of an output that a run has printed."""
    if output.on_stderr:
        last = done.err.splitlines()[-1:]
        yield from (json.loads(line) for line in last if line.startswith("{"))
    elif output.form == LINES:
        lines = [json.loads(line) for line in done.out.splitlines()]
        if command == "table dump":
            of_cursor = [line for line in lines if "next_offset" in line]
            lines = of_cursor if number else [line for line in lines if line not in of_cursor]
        yield from lines
    elif done.out:
        document = json.loads(done.out)
        if command == "iterator show" and number:
            document = [part for parts in document.values() for part in parts]
        yield from document if isinstance(document, list) else [document]


def look(cases: Iterator[Case], seen: Seen) -> None:
    for command, number, arguments in cases:
        output = OUTPUTS[command][number]
        at = arguments.index("--") if "--" in arguments else len(arguments)
        words = [*command.split(), *arguments[:at], "--json", *arguments[at:]]
        done = call(*words)
        assert done.code != 70, (words, done.err)
        assert done.code != 2, (words, done.err)
        for document in documents(done, output, command, number):
            seen.take(command, number, document, "--columns" in words)


RARE = {
    "barrier hold: error.file is null",
    "ckpt history: conditions[].held[].value is null",
    "ckpt diff: inputs[].a.epoch is there",
    "ckpt-info: hash_filters[].fill_rate is null",
    "iterator rollback: override.model_step is null",
    "iterator rollback: workers[].before is null",
    "iterator show: iterators[].readers[].buffered[].records is null",
    "iterator show: iterators[].readers[].buffered[].rows is null",
    "iterator show: iterators[].readers[].consumed.counted_at is there",
    "iterator show: iterators[].readers[].consumed.elements is there",
    "iterator show: iterators[].readers[].consumed.epoch is there",
    "iterator show: iterators[].readers[].consumed.records_in_epoch is there",
    "iterator show: iterators[].readers[].file.offset is null",
    "table dump: table is null",
    "table stats: examples[].table is null",
    "table stats: groups[].table is null",
}
"""What takes more than these samples, such as states that TensorFlow makes; other tests see it."""


def test_what_is_printed_is_declared_and_what_is_declared_is_printed(tmp_path: Path) -> None:
    seen = Seen()
    look(checkpoint_cases(tmp_path), seen)
    look(repair_cases(tmp_path), seen)
    look(going_back_cases(tmp_path), seen)
    look(copy_cases(tmp_path), seen)
    look(rewrite_cases(tmp_path), seen)
    look(step_cases(tmp_path), seen)
    look(prune_cases(tmp_path), seen)
    look(diff_cases(tmp_path), seen)
    look(input_cases(tmp_path), seen)
    with job_cases(tmp_path) as cases:
        look(cases, seen)
    names = OUTPUTS.keys() - {"iterator peek"}
    assert seen.outputs == {(name, n) for name in names for n in range(len(OUTPUTS[name]))}
    unmet = set()
    keys: dict[int, str] = {}
    for name, number in sorted(seen.outputs):
        for path, key in paths(OUTPUTS[name][number].keys):
            first = keys.setdefault(id(key), f"{name}: {path}")  # of those that share it
            if id(key) not in seen.values:
                unmet.add(f"{first} is there")
            if key.null and id(key) not in seen.nulls:
                unmet.add(f"{first} is null")
    assert unmet == RARE


def test_every_command_with_json_is_declared() -> None:
    """`iterator peek` is tried with TensorFlow, in test_iterator_peek.py."""
    assert OUTPUTS.keys() == {name for name, entry in COMMANDS.items() if entry.target}


def test_nothing_imports_the_declarations_at_run_time() -> None:
    root = Path(__file__).parents[2]
    for path in [*(root / "commands").glob("*.py"), *(root / "monolith_cli").rglob("*.py")]:
        if path.parent.name != "keys":
            assert "reports.keys" not in path.read_text(encoding="utf-8"), path
