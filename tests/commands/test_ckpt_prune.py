"""`monolith ckpt prune`: what it shows, asks and refuses."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from cli_support import call, failed
from dying_store import DyingStore
from fake_jobs import OriginalJob, serving
from prune_support import exempt, list_steps, listed, make_old, save_job
from step_support import save_step

from monolith_cli.care.fsck import CheckOptions, check


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_job(tmp_path / "model", 1, 2, 3, tables=("t",), entries=1)


class Terminal(io.TextIOWrapper):
    """Where somebody sits, and answers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> object:
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(text.encode())))
        monkeypatch.setattr("monolith_cli.commands.asking.can_ask", lambda: True)

    return give


def test_a_dry_run(model: Path) -> None:
    before = sorted(model.rglob("*"))
    done = call("ckpt", "prune", "--keep-last", 2, "-n", model)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["step", "age", "state", "size", "because"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[1].endswith("goes   no policy keeps it")
    assert lines[2].endswith("stays  last 2")
    assert lines[3].endswith("stays  latest, newest complete, last 2")
    assert lines[5].startswith("1 step goes, ")
    assert done.err.startswith("Note: checked before anything goes: step 3 in full, ")
    assert sorted(model.rglob("*")) == before


def test_it_is_done(model: Path) -> None:
    done = call("ckpt", "prune", "--keep-last", 1, "--yes", model)
    assert (done.code, listed(model)) == (0, ["model.ckpt-3"])
    assert "2 steps go, " in done.out
    assert call("ckpt", "prune", "--keep-last", 1, "--yes", model).out.endswith("nothing goes\n")


def test_without_a_policy_nothing_is_done(model: Path) -> None:
    for options in ([], ["--yes"], ["-n"], ["--yes", "--exports-may-go"]):
        assert "no policy: say what stays, such as --keep-last 5" in failed(
            call("ckpt", "prune", *options, model), 2
        )
    assert len(listed(model)) == 3


def test_nobody_can_be_asked(model: Path) -> None:
    error = failed(call("ckpt", "prune", "--keep-last", 1, model), 2)
    assert "nobody can be asked here: --yes says that it is meant" in error
    assert len(listed(model)) == 3


@pytest.mark.parametrize(("text", "code", "left"), [("y\n", 0, 1), ("\n", 1, 3), ("n\n", 1, 3)])
def test_somebody_is_asked(model: Path, answer: object, text: str, code: int, left: int) -> None:
    answer(text)  # type: ignore[operator]
    done = call("ckpt", "prune", "--keep-last", 1, model)
    assert (done.code, len(listed(model))) == (code, left)
    assert "Remove it? [y/N]:" in done.err
    assert ("Note: nothing was removed" in done.err) == bool(code)


def test_the_question_says_that_nothing_was_read(model: Path, answer: object) -> None:
    answer("n\n")  # type: ignore[operator]
    done = call("ckpt", "prune", "--keep-last", 1, "--quick-check", model)
    assert "No data was read to see whether what stays is right." in done.err
    assert "Note: checked before anything goes: step 3 quickly" in done.err


def test_what_deletes_is_set_by_no_variable(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KEEP_LAST": "1", "YES": "1", "UNLISTED": "1", "QUIET_FOR": "0"}.items():
        monkeypatch.setenv(f"MONOLITH_CKPT_PRUNE_{name}", value)
    failed(call("ckpt", "prune", model), 2)
    failed(call("ckpt", "prune", "-n", model), 2)
    monkeypatch.setenv("MONOLITH_CKPT_PRUNE_DRY_RUN", "1")
    assert call("ckpt", "prune", "--keep-last", 1, model).code == 0
    assert len(listed(model)) == 3


def test_a_job_that_runs(model: Path) -> None:
    with serving(OriginalJob(model)):
        error = failed_after_report(model, 5, "--keep-last", 1, "--quiet-for", 0)
        assert "a job runs here: it answers at" in error
        assert call("ckpt", "prune", "--keep-last", 1, "-n", model).code == 0
        list_steps(model, 2, 3)
        assert call("ckpt", "prune", "--unlisted", "--yes", model).code == 0
    assert not (model / "model.ckpt-1.index").exists()
    assert listed(model) == ["model.ckpt-2", "model.ckpt-3"]


def failed_after_report(model: Path, code: int, *options: object) -> str:
    """The last line of a run that has shown what it would do."""
    before = sorted(model.rglob("*"))
    done = call("ckpt", "prune", "--yes", *options, model)
    assert done.code == code, done
    assert sorted(model.rglob("*")) == before
    return done.err.splitlines()[-1]


def test_a_save_a_moment_ago(model: Path) -> None:
    (model / "model.ckpt-3.index").touch()
    error = failed_after_report(model, 5, "--keep-last", 1)
    assert "a job may save here: 'model.ckpt-3.index' was written" in error
    assert error.endswith("or say with --quiet-for 0 that it has ended")
    assert call("ckpt", "prune", "--yes", "--keep-last", 1, "--quiet-for", 0, model).code == 0


def test_a_rotten_step_that_is_to_stay(model: Path) -> None:
    path = model / "model.ckpt-3.assets" / "t-00000-of-00002"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    error = failed_after_report(model, 4, "--keep-last", 1)
    assert "step 3, which is to stay, is not right" in error
    assert "nothing was removed" in error


def test_exports(model: Path) -> None:
    version = model / "exported" / "1"
    (version / "assets").mkdir(parents=True)
    (version / "assets" / "t-00000-of-00001").touch()
    text = f'entries {{ export_dir: "{version}" global_step: 1 }}\n'
    (version.parent / "ExportSaverListenerState").write_text(text)
    error = failed_after_report(model, 1, "--keep-last", 1)
    assert error.endswith("or let them go with --exports-may-go")
    done = call("ckpt", "prune", "--keep-last", 1, "-n", model)
    assert (
        f"Warning: the next save deletes exports of steps that go: {version} (step 1)" in done.err
    )
    assert call("ckpt", "prune", "--keep-last", 1, "--yes", "--exports-may-go", model).code == 0


def test_an_export_of_which_nobody_knows_the_step(model: Path) -> None:
    (model / "exported" / "1").mkdir(parents=True)
    (model / "exported" / "1" / "saved_model.pb").touch()
    done = call("ckpt", "prune", "--keep-last", 1, "-n", model)
    assert f"Warning: {model}/exported/1: an export without tables, and no Export" in done.err
    done = call("ckpt", "prune", "--keep-last", 3, "-n", model)
    assert done.err == ""


def test_where_no_exports_are(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = call("ckpt", "prune", "--keep-last", 1, "-n", "--exports", tmp_path / "empty", model)
    assert (
        f"Warning: {tmp_path}/empty: no ExportSaverListenerState notes an export there, so none"
        " keeps a step" in done.err
    )


def test_what_no_rollback_has_moved_away(model: Path) -> None:
    (model / "rolled-back" / "backup").mkdir(parents=True)
    done = call("ckpt", "prune", "--rolled-back", "--yes", model)
    assert (done.code, done.out) == (0, "nothing goes\n")
    assert "Warning: rolled-back/backup: stays, as no rollback has put it there" in done.err
    assert (model / "rolled-back" / "backup").is_dir()


def test_a_latest_that_is_not_whole(model: Path) -> None:
    (model / "model.ckpt-3.assets" / "t-00001-of-00002").unlink()
    done = call("ckpt", "prune", "--keep-last", 1, "-n", model)
    assert done.code == 0
    assert (
        "Warning: step 3 is not whole, so nothing would be removed:"
        " 'model.ckpt-3.assets/t-00001-of-00002' is missing" in done.err
    )


def test_a_claim_of_another_host_is_watched_once(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[bytes] = []

    def watch(directory: str, data: bytes) -> bytes:
        watched.append(data)
        return data

    monkeypatch.setattr("monolith_cli.care.alive.wait_for_sign_of_life", watch)
    (model / "chief_claim").touch()
    make_old(model)
    done = call("ckpt", "prune", "--keep-last", 1, "--yes", model)
    assert (done.code, watched) == (0, [b""])
    assert "Note: watching for 30 s whether a chief lives here, whose claim cannot" in done.err


def test_a_pin_that_keeps_the_job_from_starting(model: Path) -> None:
    list_steps(model, 2, 3)
    exempt(model, "model.ckpt-1")
    done = call("ckpt", "prune", "--keep-last", 1, "-n", model)
    assert "Warning: step 1 is pinned and not listed: the training system will not" in done.err


def test_what_was_cut_off_is_finished(model: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with DyingStore(5, hook=stop).installed():
        done = call("ckpt", "prune", "--keep-last", 1, "--yes", model)
    assert done.code == 130
    assert done.err.endswith("Error: interrupted; run it again, which finishes it\n")
    for options in (["--keep-last", 3], []):  # whatever is asked for now
        done = call("ckpt", "prune", *options, "-n", model)
        assert done.out == "what was cut off would be finished: steps 1, 2 removed\n"
        assert "was cut off here; run it again, which finishes it: monolith ckpt pru" in done.err
        assert "Note: what is asked for now is not looked at before that" in done.err
    assert call("ckpt", "prune", "-n", "--json", model).document == {
        "model_dir": str(model),
        "resumed": True,
        "dry_run": True,
        "steps": [{"step": step, "dense_only": False} for step in (1, 2)],
        "leftovers": [],
        "left": [],
    }
    done = call("ckpt", "prune", "--unlisted", "-n", model)
    assert "was cut off here" in done.err
    assert "nobody can be asked here" in failed(call("ckpt", "prune", model), 2)
    error = failed(call("ckpt", "prune", "--unlisted", "--yes", model), 5)
    assert f"run it again, which finishes it: monolith ckpt prune --yes {model}" in error
    done = call("ckpt", "prune", "--yes", model)
    assert (done.code, done.out) == (0, "finished what was cut off: steps 1, 2 removed\n")
    assert "what is asked for now was not looked at: run it again" in done.err
    assert listed(model) == ["model.ckpt-3"]
    failed(call("ckpt", "prune", "--yes", model), 2)


def test_json(model: Path) -> None:
    check(str(model), 3, CheckOptions(record=True))
    (model / "ckpt.manifest-9").touch()
    make_old(model / "ckpt.manifest-9")
    options = ["--keep-last", 2, "--leftovers", "--json", model]
    planned = call("ckpt", "prune", "-n", *options).document
    assert (planned["dry_run"], planned["removed"]) == (True, False)
    assert [(s["step"], s["stays"], s["reasons"]) for s in planned["steps"]] == [
        (1, False, ["no_policy"]),
        (2, True, ["last"]),
        (3, True, ["latest", "newest_complete", "last"]),
    ]
    assert [each["name"] for each in planned["leftovers"]] == ["ckpt.manifest-9"]
    (checked,) = planned["checks"]
    assert (checked["step"], checked["bytes"]) == (3, 0)
    done = call("ckpt", "prune", "--yes", *options)
    assert done.code == 0
    assert done.document["removed"] is True
    assert done.document["bytes"] == planned["bytes"]
    assert not (model / "ckpt.manifest-9").exists()


def test_dense_variables_alone_have_a_table_of_their_own(model: Path) -> None:
    save_job(model / "dense_only", 4, 5, tables=())
    make_old(model / "dense_only")
    done = call("ckpt", "prune", "--keep-last", 1, "-n", model)
    titles = [line for line in done.out.splitlines() if line == "dense_only"]
    assert len(titles) == 1
    assert "3 steps go" in done.out


def test_options_that_belong_together(model: Path) -> None:
    error = failed(call("ckpt", "prune", "--keep-last", 1, "--older", "7d", "-n", model), 2)
    assert "--older says nothing without --rolled-back" in error
    for option in ("--leftovers", "--rolled-back"):
        error = failed(call("ckpt", "prune", "--unlisted", option, "-n", model), 2)
        assert "--unlisted excludes --leftovers and --rolled-back" in error
    error = failed(call("ckpt", "prune", "--keep-step", 22, "-n", model), 3)
    assert "no step 22, which is to stay" in error


def test_sizes_and_times(model: Path) -> None:
    save_step(model, 4, tables=("t",))
    list_steps(model, 1, 2, 3, 4)
    done = call("ckpt", "prune", "--keep-size", "1TiB", "--keep-within", "2d", "-n", model)
    assert done.out.count("within 2d, within 1TiB") == 4
    assert done.out.endswith("nothing goes\n")
