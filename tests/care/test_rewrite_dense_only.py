"""The step of `dense_only` that comes along with one whose tables are made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from step_support import save_steps
from table_support import flip

from monolith_cli.care.fsck import check
from monolith_cli.care.rewrite import rewrite_step
from monolith_cli.care.survey import survey
from monolith_cli.errors import CorruptionError
from monolith_cli.tables.rewrite.plan import RewriteOptions

SHARDS = RewriteOptions(shards=3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = save_steps(tmp_path / "model", 2, 4)
    save_steps(model / "dense_only", 2, 3, 5, tables=(), manifest=True)
    return model


@pytest.mark.parametrize(("step", "dense"), [(None, 5), (4, 5), (2, 2)])
def test_the_newest_that_is_not_newer(
    model: Path, tmp_path: Path, step: int | None, dense: int
) -> None:
    new = tmp_path / "new"
    done = rewrite_step(model, new, step, SHARDS)
    assert done.notes == (f"step {dense} of {model / 'dense_only'} comes along",)
    assert done.warnings == ()
    found = survey(new)
    assert found.dense_only is not None
    [beside] = found.dense_only.steps
    assert (beside.step, beside.state, beside.is_latest) == (dense, "complete", True)
    assert check(new).findings == []
    for suffix in (f"model.ckpt-{dense}.index", f"ckpt.manifest-{dense}"):
        path = Path("dense_only") / suffix
        assert (new / path).read_bytes() == (model / path).read_bytes()


def test_without_one_that_is_whole(model: Path, tmp_path: Path) -> None:
    for path in (model / "dense_only").glob("*.data-*"):
        path.unlink()
    done = rewrite_step(model, tmp_path / "new", None, SHARDS)
    [said] = done.warnings
    assert said.startswith(f"{model / 'dense_only'} is not copied: ")
    assert not (tmp_path / "new" / "dense_only").exists()


def test_of_a_damaged_one_nothing_is_made(model: Path, tmp_path: Path) -> None:
    damaged = model / "dense_only" / "model.ckpt-5.data-00000-of-00001"
    flip(damaged, damaged.stat().st_size // 2)
    with pytest.raises(CorruptionError) as caught:
        rewrite_step(model, tmp_path / "new", None, SHARDS)
    assert caught.value.path == str(damaged)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
