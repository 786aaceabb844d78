"""How a full check reads: at a rate, and once more for feature ids that come again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import judge_support as js
import pytest
import tf_support

from monolith_cli import messages
from monolith_cli.care.fsck import CheckOptions, check
from monolith_cli.care.fsck.reading import Reading
from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers

ASSETS = "model.ckpt-200.assets"
A = "MonolithHashTable_a"
A0, A1 = f"{ASSETS}/{A}-00000-of-00002", f"{ASSETS}/{A}-00001-of-00002"
DUPLICATES = "duplicate_fids"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return js.write_judged(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    return js.copied(sound, tmp_path / "model")


def test_a_rate_is_kept_in_short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much came at once: progress goes on meanwhile, and a signal need not wait."""
    now = [0.0]
    naps: list[float] = []
    told: list[tuple[int, int]] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr("monolith_cli.care.fsck.reading.time", clock)
    with closing(Workers(1)) as workers:
        reading = Reading(workers, 1 << 20, 8 << 20, lambda done, size: told.append((done, size)))
        reading.took(4 << 20)
    assert sum(naps) == pytest.approx(4)
    assert max(naps) <= 0.25
    assert told[0] == (0, 8 << 20)
    assert told[-1] == (4 << 20, 8 << 20)
    assert len(told) > 16
    assert told == sorted(told)


def test_feature_ids_that_come_again_are_found_if_asked(model: Path) -> None:
    (model / "ckpt.manifest-200").unlink()
    shard = model / A1
    shard.write_bytes(shard.read_bytes() + (model / A0).read_bytes())
    first = tf_support.read_records(model / A0)
    fids = {messages.EntryDump.FromString(record).id for record in first}
    assert DUPLICATES not in {each.id for each in check(model, 200).findings}
    judgement = check(model, 200, CheckOptions(duplicates=True))
    [found] = [each for each in judgement.findings if each.id == DUPLICATES]
    assert (found.severity, found.step, found.table) == ("note", 200, A)
    assert found.message.startswith(f"{len(fids)} feature ids come more than once (")
    assert f"of {len(first)} entries nobody knows which counts" in found.message
    assert any(str(fid) in found.message for fid in fids)
    with pytest.raises(UsageError, match="a quick check finds no duplicates"):
        check(model, options=CheckOptions(quick=True, duplicates=True))


def test_no_feature_id_comes_again(model: Path) -> None:
    judgement = check(model, "all", CheckOptions(duplicates=True))
    assert not [each for each in judgement.findings if each.id == DUPLICATES]
