"""What is measured for monitoring: entries by table, and the rest that the metrics show."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from monolith_cli.care.measures import measure
from monolith_cli.samples.sample import Sample, write_sample


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sample]:
    model = tmp_path_factory.mktemp("measures") / "model"
    return model, write_sample(model, entries=300, steps=3, drift=True)


@pytest.fixture
def model(written: tuple[Path, Sample], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "model"))


def test_single_tables_by_the_manifest(written: tuple[Path, Sample]) -> None:
    model, sample = written
    found = measure(model)
    assert found.by_table == {table.name: table.entries for table in sample.tables}
    assert found.latest is found.complete
    assert found.listing is not None
    assert found.listing.entries == sum(found.by_table.values())
    assert (found.checked_step, found.checked_at) == (None, None)


def test_the_directory_is_surveyed_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["monolith_cli.care.fsck.check"]
    monkeypatch.delattr(module, "survey_of")
    assert measure(model).findings["error"] == 0


def test_without_a_manifest_single_tables_are_not_told_apart(model: Path) -> None:
    (model / "ckpt.manifest-3000").unlink()
    assert measure(model).by_table == {}


def test_multi_tables_by_their_names(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, entries=300, steps=1, multi=True)
    expected = {table.name: table.entries for table in sample.tables}
    assert measure(tmp_path).by_table == expected
    (tmp_path / "ckpt.info-1000").write_text("nonsense {")
    assert measure(tmp_path).by_table == {"MonolithMultiHashTable": 300}
    assert measure(tmp_path).findings["error"] == 1


def test_the_newest_complete_step_is_another_one(model: Path) -> None:
    next(model.glob("model.ckpt-3000.assets/*user*")).unlink()
    found = measure(model)
    assert found.latest is not None
    assert found.complete is not None
    assert (found.latest.step, found.complete.step) == (3000, 2000)
    assert found.findings["error"] == 1
