"""A step in a new directory with its tables made anew: what a job finds there, and others read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import repair_support as rs
import tf_support
from hash_table_support import content, fill, hash_table, parse
from repair_support import ASSETS, MULTI, OTHER, SINGLE, STEP, shard
from table_support import flip

from monolith_cli.care.fsck import check
from monolith_cli.care.rewrite import RewrittenStep, rewrite_step
from monolith_cli.checkpoint.inputs import StepInputs, read_step_inputs, write_step_inputs
from monolith_cli.checkpoint.manifests import file_crc32c, read_step_manifest
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import CorruptionError, MonolithError, PathNotFoundError, UsageError
from monolith_cli.formats.checkpoint_state import (
    MonolithCheckpointState,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info
from monolith_cli.storage.local import LocalStore
from monolith_cli.tables.counts import CountOptions, count_checkpoint
from monolith_cli.tables.rewrite.plan import RewriteOptions

JOBS_OWN = {"ckpt.override", "controller_server_addr.txt"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rs.write_job(tmp_path_factory.mktemp("rewrite") / "model")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def rewritten(model: Path, options: RewriteOptions) -> tuple[RewrittenStep, Path]:
    """Rewrite it; checks what holds for all that is made."""
    before = rs.contents_of(model)
    target = model.parent / "new"
    progress: list[tuple[int, int]] = []
    done = rewrite_step(
        model, target, None, options, jobs=2, progress=lambda *at: progress.append(at)
    )
    assert rs.contents_of(model) == before
    assert {path.name for path in model.parent.iterdir()} == {"model", "new"}
    assert progress == sorted(progress)
    assert progress[-1][0] == progress[-1][1]
    judgement = check(target)
    assert judgement.verdict == "sound", judgement.findings
    assert [finding.id for finding in judgement.findings] == []
    checkpoint = open_model_dir(target).checkpoint()
    counts = count_checkpoint(checkpoint, CountOptions(scan_multi=True))
    assert read_ckpt_info(target / f"ckpt.info-{STEP}") == counts.ckpt_info()
    manifest = read_step_manifest(str(target), STEP)
    assert manifest is not None
    assert manifest.run_id == "run"
    for file in manifest.files:
        assert file_crc32c(str(target / file.name)) == (file.size_bytes, file.crc32c)
    entries = {table.name: table.entries for table in manifest.tables}
    for base in (SINGLE, OTHER):
        assert entries[base] == len(rs.records_of(target, base))
    assert entries[MULTI] == len(rs.records_of(target, MULTI, snappy=True))
    rs.assert_restores(target)
    return done, target


def test_more_files(model: Path) -> None:
    done, target = rewritten(model, RewriteOptions(shards=5))
    assert done.is_made
    assert (done.step, done.path) == (STEP, str(target))
    for base in (SINGLE, OTHER):
        assert rs.records_of(target, base) == rs.records_of(model, base)
        assert len(list((target / ASSETS).glob(f"{base}-*-of-00005"))) == 5
    assert rs.tables_of(target, 5) == rs.tables_of(model)
    assert read_ckpt_info(target / f"ckpt.info-{STEP}") == read_ckpt_info(
        model / f"ckpt.info-{STEP}"
    )


def test_the_rest_of_the_step_comes_along(model: Path) -> None:
    done, target = rewritten(model, RewriteOptions(drop_slots=[(7, 7)]))
    old, new = rs.bytes_of(model), rs.bytes_of(target)
    of_tables = {name for name in new if f"{ASSETS}/" in name and "hash_filter" not in name}
    anew = {"checkpoint", "monolith_checkpoint", f"ckpt.manifest-{STEP}", f"ckpt.info-{STEP}"}
    anew |= {f"checkpoint_input_worker_{worker}" for worker in (0, 1)}
    of_200 = {name for name in old if ".ckpt-200" in name}
    newer = {f"model.ckpt-{STEP + 50}_item_pool_0_0_1"}
    assert set(new) == set(old) - of_200 - JOBS_OWN - newer
    for name in set(new) - of_tables - anew:
        assert new[name] == old[name], name
    assert done.files > len(of_tables)
    state = read_checkpoint_state(str(target / "checkpoint"))
    assert state.all_model_checkpoint_paths == (f"model.ckpt-{STEP}",)
    committed = (model / f"model.ckpt-{STEP}.index").stat().st_mtime
    assert state.all_model_checkpoint_timestamps == (committed,)
    assert read_monolith_checkpoint_state(
        str(target / "monolith_checkpoint")
    ) == MonolithCheckpointState((f"model.ckpt-{STEP}",), 17, "MULTI_CUCKOO_HASH_MAP")
    for worker in (0, 1):
        state = read_checkpoint_state(str(target / f"checkpoint_input_worker_{worker}"))
        assert state.all_model_checkpoint_paths == (f"input_worker_{worker}.ckpt-{STEP}",)


def test_dropped_tables(model: Path) -> None:
    _, target = rewritten(model, RewriteOptions(drop_tables=[SINGLE, "item"]))
    assert rs.records_of(target, SINGLE) == []
    assert len(list((target / ASSETS).glob(f"{SINGLE}-*"))) == 2
    tables = rs.tables_of(model)
    assert rs.tables_of(target) == {"user": tables["user"], "ad": tables["ad"]}
    info = read_ckpt_info(target / f"ckpt.info-{STEP}")
    assert info == CkptInfo({}, {"user": 2000, "ad": 10})


def test_a_hash_table_restores_from_it(model: Path, tmp_path: Path) -> None:
    tf = tf_support.tensorflow()
    options = RewriteOptions(shards=5, drop_slots=[(7, 7)], drop_tables=[OTHER])
    rewrite_step(model, tmp_path / "new", None, options)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for base in (SINGLE, OTHER):
            table = hash_table(base, 7)
            session.run(fill(table).restore(str(tmp_path / "new" / ASSETS / base)))
            found = content(table, session)
            assert found == parse(rs.records_of(tmp_path / "new", base))
            assert bool(found) == (base == SINGLE)


def test_a_step_is_taken_twice_and_from_what_was_made(model: Path, tmp_path: Path) -> None:
    """Files that were parted and put together again are what they were."""
    rewrite_step(model, tmp_path / "parted", STEP, RewriteOptions(shards=9))
    rewrite_step(tmp_path / "parted", tmp_path / "again", None, RewriteOptions(shards=2))
    for name in (shard(SINGLE), shard(OTHER, 1), shard("hash_filter_0")):
        records = [tf_support.read_records(each / name) for each in (tmp_path / "again", model)]
        assert records[0] == records[1] or SINGLE in name
    assert rs.records_of(tmp_path / "again", SINGLE) == rs.records_of(model, SINGLE)
    assert rs.tables_of(tmp_path / "again") == rs.tables_of(model)


def test_nothing_is_made_of_a_dry_run(model: Path, tmp_path: Path) -> None:
    before = rs.contents_of(model)
    options = RewriteOptions(drop_slots=[(1, 1)], drop_tables=["ad"])
    would = rewrite_step(model, tmp_path / "new", None, options, dry_run=True)
    assert not would.is_made
    assert (would.files, would.bytes) == (0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert rs.contents_of(model) == before
    done, _ = rewritten(model, options)
    assert [table.slots for table in would.tables] == [table.slots for table in done.tables]


def test_a_rollback_of_inputs_does_not_come_along(model: Path) -> None:
    inputs = read_step_inputs(str(model), STEP)
    assert inputs is not None
    changed = StepInputs(STEP, "run", inputs.workers, {"left": [1]})
    write_step_inputs(str(model), changed)
    _, target = rewritten(model, RewriteOptions(shards=1))
    assert read_step_inputs(str(target), STEP) == inputs


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        shard(SINGLE),
        shard(MULTI, 1),
        shard(f"{MULTI}.meta"),
        shard("hash_filter_0", 1),
        f"model.ckpt-{STEP}.data-00000-of-00001",
        f"model.ckpt-{STEP}.index",
        f"input_worker_1.ckpt-{STEP}.data-00000-of-00001",
        f"model.ckpt-{STEP}_item_pool_0_0_1",
    ],
)
def test_of_a_damaged_step_nothing_is_made(model: Path, tmp_path: Path, name: str) -> None:
    flip(model / name, (model / name).stat().st_size // 2)
    with pytest.raises(CorruptionError) as caught:
        rewrite_step(model, tmp_path / "new", None, RewriteOptions(shards=3), jobs=2)
    assert caught.value.path is not None
    assert Path(caught.value.path).parent in (model, model / ASSETS)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "name", [shard(SINGLE), shard(f"{MULTI}.meta", 1), f"model.ckpt-{STEP}.data-00000-of-00001"]
)
def test_of_a_step_that_lacks_something_nothing_is_made(
    model: Path, tmp_path: Path, name: str
) -> None:
    (model / name).unlink()
    with pytest.raises(MonolithError):
        rewrite_step(model, tmp_path / "new", None, RewriteOptions(shards=3))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_step_that_goes_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.care import rewrite

    write = rewrite.rewrite_tables

    def going(*args: object) -> object:
        done = write(*args)  # type: ignore[arg-type]
        shutil.rmtree(model / ASSETS)
        for path in model.glob(f"model.ckpt-{STEP}.*"):
            path.unlink()
        return done

    monkeypatch.setattr(rewrite, "rewrite_tables", going)
    with pytest.raises(PathNotFoundError, match="gone"):
        rewrite_step(model, tmp_path / "new", None, RewriteOptions(shards=3))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_only_steps_of_a_job(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only its steps"):
        rewrite_step(model / ASSETS, tmp_path / "new", None, RewriteOptions(shards=3))
    with pytest.raises(UsageError, match="lies in"):
        rewrite_step(model, model / "new", None, RewriteOptions(shards=3))


def test_a_copy_that_is_read_back_wrong(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dense value that the disk has lost a bit of, before anybody looks at it again."""
    from monolith_cli.care import rewrite

    run = rewrite.CopyTask.run

    def spoiling(task: rewrite.CopyTask) -> object:
        copied = run(task)
        if ".data-" in task.target:
            flip(Path(task.target), 40)
        return copied

    monkeypatch.setattr(rewrite.CopyTask, "run", spoiling)
    with pytest.raises(MonolithError, match="read back, it is not what was written"):
        rewrite_step(model, tmp_path / "new", None, RewriteOptions(shards=3))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_dead_one_has_left_is_removed(model: Path, tmp_path: Path) -> None:
    (tmp_path / ".new.999999999.0123456789abcdef.tmp").mkdir()
    rewrite_step(model, tmp_path / "new", None, RewriteOptions(shards=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]


def test_a_name_that_is_taken_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = LocalStore.rename_if_absent

    def late(store: LocalStore, source: str, target: str) -> None:
        if target == str(tmp_path / "new"):
            (tmp_path / "new").mkdir()
        rename(store, source, target)

    monkeypatch.setattr(LocalStore, "rename_if_absent", late)
    with pytest.raises(MonolithError, match="exists already"):
        rewrite_step(model, tmp_path / "new", None, RewriteOptions(shards=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]
    assert not list((tmp_path / "new").iterdir())


def test_dense_variables_alone(tmp_path: Path) -> None:
    """A step without tables is copied: there is nothing to make anew, and no assets directory."""
    tf_support.save_checkpoint(tmp_path / "model", STEP, rs.DENSE)
    done = rewrite_step(tmp_path / "model", tmp_path / "new", None, RewriteOptions(shards=3))
    assert not done.tables
    assert not (tmp_path / "new" / ASSETS).exists()
    rs.assert_restores(tmp_path / "new")
