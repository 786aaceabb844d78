"""`monolith job` on jobs of both kinds, over the port and by a file."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, failed
from dump_support import write_model_dir
from fake_jobs import OriginalJob, OurJob, Refusal, serving, write_address

pytestmark = pytest.mark.usefixtures("ann")

STATUS_KEYS = [
    "address",
    "model_dir",
    "run_id",
    "global_step",
    "last_saved_step",
    "saving",
    "workers",
    "placed",
]
LOG_KEYS = ["time", "method", "owner", "peer", "reason", "result", "holder"]


# --- status ---------------------------------------------------------------------------------


def test_status(job: OurJob) -> None:
    document = call("job", "status", "--json", job.model_dir).document
    assert list(document) == STATUS_KEYS
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", document.pop("address"))
    assert document == {
        "model_dir": job.model_dir,
        "run_id": "run-1",
        "global_step": 120,
        "last_saved_step": 100,
        "saving": False,
        "workers": 3,
        "placed": False,
    }
    out = call("job", "status", job.model_dir).out
    assert [line.split(maxsplit=1)[0] for line in out.splitlines()] == [
        "job",
        "run",
        "global",
        "last",
        "workers",
        "barrier",
    ]


def test_status_of_an_original_job(original: OriginalJob) -> None:
    document = call("job", "status", "--json", original.model_dir).document
    assert list(document) == STATUS_KEYS
    del document["address"]
    assert document == {
        "model_dir": None,
        "run_id": None,
        "global_step": 120,
        "last_saved_step": None,
        "saving": None,
        "workers": 3,
        "placed": False,
    }


# --- save and stop over the port ------------------------------------------------------------


def test_save(job: OurJob) -> None:
    done = call("job", "save", job.model_dir, "--reason", "before the upgrade", "--timeout", "90s")
    assert done == (0, f"120\t{job.model_dir}/model.ckpt-120\n", "")
    asked = job["SaveNow"]
    assert (asked.require_all, asked.reason, asked.owner) == (
        False,
        "before the upgrade",
        "ann@box",
    )
    given = job.timeouts[job.calls.index("SaveNow")]
    assert given is not None
    assert 80 < given < 91


def test_save_as_json(job: OurJob) -> None:
    job.saved |= {"finished_workers": [0, 1], "unfinished_workers": [2, 3]}
    done = call("job", "save", job.model_dir, "--json")
    assert list(done.document.items()) == [
        ("step", 120),
        ("path", f"{job.model_dir}/model.ckpt-120"),
        ("finished_workers", [0, 1]),
        ("unfinished_workers", [2, 3]),
    ]
    assert (
        done.err
        == "Warning: the inputs of workers 2, 3 were not saved with it: it has older ones\n"
    )


def test_save_that_requires_all(job: OurJob) -> None:
    job.raises["SaveNow"] = Refusal("FAILED_PRECONDITION", "workers 2, 3 have not finished")
    line = failed(call("job", "save", "--require-all", job.model_dir), 5)
    assert "workers 2, 3 have not finished" in line
    assert job["SaveNow"].require_all


def test_save_that_takes_too_long(job: OurJob) -> None:
    job.hangs.add("SaveNow")
    line = failed(call("job", "save", "--timeout", "300ms", job.model_dir), 6)
    assert line.endswith(
        "not saved in 0.3 s; the save may still be done; see 'monolith job status'"
    )


def test_stop_that_is_not_answered(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monolith_cli.control.client.ANSWER_SECONDS", 0.5)
    job.hangs.add("StopJob")
    done = call("job", "stop", "--json", job.model_dir)
    assert (done.code, done.error["kind"]) == (6, "may_be_done")
    assert done.error["message"].endswith("it may still do it; see 'monolith job status'")


def test_via_file_is_advised_where_there_is_one(tmp_path: Path) -> None:
    assert "--via" not in failed(call("job", "status", tmp_path), 5)
    for command in ("save", "stop"):
        line = failed(call("job", command, tmp_path), 5)
        assert line.endswith("give --address, or ask with --via file")
    write_address(tmp_path, "127.0.0.1:1")
    assert "--via" not in failed(call("job", "status", tmp_path), 5)
    line = failed(call("job", "save", tmp_path), 5)
    assert line.endswith("--via file asks a job that runs on another host")


def test_save_that_fails(job: OurJob) -> None:
    job.raises["SaveNow"] = Refusal("ABORTED", "monolith: disk full")
    assert "SaveNow has failed in the job: disk full" in failed(
        call("job", "save", job.model_dir), 5
    )
    job.raises["SaveNow"] = Refusal("RESOURCE_EXHAUSTED", "4 saves are waited for already")
    assert "4 saves are waited for already; try again" in failed(
        call("job", "save", job.model_dir), 5
    )


def test_save_of_an_original_job(tmp_path: Path) -> None:
    write_model_dir(tmp_path, step=500)
    job = OriginalJob(tmp_path)
    with serving(job) as address:
        done = call("job", "save", tmp_path)
        assert done == (0, f"500\t{tmp_path}/model.ckpt-500\n", "")
        done = call("job", "save", tmp_path, "--json")
        assert (done.document["finished_workers"], done.document["unfinished_workers"]) == (
            None,
            None,
        )
        done = call("job", "save", "--address", address)
        assert done == (0, "", "Note: saved; the job does not say which step\n")
        assert job.changes == ["SaveCheckpoint"] * 3
        failed(call("job", "save", tmp_path, "--require-all"), 5)
        line = failed(call("job", "stop", tmp_path), 5)
        assert "--via file" in line
        assert job.changes == ["SaveCheckpoint"] * 3


class SavingJob(OriginalJob):
    """An original job whose commit is seen some time after its answer, as on a network's disk."""

    def __init__(self, model_dir: Path, step: int, delay_seconds: float = 0.5) -> None:
        super().__init__(model_dir)
        self.step = step
        self.delay_seconds = delay_seconds

    def SaveCheckpoint(self, asked: Any) -> Any:
        act = functools.partial(commit, Path(self.model_dir), self.step)
        threading.Timer(self.delay_seconds, act).start()


def test_first_save_of_an_original_job(tmp_path: Path) -> None:
    with serving(SavingJob(tmp_path, step=7)) as address:
        assert call("job", "save", tmp_path) == (0, f"7\t{tmp_path}/model.ckpt-7\n", "")
        done = call("job", "save", tmp_path / "none", "--address", address)
        assert "no such directory" in failed(done, 3)


def test_a_first_save_that_does_not_come(original: OriginalJob) -> None:
    """The original answers as usual though the save has failed."""
    line = failed(call("job", "save", "--timeout", "700ms", original.model_dir), 6)
    assert line == (
        f"Error: {original.model_dir}: no newer checkpoint after 0.7 s; it may still come, unless"
        " the save has failed in the job"
    )


def test_a_save_of_an_original_job_that_has_failed_there(tmp_path: Path) -> None:
    write_model_dir(tmp_path, step=100)  # and the job is at step 120
    with serving(OriginalJob(tmp_path)):
        line = failed(call("job", "save", "--timeout", "700ms", tmp_path), 6)
    assert "no newer checkpoint than step 100 after 0.7 s" in line


def test_a_save_of_an_original_job_that_has_started_over(tmp_path: Path) -> None:
    write_model_dir(tmp_path, step=500)
    job = SavingJob(tmp_path, step=130, delay_seconds=0)
    job.global_step = 600
    with serving(job):
        assert call("job", "save", tmp_path).out == f"130\t{tmp_path}/model.ckpt-130\n"


def test_the_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    model.mkdir()
    monkeypatch.chdir(tmp_path)
    with serving(SavingJob(model, step=7)):
        assert call("job", "save", "model").out == f"7\t{model}/model.ckpt-7\n"
    with FileJob(model, saving(model, 8)):
        assert call("job", "save", "--via", "file", "model").out == f"8\t{model}/model.ckpt-8\n"


def test_stop(job: OurJob) -> None:
    assert call("job", "stop", job.model_dir, "--reason", "new hardware") == (0, "", "")
    assert (job["StopJob"].reason, job["StopJob"].owner) == ("new hardware", "ann@box")


def test_stop_as_json(job: OurJob) -> None:
    document = call("job", "stop", "--json", job.model_dir).document
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", document["address"])
    assert list(document.items()) == [
        ("via", "port"),
        ("address", document["address"]),
        ("run_id", "run-1"),
        ("global_step", 120),
    ]
    job.raises["StopJob"] = Refusal("UNAUTHENTICATED", "no token")
    done = call("job", "stop", "--json", job.model_dir)
    assert (done.code, done.out, done.error["kind"]) == (5, "", "refused")


def test_changes_need_the_token(job: OurJob) -> None:
    Path(job.model_dir, "controller_token").write_text("old")
    for command in ("save", "stop"):
        assert "not that of this run" in failed(call("job", command, job.model_dir), 5)
    assert call("job", "status", job.model_dir).code == 0


# --- by a file ------------------------------------------------------------------------------


class FileJob(threading.Thread):
    """A job that looks for the file, and answers it once as it was told to."""

    def __init__(self, model_dir: Path, answer: Callable[[Path, Path], Any]) -> None:
        super().__init__()
        self.request = model_dir / "monolith_action"
        self.response = model_dir / "monolith_action_response"
        self.answer = answer
        self.seen = ""

    def __enter__(self) -> FileJob:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.join()

    def run(self) -> None:
        deadline = time.monotonic() + 10
        while not self.request.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.seen = self.request.read_text()
        self.answer(self.request, self.response)


def commit(model: Path, step: int) -> None:
    """Write a checkpoint; the file that names it comes last, and at once."""
    made = model.with_name(f"{model.name}-{step}")
    write_model_dir(made, step=step)
    state = made / "checkpoint"
    state.write_text(state.read_text().replace(str(made), str(model)))
    for path in sorted(made.iterdir(), key=lambda path: path == state):
        if path == state or not (model / path.name).exists():
            path.rename(model / path.name)


def saving(model: Path, step: int, delay_seconds: float = 0) -> Callable[[Path, Path], Any]:
    def save(request: Path, response: Path) -> None:
        answering("OK")(request, response)
        time.sleep(delay_seconds)
        commit(model, step)

    return save


def answering(text: str) -> Callable[[Path, Path], Any]:
    def answer(request: Path, response: Path) -> None:
        response.write_text(text)
        request.unlink()

    return answer


def test_stop_by_file(tmp_path: Path) -> None:
    with FileJob(tmp_path, answering("OK")) as job:
        assert call("job", "stop", "--via", "file", tmp_path) == (0, "", "")
    assert job.seen.split() == ["action:", "STOP"]


def test_stop_by_file_as_json(tmp_path: Path) -> None:
    with FileJob(tmp_path, answering("OK")):
        done = call("job", "stop", "--via", "file", "--json", tmp_path)
    assert list(done.document.items()) == [
        ("via", "file"),
        ("address", None),
        ("run_id", None),
        ("global_step", None),
    ]


def test_an_action_that_the_job_does_not_know(tmp_path: Path) -> None:
    with FileJob(tmp_path, answering("Unknown action 2")):
        line = failed(call("job", "stop", "--via", "file", tmp_path), 5)
    assert "the job has answered: Unknown action 2" in line


def test_an_answer_that_is_written_after_the_request_is_gone(tmp_path: Path) -> None:
    def slowly(request: Path, response: Path) -> None:
        request.unlink()
        time.sleep(0.4)
        with response.open("w") as file:  # not at once either
            time.sleep(0.2)
            file.write("Unknown action 2")

    (tmp_path / "monolith_action_response").write_text("OK")
    with FileJob(tmp_path, slowly):
        line = failed(call("job", "stop", "--via", "file", tmp_path), 5)
    assert "Unknown action 2" in line


@pytest.mark.parametrize(("old", "code"), [("OK", 0), ("Unknown action 2", 5)])
def test_an_answer_equal_to_an_old_one_is_not_written_again(
    tmp_path: Path, old: str, code: int
) -> None:
    (tmp_path / "monolith_action_response").write_text(old)
    with FileJob(tmp_path, lambda request, response: request.unlink()):
        assert call("job", "stop", "--via", "file", tmp_path).code == code


def test_an_old_answer_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "monolith_action_response").write_text("OK")
    line = failed(call("job", "stop", "--via", "file", "--timeout", "300ms", tmp_path), 6)
    assert "no job has answered in 0.3 s" in line
    assert not (tmp_path / "monolith_action").exists()


def test_a_request_that_is_answered_and_left_there(tmp_path: Path) -> None:
    with FileJob(tmp_path, lambda request, response: response.write_text("OK")):
        assert call("job", "stop", "--via", "file", tmp_path).code == 0
    assert not (tmp_path / "monolith_action").exists()


def test_somebody_elses_request(tmp_path: Path) -> None:
    (tmp_path / "monolith_action").write_text("action: STOP\n")
    line = failed(call("job", "save", "--via", "file", tmp_path), 5)
    assert "somebody else's request is there" in line
    assert (tmp_path / "monolith_action").read_text() == "action: STOP\n"
    assert os.listdir(tmp_path) == ["monolith_action"]


def test_a_request_that_comes_instead_of_ours_stays(tmp_path: Path) -> None:
    def replace(request: Path, response: Path) -> None:
        other = request.with_name("other")
        other.write_text("action: TRIGGER_SAVE\n")
        other.rename(request)

    with FileJob(tmp_path, replace):
        call("job", "stop", "--via", "file", "--timeout", "500ms", tmp_path)
    assert (tmp_path / "monolith_action").read_text() == "action: TRIGGER_SAVE\n"


def test_save_by_file_waits_for_a_newer_step(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model_dir(model, step=100)
    with FileJob(model, saving(model, 200, 0.5)) as job:
        done = call("job", "save", "--via", "file", "--json", model)
    assert job.seen.split() == ["action:", "TRIGGER_SAVE"]
    assert done.document == {
        "step": 200,
        "path": f"{model}/model.ckpt-200",
        "finished_workers": None,
        "unfinished_workers": None,
    }


def test_save_by_file_when_nothing_newer_comes(tmp_path: Path) -> None:
    write_model_dir(tmp_path, step=100)
    with FileJob(tmp_path, answering("OK")):
        line = failed(call("job", "save", "--via", "file", "--timeout", "700ms", tmp_path), 6)
    assert "no newer checkpoint than step 100 after 0.7 s" in line


def test_first_save_by_file(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    with FileJob(model, saving(model, 7)):
        assert call("job", "save", "--via", "file", model).out == f"7\t{model}/model.ckpt-7\n"


@pytest.mark.parametrize("step", [100, 40])
def test_save_by_file_without_a_higher_step(tmp_path: Path, step: int) -> None:
    """Of a job that has made no step since, or that has started over."""
    write_model_dir(tmp_path, step=100)
    with FileJob(tmp_path, saving(tmp_path, step)):
        done = call("job", "save", "--via", "file", "--timeout", "5s", tmp_path)
    assert done.out == f"{step}\t{tmp_path}/model.ckpt-{step}\n"


def test_usage_of_via_file(tmp_path: Path) -> None:
    done = call("job", "save", "--via", "file", "--address", "localhost:1")
    assert "--via file needs MODEL_DIR" in failed(done, 2)
    done = call("job", "save", "--via", "file", "--require-all", tmp_path)
    assert "--require-all" in failed(done, 2)
    done = call("job", "stop", "--via", "file", tmp_path / "none")
    assert "no such directory" in failed(done, 3)


# --- log ------------------------------------------------------------------------------------

LINES = [
    '{"time": "2026-01-02T03:04:05.000+00:00", "method": "PlaceBarrier", "owner": "ann@box",'
    ' "peer": "ipv4:127.0.0.1:5", "reason": "slot 7", "result": "done"}',
    '{"time": "2026-01-02T03:04:06.000+00:00", "method": "StopTrai',
    "[1, 2]",
    '{"time": "2026-01-02T03:04:07.000+00:00", "method": "ResumeTraining", "owner": null,'
    ' "peer": "ipv4:127.0.0.1:6", "reason": null, "result": "a wrong token"}',
    '{"time": "2026-01-02T03:05:07.000+00:00", "method": null, "owner": null,'
    ' "peer": "ipv4:127.0.0.1", "reason": null, "result": "7 more calls refused within a minute"}',
    '{"time": "2026-01-02T03:06:07.000+00:00", "method": "ExpireBarrier", "owner": "ann@box",'
    ' "peer": null, "reason": "slot 7", "result": "its time-to-live is over"}',
    '{"time": "2026-01-02T03:07:07.000+00:00", "method": "STOP", "owner": null,'
    ' "peer": "file", "reason": null, "result": "OK"}',
]
FORCED = (
    '{"time": "2026-01-02T03:08:07.000+00:00", "method": "RemoveBarrier", "owner": "bob@box",'
    ' "peer": "ipv4:127.0.0.1:7", "reason": "by mistake", "result": "done", "holder": "ann@box"}'
)
SHOWN = [
    "2026-01-02T03:04:05.000+00:00  ann@box, ipv4:127.0.0.1:5  PlaceBarrier: slot 7  (done)\n",
    "2026-01-02T03:04:07.000+00:00  ipv4:127.0.0.1:6  ResumeTraining  (a wrong token)\n",
    "2026-01-02T03:05:07.000+00:00  ipv4:127.0.0.1  (7 more calls refused within a minute)\n",
    "2026-01-02T03:06:07.000+00:00  ann@box  ExpireBarrier: slot 7  (its time-to-live is over)\n",
    "2026-01-02T03:07:07.000+00:00  file  STOP  (OK)\n",
]


def test_log(tmp_path: Path) -> None:
    (tmp_path / "control.log").write_text("\n".join(LINES) + "\n")
    assert call("job", "log", tmp_path) == (0, "".join(SHOWN), "")
    assert call("job", "log", "-n", "0", tmp_path).out == "".join(SHOWN)
    # The last, and the last of those that were refused.
    assert call("job", "log", "-n", "1", tmp_path).out == SHOWN[2] + SHOWN[4]
    lines = call("job", "log", "-n2", "--json", tmp_path).out.splitlines()
    documents = [json.loads(line) for line in lines]
    assert [list(document) for document in documents] == [LOG_KEYS] * 4
    assert [document["peer"] for document in documents] == [
        "ipv4:127.0.0.1:6",
        "ipv4:127.0.0.1",
        None,
        "file",
    ]


def test_log_of_a_removal_by_force(tmp_path: Path) -> None:
    (tmp_path / "control.log").write_text(FORCED + "\n")
    assert call("job", "log", tmp_path).out == (
        "2026-01-02T03:08:07.000+00:00  bob@box, ipv4:127.0.0.1:7  RemoveBarrier of what ann@box"
        " placed: by mistake  (done)\n"
    )
    assert call("job", "log", "--json", tmp_path).document["holder"] == "ann@box"


def test_log_that_others_write_into(tmp_path: Path) -> None:
    (tmp_path / "control.log").write_bytes(b'{"method": "\\u001b[31m"}\n\xff\xfe\n{"owner": 3}\n')
    done = call("job", "log", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) == 2
    assert call("job", "log", "--json", "-n1", tmp_path).document == dict.fromkeys(LOG_KEYS) | {
        "owner": 3
    }


def test_no_log(tmp_path: Path) -> None:
    assert "nobody has asked" in failed(call("job", "log", tmp_path), 3)
    assert failed(call("job", "log", tmp_path / "none"), 3) == f"Error: {tmp_path}/none: not there"
