"""`monolith ckpt ls`, `latest`, `wait` and `history`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import step_support
from cli_support import MONOLITH, call, environment, failed
from step_support import START, commit, save_step, save_steps
from table_support import flip

from monolith_cli.care.fsck import CheckOptions, check
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.samples.sample import write_sample


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four steps: one unlisted, one without a shard, a save that is running; pinned is step 20."""
    directory = tmp_path / "model"
    for step, entries in ((10, 4), (20, 400), (30, 500), (40, 500)):
        save_step(directory, step, entries=entries, manifest=step != 40, inputs=(0, 1))
    commit(directory, 20, 30, 40)
    (directory / "model.ckpt-30.assets/item_0-00001-of-00002").unlink()
    next(directory.glob("input_worker_1.ckpt-40.index")).unlink()
    write_ckpt_info(directory / "ckpt.info-40", CkptInfo({1: 1000, 2: 520}, {}))
    (directory / "monolith_checkpoint").write_text(
        'exempt_model_checkpoint_paths: "model.ckpt-20"\n'
    )
    (directory / "model.ckpt-50_temp").mkdir()
    monkeypatch.setattr("time.time", lambda: START + 4000)
    return directory


# --- ls -------------------------------------------------------------------------------------


def test_ls(model: Path) -> None:
    done = call("ckpt", "ls", model)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert max(map(len, lines[:6])) <= 80
    assert [line.split() for line in lines[:6]] == [
        ["step", "age", "state", "entries", "change", "size", "input"],
        ["10", "1h", "unlisted", "12", *lines[1].split()[4:6], "2/2"],
        ["20", "1h", "complete", "1,200", "+1,188", *lines[2].split()[5:7], "2/2", "pinned"],
        ["30", "1h", "incomplete", "-", *lines[3].split()[4:6], "2/2"],
        ["40", "1h", "complete", "1,520", "+320", *lines[4].split()[5:7], "1/2", "latest"],
        ["50", "-", "uncommitted", "-", "0", "B", "0/2"],
    ]
    assert lines[6:] == [
        "  step 30: model.ckpt-30.assets/item_0-00001-of-00002: missing: the manifest of step 30"
        " names it",
        "",
        "without a manifest a step is whole as far as can be seen; 1 of 3 that are whole have none",
        "leftovers: 1 uncommitted save, 1 temporary; 0 B",
    ]


def test_ls_wide_and_by_name(model: Path) -> None:
    lines = call("ckpt", "ls", "-o", "wide", model).out.splitlines()
    assert "tables" in lines[0]
    assert "manifest" in lines[1]
    assert "formats" in lines[4]
    assert call("ckpt", "ls", "-o", "name", model).out == "10\n20\n30\n40\n50\n"
    done = call("ckpt", "ls", "-o", "name", "--state", "complete", model)
    assert done.out == "20\n40\n"
    done = call("ckpt", "ls", "--state", "incomplete", "--state", "unlisted", "--json", model)
    assert [step["step"] for step in done.document["steps"]] == [10, 30]


def test_ls_as_json(model: Path) -> None:
    document = call("ckpt", "ls", "--json", model).document
    assert list(document) == ["model_dir", "steps", "dense_only", "leftovers"]
    assert document["model_dir"] == str(model)
    step = document["steps"][2]
    assert (step["step"], step["state"], step["proof"]) == (30, "incomplete", "manifest")
    assert step["missing"] == [
        {
            "file": "model.ckpt-30.assets/item_0-00001-of-00002",
            "what": "missing: the manifest of step 30 names it",
        }
    ]
    last = document["steps"][3]
    assert (last["entries"], last["tables"], last["time"]) == (1520, 3, step_support.time_of(40))
    assert (last["workers"], last["workers_with_input"]) == (2, 1)
    assert (last["latest"], last["pinned"], document["steps"][1]["pinned"]) == (True, False, True)
    assert document["leftovers"]["uncommitted"] == 1


def test_ls_says_when_no_step_is_so(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    assert (
        call("ckpt", "ls", "--state", "incomplete", tmp_path).out == "no step that is incomplete\n"
    )


def test_ls_of_dense_only(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    save_steps(tmp_path / "dense_only", 1, 2, tables=())
    out = call("ckpt", "ls", tmp_path).out
    assert "\ndense_only\nstep" in out
    assert len(call("ckpt", "ls", "--json", tmp_path).document["dense_only"]) == 2


def test_ls_of_other_directories(model: Path, tmp_path: Path) -> None:
    assert call("ckpt", "ls", "-o", "name", model / "model.ckpt-40.assets").out == "40\n"
    assert (
        call("ckpt", "ls", "--json", model / "model.ckpt-40.assets").document["steps"][0]["state"]
        == "complete"
    )
    shutil.copytree(model / "model.ckpt-40.assets", tmp_path / "export" / "1" / "assets")
    for other in (model / "model.ckpt-40.assets", tmp_path / "export"):
        assert "latest" not in call("ckpt", "ls", other).out
        assert call("ckpt", "ls", "--json", other).document["steps"][0]["latest"] is False
    assert failed(call("ckpt", "ls", tmp_path / "nothing"), 3)


def test_ls_goes_by_names_where_checkpoint_is_damaged(model: Path) -> None:
    (model / "checkpoint").write_text("x")
    done = call("ckpt", "ls", model)
    assert done.code == 4
    assert done.err.startswith(f"Error: {model}/checkpoint: ")
    assert len(done.err.splitlines()) == 1
    rows = [line.split() for line in done.out.splitlines()[1:6]]
    states = ["unlisted", "unlisted", "incomplete", "unlisted", "uncommitted"]
    assert [row[2] for row in rows] == states
    assert "latest" not in done.out
    done = call("ckpt", "ls", "--json", model)
    assert (done.code, done.error["kind"]) == (4, "bad_state_file")
    assert [step["state"] for step in done.document["steps"]] == states
    assert not any(step["latest"] for step in done.document["steps"])


def test_ls_shows_the_steps_beside_a_damaged_one_of_dense_only(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    save_steps(tmp_path / "dense_only", 1, 2, tables=())
    (tmp_path / "dense_only" / "checkpoint").write_text("x")
    done = call("ckpt", "ls", "--json", tmp_path)
    assert (done.code, done.error["file"]) == (4, str(tmp_path / "dense_only" / "checkpoint"))
    assert done.document["steps"][0]["state"] == "complete"
    assert [step["state"] for step in done.document["dense_only"]] == ["unlisted"] * 2


def test_ls_warns_of_small_files_that_are_damaged(model: Path) -> None:
    (model / "ckpt.info-40").write_text("slot_counts {")
    done = call("ckpt", "ls", model)
    assert done.code == 0
    assert done.err.startswith(f"Warning: {model}/ckpt.info-40: ")


# --- latest and wait ------------------------------------------------------------------------


def test_latest(model: Path) -> None:
    assert call("ckpt", "latest", model) == (0, "40\n", "")
    assert call("ckpt", "latest", "--complete", model) == (0, "40\n", "")
    (model / "model.ckpt-40.index").unlink()
    assert call("ckpt", "latest", "--complete", model) == (0, "20\n", "")
    document = call("ckpt", "latest", "--complete", "--json", model).document
    assert document == {"model_dir": str(model), "step": 20}
    commit(model, 60)
    assert "no step is complete" in failed(call("ckpt", "latest", "--complete", model), 3)
    line = failed(call("ckpt", "latest", model), 3)
    assert line.endswith(", or take the newest complete step with --complete")


def test_latest_that_is_verified(tmp_path: Path) -> None:
    model = save_steps(tmp_path, 1, 2, 3)
    assert call("ckpt", "latest", "--verified", model) == (0, "3\n", "")
    flip(model / "model.ckpt-3.assets/user_0-00000-of-00002", 40)
    assert call("ckpt", "latest", "--complete", model) == (0, "3\n", "")
    assert call("ckpt", "latest", "--verified", "--jobs", 1, model) == (0, "2\n", "")
    for step in (1, 2):
        flip(model / f"model.ckpt-{step}.assets/user_0-00000-of-00002", 40)
    line = failed(call("ckpt", "latest", "--verified", model), 3)
    assert line == (
        f"Error: {model}: no complete step without an error;"
        " 'monolith ckpt fsck' says what is wrong"
    )


def test_latest_that_is_verified_where_checkpoint_is_damaged(tmp_path: Path) -> None:
    """The number is of use to whoever restores the file; the code says that it takes somebody."""
    model = save_steps(tmp_path, 1, 2, 3)
    flip(model / "model.ckpt-3.assets/user_0-00000-of-00002", 40)
    (model / "checkpoint").write_text("x")
    failed(call("ckpt", "latest", model), 4)
    failed(call("ckpt", "latest", "--complete", model), 4)
    done = call("ckpt", "latest", "--verified", "--json", model)
    assert (done.code, done.document["step"], done.error["kind"]) == (4, 2, "bad_state_file")
    for step in (1, 2):
        flip(model / f"model.ckpt-{step}.assets/user_0-00000-of-00002", 40)
    assert "/checkpoint: " in failed(call("ckpt", "latest", "--verified", model), 4)


@pytest.mark.parametrize("options", [("--complete", "--verified"), ("--max-age", "7d")])
def test_latest_refuses_what_makes_no_sense(model: Path, options: tuple[str, ...]) -> None:
    failed(call("ckpt", "latest", *options, model), 2)


def test_a_check_record_counts_while_it_fits(tmp_path: Path) -> None:
    model = save_steps(tmp_path, 1, 2, manifest=True)
    check(model, 2, CheckOptions(record=True))
    path = model / "model.ckpt-2.assets/user_0-00000-of-00002"
    times = path.stat()
    flip(path, 40)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # a disk does not tell
    steps = call("ckpt", "ls", "--json", model).document["steps"]
    assert steps[0]["checked_seconds_ago"] is None
    assert 0 <= steps[1]["checked_seconds_ago"] < 60
    assert call("ckpt", "ls", model).out.splitlines()[2].endswith("latest checked")
    assert call("ckpt", "latest", "--verified", model).out == "2\n"
    assert call("ckpt", "latest", "--verified", "--max-age", "1ms", model).out == "1\n"
    path.touch()
    assert call("ckpt", "ls", "--json", model).document["steps"][1]["checked_seconds_ago"] is None
    assert call("ckpt", "latest", "--verified", model).out == "1\n"


def test_wait(model: Path) -> None:
    assert call("ckpt", "wait", "--step", 30, model) == (0, "30\n", "")
    assert call("ckpt", "wait", "--newer-than", 20, "--complete", model) == (0, "40\n", "")
    line = failed(call("ckpt", "wait", "--step", 30, "--complete", "--timeout", 0, model), 6)
    assert line == (
        f"Error: {model}/checkpoint: step 30 is not complete in time: the newest is step 40"
    )


@pytest.mark.parametrize("options", [(), ("--step", 1, "--newer-than", 1)])
def test_wait_is_told_for_what(model: Path, options: tuple[object, ...]) -> None:
    line = failed(call("ckpt", "wait", *options, model), 2)
    assert "give one of --step and --newer-than" in line


def test_wait_ends_when_it_is_interrupted(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    words = [str(MONOLITH), "ckpt", "wait", "--step", "2", "--verbose", str(tmp_path)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Error: interrupted\n")


# --- history --------------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Three steps were counted, and the last is left."""
    directory = save_steps(tmp_path / "counted", 30)
    for step, slots in ((10, {1: 50, 2: 8}), (20, {1: 100, 2: 8}), (30, {1: 90, 3: 8})):
        write_ckpt_info(directory / f"ckpt.info-{step}", CkptInfo(slots, {}))
        os.utime(directory / f"ckpt.info-{step}", (START + step, START + step))
    return directory


def test_history(counted: Path) -> None:
    done = call("ckpt", "history", counted)
    assert done == (
        0,
        f"""\
{counted}
3 counts, of steps 10 to 30

     entries  last change  since the first
all       98        -9.3%           +69.0%  ▅██

slot  entries  last change  since the first
   1       90       -10.0%           +80.0%  ▅██
   3        8          new              new  ▁▁█
   2        0      -100.0%          -100.0%  ██▁
""",
        "",
    )
    assert call("ckpt", "history", "--top", 1, counted).out.endswith("▅██\n… 2 more slots\n")
    assert "slot" in call("ckpt", "history", "--slot", "3", counted).out
    assert len(call("ckpt", "history", "--slot", "3", counted).out.splitlines()) == 8


def test_history_as_json(counted: Path) -> None:
    document = call("ckpt", "history", "--json", counted).document
    assert document["steps"][0] == {
        "step": 10,
        "time": step_support.time_of(10),
        "entries": 58,
        "slot_counts": {"1": 50, "2": 8},
        "feature_counts": {},
    }
    assert [step["step"] for step in document["steps"]] == [10, 20, 30]
    assert document["conditions"] == []


def test_history_fails_if(counted: Path) -> None:
    done = call("ckpt", "history", "--fail-if", "change(slot[*].entries) gt 20%", counted)
    assert done.code == 1
    assert done.out.splitlines()[-2:] == [
        "change(slot[*].entries) gt 20%: holds of 1",
        "  slot[3].entries: 8 after 0, new",
    ]
    assert done.err == (
        "Error: change(slot[*].entries) gt 20% holds of slot[3].entries: 8 after 0, new\n"
    )
    done = call("ckpt", "history", "--fail-if", "entries lt 98", counted)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\nentries lt 98: does not hold\n")


def test_history_shows_what_conditions_are_about(counted: Path) -> None:
    """The file of a step that is no more is not taken for the latest, newest though it is."""
    write_ckpt_info(counted / "ckpt.info-99", CkptInfo({1: 7}, {}))
    done = call("ckpt", "history", "--fail-if", "entries lt 10", counted)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[1:5] == [
        "3 counts, of steps 10 to 30",
        "not shown: 1 count of step 99, which 'checkpoint' has behind step 30 or not at all",
        "",
        "     entries  last change  since the first",
    ]
    assert lines[-2:] == [
        "of step 30, and what changed since step 20:",
        "entries lt 10: does not hold",
    ]
    document = call("ckpt", "history", "--json", counted).document
    assert [step["step"] for step in document["steps"]] == [10, 20, 30, 99]
    assert document["latest"] == 30
    (counted / "ckpt.info-30").unlink()
    said = "step 30, the latest, was not counted: the last is 20"
    assert said in call("ckpt", "history", counted).out.splitlines()


def test_history_fails_with_3_where_something_is_not_known(counted: Path) -> None:
    conditions = ("--fail-if", "nan gt 0", "--fail-if", "entries eq 98")
    done = call("ckpt", "history", "--json", *conditions, counted)
    assert (done.code, done.error["kind"]) == (3, "not_measured")
    assert "Warning: entries eq 98 holds of entries: 98" in done.err
    assert [each["holds"] for each in done.document["conditions"]] == [None, True]
    assert call("ckpt", "history", "--fail-if", "nans gt 0", counted).code == 2


def test_history_of_a_damaged_count(counted: Path) -> None:
    (counted / "ckpt.info-20").write_text("slot_counts {")
    done = call("ckpt", "history", "--json", "--fail-if", "entries eq 98", counted)
    assert (done.code, done.error["kind"]) == (4, "bad_state_file")
    assert [step["step"] for step in done.document["steps"]] == [10, 30]


def test_history_without_counts(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    done = call("ckpt", "history", "--fail-if", "entries eq 0", tmp_path)
    assert (done.code, done.err) == (
        3,
        "Error: no step was counted: there is no ckpt.info; 'monolith ckpt-info' counts it\n",
    )
    assert call("ckpt", "history", tmp_path) == (0, f"{tmp_path}\nno step was counted\n", "")


def test_a_sample_that_grows(tmp_path: Path) -> None:
    write_sample(tmp_path / "m", entries=500, steps=3, drift=True)
    out = call("ckpt", "ls", tmp_path / "m").out
    assert [line.split()[2] for line in out.splitlines()[1:4]] == ["complete"] * 3
    assert "3 counts" in call("ckpt", "history", "--merge-servers", tmp_path / "m").out
