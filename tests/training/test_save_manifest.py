"""The manifest of a save, in real sessions: what it says, and when it comes and goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, listener, names
from tf_support import tensorflow

from monolith_cli._native import crc32c
from monolith_cli.checkpoint.manifests import read_step_manifest


@pytest.fixture(autouse=True)
def _tensorflow() -> None:
    tensorflow()


def with_tables(directory: Path, *more: Any) -> Any:
    """A job with two tables and the input of its chief."""

    def build(job: Job) -> dict[str, Any]:
        from monolith_cli.training.barrier_ops import BarrierOp
        from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper
        from monolith_cli.training.ckpt_info import FidSlotCountSaverListener
        from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

        tf = tensorflow()
        dataset = tf.data.Dataset.range(100)
        job.next = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
        items, users = HashTable("items", 2), HashTable("scope/users:0", 1)
        job.fill = tf.group(
            items.assign([1, 2, 3], tf.ones([3, 2])).as_op(), users.assign([7], [[1.0]]).as_op()
        )
        helper = WorkerCkptHelper(directory, 0)
        op = BarrierOp(2, barrier_callbacks=[helper.create_save_iterator_callback()])
        return {
            "guard_saver_listeners": [BarrierSaverListener(op, max_pending_seconds=0.1)],
            "listeners": [
                HashTableCheckpointSaverListener(directory / "model.ckpt"),
                FidSlotCountSaverListener(str(directory)),
                *more,
            ],
        }

    return build


def test_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "input_worker_1.ckpt-2.index").touch()  # of a worker that has not finished
    with chief(tmp_path, build=with_tables(tmp_path)) as job:
        job.raw.run(job.fill)
        job.train(2)
        index = (tmp_path / "model.ckpt-2.index").read_bytes()
        said = json.loads((tmp_path / "ckpt.manifest-2").read_text())
        sizes = {
            name: (tmp_path / name).stat().st_size
            for name in (
                "model.ckpt-2.index",
                "model.ckpt-2.data-00000-of-00001",
                "model.ckpt-2.assets/items-00000-of-00001",
                "model.ckpt-2.assets/scope-users-0-00000-of-00001",
                "input_worker_0.ckpt-2.index",
                "input_worker_0.ckpt-2.data-00000-of-00001",
            )
        }
    assert (said["version"], said["step"], said["run_id"]) == (1, 2, "")
    assert said["index"] == {"bytes": len(index), "crc32c": f"{crc32c(index):08x}"}
    assert {each["name"]: each["bytes"] for each in said["files"]} == sizes
    assert {each["crc32c"] for each in said["files"]} == {None}
    assert said["tables"] == [
        {"name": "items", "kind": "single", "entries": 3},
        {"name": "scope-users-0", "kind": "single", "entries": 1},
    ]


def test_entries_of_a_listener_that_counts_nothing_are_not_known(tmp_path: Path) -> None:
    def dump(session: Any, step: int) -> None:
        assets = tmp_path / f"model.ckpt-{step}.assets"
        assets.mkdir()
        (assets / "theirs-00000-of-00001").touch()

    with chief(tmp_path, listeners=[listener(before=dump)]) as job:
        job.train(2)
        manifest = read_step_manifest(str(tmp_path), 2)
    assert manifest is not None
    assert manifest.tables == (("theirs", "single", None),)


def test_it_is_there_before_the_commit_and_goes_with_its_step(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    from monolith_cli.checkpoint.commits import CommittedSteps

    class Noting(CommittedSteps):
        def commit(self, step: int, *rest: Any) -> None:
            there = (tmp_path / f"ckpt.manifest-{step}").exists()
            seen.append(("manifest", there))
            super().commit(step, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monolith_cli.training.saves.held_directory.CommittedSteps", Noting)
        with chief(tmp_path, max_to_keep=2) as job:
            job.train(6)
    assert seen == [("manifest", True)] * 3
    manifests = {name for name in names(tmp_path) if name.startswith("ckpt.manifest")}
    assert manifests == {"ckpt.manifest-4", "ckpt.manifest-6"}


def test_a_save_that_was_given_up_leaves_none(tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(2)
        (tmp_path / "ckpt.manifest-3").write_text("{}")
        job.train(2)
        assert not (tmp_path / "ckpt.manifest-3").exists()
        assert read_step_manifest(str(tmp_path), 4) is not None
