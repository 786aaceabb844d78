"""`monolith barrier` on jobs of both kinds."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import MONOLITH, Done, call, environment, failed, monolith
from fake_jobs import OriginalJob, OurJob, Refusal

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("ann")

STATUS_KEYS = [
    "placed",
    "action",
    "reason",
    "owner",
    "placed_seconds_ago",
    "expires_in_seconds",
    "blocked",
    "unblocked",
    "global_step",
    "address",
]


# --- place ----------------------------------------------------------------------------------


def test_place(job: OurJob) -> None:
    done = call("barrier", "place", job.model_dir, "--reason", "slot 7", "--ttl", "1h")
    assert (done.code, done.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines() if "not " not in line)
    assert lines["barrier"] == "placed"
    assert lines["by"] == "ann@box"
    assert lines["reason"] == "slot 7"
    assert lines["ends"].split() == ["in", "1", "h"]
    assert lines["blocked"] == "1, 2, 3"
    asked = job["PlaceBarrier"]
    assert (asked.owner, asked.reason, asked.ttl_ms) == ("ann@box", "slot 7", 3_600_000)


def test_place_ends_by_itself_in_ten_minutes_if_nothing_is_said(job: OurJob) -> None:
    assert call("barrier", "place", job.model_dir).code == 0
    assert job["PlaceBarrier"].ttl_ms == 600_000


def test_place_for_ever(job: OurJob) -> None:
    done = call("barrier", "place", job.model_dir, "--ttl", "0", "--json")
    assert done.document["expires_in_seconds"] is None
    assert job["PlaceBarrier"].ttl_ms == 0
    assert "stays until it is removed" in call("barrier", "status", job.model_dir).out


def test_who_is_second_is_told_who_was_first(job: OurJob) -> None:
    job.place("bob@box", "", 0)
    job.placed_at -= 42
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert "placed by bob@box 42 s ago" in line


def test_place_and_wait(job: OurJob) -> None:
    job.late = {2}
    threading.Timer(0.5, job.late.clear).start()
    done = call("barrier", "place", job.model_dir, "--wait", "--json")
    assert done.document["blocked"] == [1, 2, 3]


def test_place_and_wait_for_one_who_does_not_come(job: OurJob) -> None:
    job.late = {2, 3}
    line = failed(call("barrier", "place", job.model_dir, "--wait", "--timeout", "300ms"), 6)
    remove = f"monolith barrier remove {job.model_dir}"
    told = f"the barrier was placed, and ends within 10 min, or with '{remove}'"
    assert line.endswith(f"workers 2, 3 are not blocked after 0.3 s; {told}")
    assert job.placed


def test_how_a_barrier_ends_that_was_not_waited_for(job: OurJob) -> None:
    job.late = {2}
    place = ["barrier", "place", "--wait", "--timeout", "100ms", "--owner", "bob the 2nd"]
    line = failed(call(*place, "--ttl=0", job.model_dir), 6)
    remove = f"monolith barrier remove {job.model_dir} --owner 'bob the 2nd'"
    assert line.endswith(f"and stays until '{remove}'")
    job.placed = False
    line = failed(call(*place, "--ttl=50ms", job.model_dir), 5)
    assert "removed meanwhile, or its time was over" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_place_that_is_interrupted(job: OurJob, number: int, code: int) -> None:
    """The barrier stays: that is said, and how it ends."""
    job.late = {2}
    command = [MONOLITH, "barrier", "place", "--wait", "--json", job.model_dir]
    for method in ("GetInfo", "PlaceBarrier"):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(MONOLITH_OWNER="ann@box"),
        )
        if method == "PlaceBarrier":
            job.hangs.add(method)
        while job.calls[-2:] != ["GetInfo", method]:  # it waits, or places
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (code, "")
        done = Done(code, out, err)
        word = {130: "interrupted", 143: "terminated"}[code]
        assert (done.error["code"], done.error["kind"]) == (code, word)
        if method == "GetInfo":
            assert done.error["message"].startswith(f"{word}; the barrier was placed, and ends wit")
            assert job.placed
            job.placed = False
        else:
            what = f"may be placed: see 'monolith barrier status {job.model_dir}'"
            assert done.error["message"] == f"{word}; the barrier {what}"
        job.calls.clear()


def test_a_barrier_that_is_removed_while_it_is_waited_for(job: OurJob) -> None:
    job.late = {1}
    threading.Timer(0.3, setattr, (job, "placed", False)).start()
    line = failed(call("barrier", "place", job.model_dir, "--wait"), 5)
    assert "removed meanwhile" in line


# --- remove ---------------------------------------------------------------------------------


def test_remove_ones_own(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    done = call("barrier", "remove", job.model_dir, "--reason", "done")
    assert done == (0, "", "")
    assert job["RemoveBarrier"].reason == "done"
    assert not job["RemoveBarrier"].force
    assert not job.placed


@pytest.mark.parametrize("owner", ["bob@box", ""])
def test_remove_somebody_elses_by_force_only(job: OurJob, owner: str) -> None:
    job.place(owner, "", 0)
    line = failed(call("barrier", "remove", job.model_dir), 5)
    assert f"placed by {owner or 'nobody known'}" in line
    assert "--force removes it" in line
    assert job.placed
    assert call("barrier", "remove", job.model_dir, "--force") == (0, "", "")
    assert not job.placed


def test_force_is_advised_only_where_it_helps(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    for code, what in (
        ("PERMISSION_DENIED", "this job has no token, and so takes no orders: none is secret"),
        ("ABORTED", "monolith: the session is closed"),
        ("INTERNAL", "out of luck"),
    ):
        job.raises["RemoveBarrier"] = Refusal(code, what)
        line = failed(call("barrier", "remove", job.model_dir), 5)
        assert what.removeprefix("monolith: ") in line
        assert "--force" not in line


def test_remove_without_place(job: OurJob) -> None:
    done = call("barrier", "remove", job.model_dir)
    assert done == (0, "", "Note: no barrier is placed\n")
    assert call("barrier", "remove", job.model_dir, "--quiet") == (0, "", "")
    assert job.changes == []


def test_a_barrier_that_ends_just_before_it_is_removed(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    job.raises["RemoveBarrier"] = Refusal("NOT_FOUND", "gone")
    assert call("barrier", "remove", job.model_dir).code == 0


def test_remove_as_json(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    document = call("barrier", "remove", "--json", job.model_dir).document
    assert list(document) == STATUS_KEYS
    assert (document["placed"], document["unblocked"]) == (False, [1, 2, 3])
    done = call("barrier", "remove", "--json", job.model_dir)
    assert done.document["placed"] is False
    assert done.err == "Note: no barrier is placed\n"
    job.place("bob@box", "", 0)
    done = call("barrier", "remove", "--json", job.model_dir)
    assert (done.code, done.out, done.error["kind"]) == (5, "", "refused")


def test_remove_when_the_job_is_not_there_to_be_looked_at(
    job: OurJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(asked: Any) -> None:
        job.raises["GetInfo"] = Refusal("UNAVAILABLE", "gone away")

    job.place("ann@box", "", 0)
    monkeypatch.setattr(job, "RemoveBarrier", remove)
    done = call("barrier", "remove", "--json", job.model_dir)
    assert (done.code, done.out) == (5, "")
    assert done.error["message"].endswith("; the barrier is removed")


# --- owner ----------------------------------------------------------------------------------


def test_whose_it_is(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def owner_of(*args: str) -> str:
        job.placed = False
        assert call("barrier", "place", job.model_dir, *args).code == 0
        return str(job["PlaceBarrier"].owner)

    assert owner_of() == "ann@box"
    monkeypatch.setenv("MONOLITH_BARRIER_PLACE_OWNER", "night-shift")
    assert owner_of() == "night-shift"
    monkeypatch.delenv("MONOLITH_OWNER")
    assert owner_of() == "night-shift"
    assert owner_of("--owner", "carl") == "carl"
    monkeypatch.delenv("MONOLITH_BARRIER_PLACE_OWNER")
    assert re.fullmatch(r".+@" + re.escape(socket.gethostname()), owner_of())


def test_an_owner_without_a_name(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would pass for an original client, whose barrier is anybody's."""
    line = failed(call("barrier", "place", job.model_dir, "--owner", ""), 2)
    assert "'--owner': it is empty;" in line
    monkeypatch.setenv("MONOLITH_OWNER", "")
    monkeypatch.setenv("MONOLITH_BARRIER_PLACE_OWNER", "")
    assert call("barrier", "place", job.model_dir).code == 0
    assert re.fullmatch(r".+@" + re.escape(socket.gethostname()), job["PlaceBarrier"].owner)


def test_the_longest_owner_and_reason_are_told(job: OurJob) -> None:
    """In the refusal that others get, which goes over the wire in a header, escaped."""
    longest = ["--owner", "\U0001f680" * 100, "--reason", "\U0001f680" * 500]
    assert call("barrier", "place", job.model_dir, *longest).code == 0
    assert "placed by \U0001f680" in failed(call("barrier", "place", job.model_dir), 5)
    for option, most in (("--owner", 100), ("--reason", 500)):
        line = failed(call("barrier", "place", job.model_dir, option, "x" * (most + 1)), 2)
        assert f"Invalid value for {option!r}" in line
        assert f"it has {most + 1} characters, and may have {most};" in line


def test_a_reason_that_is_no_text(job: OurJob) -> None:
    line = failed(call("barrier", "place", job.model_dir, "--reason", "caf\udce9"), 2)
    assert "'--reason': it has bytes that are not UTF-8" in line
    assert job.calls == []


@pytest.mark.parametrize(
    "command", [["barrier", x] for x in ("place", "remove", "hold")] + [["job", "save"]]
)
def test_both_variables_of_the_owner_are_documented(command: list[str]) -> None:
    text = " ".join(call(*command, "--help").out.split())
    assert "MONOLITH_OWNER sets it for all commands." in text
    page = (ROOT / "man" / f"monolith-{'-'.join(command)}.1").read_text(encoding="utf-8")
    assert f"MONOLITH_{'_'.join(command).upper()}_OWNER, MONOLITH_OWNER" in page


# --- status and wait ------------------------------------------------------------------------


def test_status_as_json(job: OurJob) -> None:
    job.place("ann@box", "a look", 60_000)
    job.placed_at -= 5
    job.late = {3}
    document = call("barrier", "status", job.model_dir, "--json").document
    assert list(document) == STATUS_KEYS
    assert 5 <= document.pop("placed_seconds_ago") < 10
    assert 50 < document.pop("expires_in_seconds") <= 60
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", document.pop("address"))
    assert document == {
        "placed": True,
        "action": "",
        "reason": "a look",
        "owner": "ann@box",
        "blocked": [1, 2],
        "unblocked": [3],
        "global_step": 120,
    }


def test_status_of_a_job_that_trains(job: OurJob) -> None:
    done = call("barrier", "status", job.model_dir)
    assert done.out.splitlines() == [
        "barrier      not placed",
        "blocked      none",
        "not blocked  1, 2, 3",
        "global step  120",
    ]
    document = call("barrier", "status", job.model_dir, "--json").document
    assert document["placed_seconds_ago"] is None


def test_names_from_others_do_no_harm_to_a_terminal(job: OurJob) -> None:
    job.place("\x1b[31mbob", "two\nlines", 0)
    out = call("barrier", "status", job.model_dir).out
    assert "\x1b" not in out
    assert len([line for line in out.splitlines() if line.startswith("reason")]) == 1
    assert "lines" in next(line for line in out.splitlines() if line.startswith("reason"))
    assert "\x1b" not in failed(call("barrier", "place", job.model_dir), 5)


def test_wait(job: OurJob) -> None:
    assert call("barrier", "wait", "--removed", job.model_dir) == (0, "", "")
    job.place("bob@box", "a look", 0)
    assert call("barrier", "wait", "--blocked", job.model_dir) == (0, "", "")
    threading.Timer(0.4, setattr, (job, "placed", False)).start()
    assert call("barrier", "wait", "--removed", job.model_dir) == (0, "", "")


def test_wait_as_json(job: OurJob) -> None:
    job.place("bob@box", "a look", 0)
    document = call("barrier", "wait", "--blocked", "--json", job.model_dir).document
    assert list(document) == STATUS_KEYS
    assert (document["owner"], document["blocked"]) == ("bob@box", [1, 2, 3])
    done = call("barrier", "wait", "--removed", "--json", "--timeout=100ms", job.model_dir)
    assert (done.code, done.out, done.error["kind"]) == (6, "", "timed_out")


def test_wait_too_short(job: OurJob) -> None:
    short = "--timeout=200ms"
    line = failed(call("barrier", "wait", "--blocked", short, job.model_dir), 6)
    assert "no barrier is placed after 0.2 s" in line
    job.place("bob@box", "a look", 0)
    job.late = {2}
    line = failed(call("barrier", "wait", "--blocked", short, job.model_dir), 6)
    assert "worker 2 is not blocked after 0.2 s" in line
    line = failed(call("barrier", "wait", "--removed", short, job.model_dir), 6)
    what = r"the barrier that bob@box placed 0\.\d s ago \(reason: a look\) is still there"
    assert re.search(what + r" after 0\.2 s$", line)


def test_wait_for_what(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--blocked or --removed" in failed(call("barrier", "wait", job.model_dir), 2)
    done = call("barrier", "wait", "--blocked", "--removed", job.model_dir)
    assert "--blocked or --removed" in failed(done, 2)
    monkeypatch.setenv("MONOLITH_BARRIER_WAIT_BLOCKED", "1")
    failed(call("barrier", "wait", "--timeout=100ms", job.model_dir), 6)
    assert call("barrier", "wait", "--removed", job.model_dir).code == 0


# --- original jobs --------------------------------------------------------------------------


def test_an_original_job(original: OriginalJob) -> None:
    done = call("barrier", "place", original.model_dir, "--wait")
    assert done.code == 0
    assert done.err == (
        "Warning: an original job: nobody will see who placed the barrier and why, and it stays"
        " until it is removed\n"
    )
    assert original.placed
    document = call("barrier", "status", "--json", original.model_dir).document
    assert list(document) == STATUS_KEYS
    del document["address"]
    assert document == {
        "placed": True,
        "action": None,
        "reason": None,
        "owner": None,
        "placed_seconds_ago": None,
        "expires_in_seconds": None,
        "blocked": [1, 2, 3],
        "unblocked": [],
        "global_step": 120,
    }
    line = failed(call("barrier", "place", original.model_dir), 5)
    assert line.endswith("the barrier is placed already; an original job does not know by whom")
    assert call("barrier", "wait", "--blocked", original.model_dir).code == 0
    assert call("barrier", "remove", original.model_dir) == (0, "", "")
    assert not original.placed
    assert original.changes == ["StopTraining", "StopTraining", "ResumeTraining"]


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_time_to_live_that_nothing_would_end(
    original: OriginalJob, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = []
    if by == "option":
        args = ["--ttl", "10m"]
    else:
        monkeypatch.setenv("MONOLITH_BARRIER_PLACE_TTL", "10m")
    line = failed(call("barrier", "place", *args, original.model_dir), 5)
    assert "leave out --ttl" in line
    assert original.changes == []


def test_a_token_is_not_shown_to_an_original_job(
    original: OriginalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "secret")
    call("barrier", "status", original.model_dir)
    assert not [m for m in original.metadata if "authorization" in m]


# --- the command itself ---------------------------------------------------------------------


def test_a_closed_pipe(job: OurJob) -> None:
    pipe = '"$@" | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", pipe, "-", MONOLITH, "barrier", "status", job.model_dir],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_output_for_jq(job: OurJob) -> None:
    out = monolith("barrier", "status", "--json", job.model_dir).stdout
    assert out.count("\n") == 1
    assert json.loads(out)["unblocked"] == [1, 2, 3]
