"""What a check concludes from a ckpt.info file, and when one is written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from monolith_cli.errors import (
    AlreadyExistsError,
    CorruptionError,
    DifferentError,
    MissingShardError,
    PathNotFoundError,
    StateFileError,
    WriteError,
)
from monolith_cli.formats.ckpt_info import CkptInfo, format_ckpt_info
from monolith_cli.formats.tfrecord import Skipped
from monolith_cli.storage.atomic import atomic_write
from monolith_cli.tables.ckpt_info_file import (
    Outcome,
    check_ckpt_info,
    reason_not_to_write,
    save_ckpt_info,
    settle_ckpt_info,
)

DUMP = CkptInfo({0: 3, 7: 10}, {"user": 5, "item": 0})


def test_check_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(format_ckpt_info(DUMP))
    assert check_ckpt_info(str(path), DUMP).verdict == "same"
    path.write_bytes(b"")
    assert check_ckpt_info(str(path), DUMP).verdict == "empty"
    path.write_bytes(b"slot_counts {")
    with pytest.raises(StateFileError):
        check_ckpt_info(str(path), DUMP)
    path.unlink()
    with pytest.raises(PathNotFoundError):
        check_ckpt_info(str(path), DUMP)
    with pytest.raises(PathNotFoundError, match="there is no step"):
        check_ckpt_info(None, DUMP)


def test_reasons_not_to_write() -> None:
    assert reason_not_to_write("f") is None
    assert reason_not_to_write(None) == "there is no step"
    assert "a part of" in str(reason_not_to_write("f", filtered=True))
    assert "v1" in str(reason_not_to_write("f", fid_version="v1"))
    assert "damaged" in str(reason_not_to_write("f", skipped=True))


def test_written_once(tmp_path: Path) -> None:
    path = str(tmp_path / "ckpt.info-5")
    first = save_ckpt_info(path, DUMP)
    assert first == Outcome(written=path)
    assert Path(path).read_bytes() == format_ckpt_info(DUMP)
    second = save_ckpt_info(path, DUMP)
    assert second.written is None
    assert second.note == f"{path}: up to date, not written again"
    assert save_ckpt_info(path, DUMP, force=True).written == path
    assert list(tmp_path.iterdir()) == [Path(path)]


def test_not_written(tmp_path: Path) -> None:
    path = str(tmp_path / "ckpt.info-5")
    assert save_ckpt_info(path, DUMP, dry_run=True) == Outcome()
    outcome = save_ckpt_info(path, DUMP, reason="only a part of the checkpoint was counted")
    assert outcome.note == "no ckpt.info was written: only a part of the checkpoint was counted"
    assert save_ckpt_info(None, DUMP).note == "no ckpt.info was written: there is no step"
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(format_ckpt_info(CkptInfo({0: 1}, {})))
    outcome = save_ckpt_info(str(path), DUMP)
    assert outcome.written is None
    assert isinstance(outcome.failure, AlreadyExistsError)
    assert str(outcome.failure) == (
        f"{path}: says something else and was kept: slot 7 has 0 in the file, 10 in the dump,"
        " and 2 more differ"
    )
    assert path.read_bytes() == format_ckpt_info(CkptInfo({0: 1}, {}))
    assert save_ckpt_info(str(path), DUMP, force=True).written == str(path)
    assert path.read_bytes() == format_ckpt_info(DUMP)


@pytest.mark.parametrize("text", [b"", format_ckpt_info(CkptInfo({0: 9, 7: 10}, {"user": 5}))])
def test_an_explained_file_is_kept_without_failing(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(text)
    outcome = save_ckpt_info(str(path), DUMP)
    assert (outcome.written, outcome.failure) == (None, None)
    assert str(outcome.note).startswith(f"{path}: kept, the file ")
    assert path.read_bytes() == text


def test_a_broken_file_is_kept_until_forced(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(b"slot_counts {")
    outcome = save_ckpt_info(str(path), DUMP)
    assert isinstance(outcome.failure, StateFileError)
    assert path.read_bytes() == b"slot_counts {"
    assert save_ckpt_info(str(path), DUMP, force=True).written == str(path)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["read_only", "no_space"])
def test_write_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, force: bool
) -> None:
    def refuse(path: str, data: bytes, **options: object) -> None:
        raise WriteError("not written: no", path=path, kind=kind)

    monkeypatch.setattr("monolith_cli.storage.atomic.atomic_write", refuse)
    outcome = save_ckpt_info(str(tmp_path / "ckpt.info-5"), DUMP, force=force)
    assert outcome.written is None
    fails = force or kind == "no_space"
    assert (outcome.failure is not None) == fails
    assert (outcome.warning is not None) == (not fails)


@pytest.mark.parametrize(
    ("text", "kind", "note"),
    [
        (format_ckpt_info(DUMP), None, "up to date, not written again"),
        (b"", None, "kept, the file is empty"),
        (format_ckpt_info(CkptInfo({0: 1}, {})), "exists", "None"),
        (b"slot_counts {", "bad_state_file", "None"),
    ],
)
def test_somebody_writes_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, kind: str | None, note: str
) -> None:
    path = tmp_path / "ckpt.info-5"

    def late(name: str, data: bytes, *, overwrite: bool, mode: int) -> None:
        path.write_bytes(text)
        atomic_write(name, data, overwrite=overwrite, mode=mode)

    monkeypatch.setattr("monolith_cli.storage.atomic.atomic_write", late)
    outcome = save_ckpt_info(str(path), DUMP)
    assert outcome.written is None
    assert (outcome.failure and outcome.failure.kind) == kind
    assert note in str(outcome.note)
    assert path.read_bytes() == text


def test_two_at_once(tmp_path: Path) -> None:
    """One writes it, the other finds it up to date."""
    for number in range(50):
        path = str(tmp_path / f"ckpt.info-{number}")
        with ThreadPoolExecutor(4) as pool:
            outcomes = [*pool.map(lambda path: save_ckpt_info(path, DUMP), [path] * 4)]
        assert [outcome.failure for outcome in outcomes] == [None] * 4
        assert [outcome.written for outcome in outcomes].count(path) == 1


def test_a_link_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.symlink_to("gone")
    outcome = save_ckpt_info(str(path), DUMP)
    assert str(outcome.failure) == f"{path}: exists already"
    assert path.is_symlink()


class Counts:
    """What settling needs of `CheckpointCounts`."""

    def __init__(self, skipped: int = 0, dump: CkptInfo = DUMP) -> None:
        self.dump = dump
        self.problems: list[CorruptionError] = []
        self.extra: dict[str, int] = {}
        self.found: Any = SimpleNamespace(
            problems=[],
            others=[],
            files=SimpleNamespace(beside=[]),
            shared_names=dump.feature_counts,
            holds_nothing=lambda: not dump,
        )
        self.rank_0 = CkptInfo({}, {})
        self.skipped = [
            Skipped("m/t-0", "bad_data_crc", "damaged", 40 * number, 40 * number, 50, True)
            for number in range(1, skipped + 1)
        ]

    tables: Sequence[str] = ("a table",)

    @property
    def is_whole(self) -> bool:
        return not self.skipped and not self.problems

    def ckpt_info(self) -> CkptInfo:
        return CkptInfo({}, self.dump.feature_counts) if self.dump.feature_counts else self.dump

    def everything(self) -> CkptInfo:
        return self.dump


def settle(
    path: Path | None, skipped: int = 0, counts: Counts | None = None, **options: Any
) -> Outcome:
    counts: Any = counts or Counts(skipped)
    return settle_ckpt_info(None if path is None else str(path), counts, **options)


def test_settling(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    assert settle(path, dry_run=True) == Outcome()
    assert "a part" in str(settle(path, filtered=True).note)
    assert "v1" in str(settle(path, fid_version="v1").note)
    assert "no step" in str(settle(None).note)
    assert not path.exists()
    assert settle(path).written == str(path)
    assert path.read_bytes() == format_ckpt_info(CkptInfo({}, DUMP.feature_counts))
    checked = settle(path, check=True)
    assert checked.comparison is not None
    assert checked.comparison.verdict == "same"
    assert checked._replace(comparison=None) == Outcome()


def test_settling_a_check(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(b"")
    outcome = settle(path, check=True)
    assert outcome.note == (f"{path}: the file is empty, which means that nobody counted")
    assert outcome.failure is None
    path.write_bytes(format_ckpt_info(CkptInfo({0: 1, 7: 10}, {"user": 5})))
    assert isinstance(settle(path, check=True).failure, DifferentError)
    path.unlink()
    with pytest.raises(PathNotFoundError):
        settle(path, check=True)


@pytest.mark.parametrize("options", [{}, {"check": True}, {"force": True}])
def test_settling_after_damage(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "ckpt.info-5"
    outcome = settle(path, skipped=3, **options)
    assert str(outcome.failure) == (
        "m/t-0: damaged, at byte 40; skipped, like 2 more damaged places"
    )
    assert outcome.comparison is None
    assert not path.exists()


def test_tables_that_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(format_ckpt_info(DUMP))
    nothing = Counts(dump=CkptInfo({}, {}))
    nothing.tables = ()
    for options in ({}, {"check": True}, {"dry_run": True}, {"force": True}):
        failure = settle(path, counts=nothing, **options).failure
        assert isinstance(failure, CorruptionError)
        assert (failure.kind, failure.path) == ("table_gone", str(path))
    for options in ({"filtered": True}, {"fid_version": "v1"}):
        failure = settle(path, counts=nothing, **options).failure
        assert str(failure).startswith(f"{path}: counts table 'item', of which there is no dump")
    assert path.read_bytes() == format_ckpt_info(DUMP)
    path.write_bytes(b"")  # nobody counted
    assert settle(path, counts=nothing).failure is None
    path.unlink()
    assert settle(path, counts=nothing).failure is None


@pytest.mark.parametrize(
    ("file", "dump"),
    [
        (CkptInfo({0: 3}, {}), CkptInfo({}, {})),
        (CkptInfo({}, {"user": 5, "author": 2}), CkptInfo({}, {"user": 5})),
    ],
)
def test_force_replaces_nothing_that_tells_of_tables_that_are_gone(
    tmp_path: Path, file: CkptInfo, dump: CkptInfo
) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(format_ckpt_info(file))
    for force in (False, True):
        failure = settle(path, counts=Counts(dump=dump), force=force).failure
        assert failure is not None
        assert failure.kind == "table_gone"
    assert path.read_bytes() == format_ckpt_info(file)


def test_an_empty_file_of_tables_without_entries_is_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(b"")
    outcome = settle(path, counts=Counts(dump=CkptInfo({}, {"user": 0})))
    assert outcome == Outcome(note=f"{path}: up to date, not written again")


def test_strictly_a_slot_does_not_vanish(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    path.write_bytes(format_ckpt_info(CkptInfo({0: 3, 7: 10, 9: 1}, DUMP.feature_counts)))
    for check in (True, False):
        outcome = settle(path, check=check)
        assert outcome.failure is None
        assert str(outcome.note).endswith("; slot 9: all 1 gone or expired")
        failure = settle(path, check=check, strict=True).failure
        assert (
            str(failure) == f"{path}: slot 9: all 1 gone or expired; look for files of tables first"
        )
        assert not outcome.kept  # which would advise to replace it
        assert isinstance(failure, DifferentError)


def test_settling_beside_records_of_no_table(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-5"
    counts = Counts()
    counts.extra = {"m/emb_0": 2, "m/emb_1": 1}
    for options in ({}, {"force": True}):
        outcome = settle(path, counts=counts, **options)
        assert outcome.note == (
            "no ckpt.info was written: records that no contents file promises were left out of"
            " the counts"
        )
    path.write_bytes(format_ckpt_info(DUMP))
    outcome = settle(path, counts=counts, check=True)
    assert outcome.comparison is not None
    assert (outcome.comparison.verdict, outcome.note) == ("different", None)
    assert str(outcome.failure) == (
        f"{path}: cannot be right: 3 records are in the dump that no contents file promises;"
        " restore the contents files"
    )


@pytest.mark.parametrize("options", [{}, {"check": True}, {"force": True}])
def test_settling_what_is_not_whole(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "ckpt.info-5"
    counts = Counts()
    counts.problems = [MissingShardError("missing", path="t-0"), MissingShardError("missing")]
    outcome = settle(path, counts=counts, **options)
    assert outcome.failure is counts.problems[0]
    assert (outcome.comparison, path.exists()) == (None, False)
    if options.get("check"):
        assert outcome.note == f"{path}: not there; nothing was compared"
        path.write_bytes(b"")
        assert settle(path, counts=counts, check=True).note == (
            f"{path}: not compared, as damaged or incomplete data was left out of the counts"
        )
        none = settle(None, counts=counts, check=True)
        assert none.note == "nothing was compared: there is no step"
