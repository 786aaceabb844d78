"""What stays, and why; and what goes, name by name."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from prune_support import exempt, going, list_steps, make_old, plan, save_job, why
from step_support import remove_step, save_step, save_steps, time_of

from monolith_cli.care.rollback.plan import Plan
from monolith_cli.care.survey import survey
from monolith_cli.errors import (
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    UsageError,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_job(tmp_path / "model", 1, 2, 3, 4)


def test_the_latest_never_goes(model: Path) -> None:
    list_steps(model, 1, 2, 3, 4, latest=2)
    made = plan(model, every=3)
    assert why(made) == {
        1: ["no_policy"],
        2: ["latest"],
        3: ["every"],
        4: ["newest_complete"],
    }
    assert going(made) == [1]
    assert made.bytes == made.places[0].going[0].bytes > 0


def test_the_latest_may_be_named_alone(model: Path) -> None:
    """It stands at its place, and is the newest of nothing."""
    list_steps(model, 1, 3, 4, latest=2)
    made = plan(model, last=1)
    assert list(why(made).items()) == [
        (1, ["no_policy"]),
        (2, ["latest"]),
        (3, ["no_policy"]),
        (4, ["newest_complete", "last"]),
    ]
    assert [(fate.state, fate.is_listed) for fate in made.places[0].fates[:2]] == [
        ("complete", True),
        ("unlisted", False),
    ]


def test_what_of_a_step_goes(tmp_path: Path) -> None:
    """All of it, but its counts; the index comes first."""
    model = save_job(tmp_path, 1, 2, workers=(0, 1), manifest=True)
    for name in ("model.ckpt-1.meta", "ckpt.checked-1", "ckpt.repaired-1", "best.ckpt-1.index"):
        (model / name).touch()
    (model / "model.ckpt-1.index.tempstate12").touch()
    (gone,) = plan(model, last=1).places[0].going
    assert list(gone.names) == [
        "model.ckpt-1.index",
        "input_worker_0.ckpt-1.index",
        "input_worker_1.ckpt-1.index",
        "ckpt.checked-1",
        "ckpt.manifest-1",
        "ckpt.repaired-1",
        "input_worker_0.ckpt-1.data-00000-of-00001",
        "input_worker_1.ckpt-1.data-00000-of-00001",
        "model.ckpt-1.assets",
        "model.ckpt-1.data-00000-of-00001",
        "model.ckpt-1.index.tempstate12",
        "model.ckpt-1.meta",
        "ckpt.inputs-1",
    ]
    sizes = [
        each.stat().st_size
        for name in gone.names
        for each in ([model / name] if (model / name).is_file() else (model / name).iterdir())
    ]
    assert gone.bytes == sum(sizes)


def test_nothing_is_asked_for(model: Path) -> None:
    with pytest.raises(UsageError, match="no policy"):
        plan(model)
    for name in ("leftovers", "rolled_back"):
        with pytest.raises(UsageError, match="with unlisted steps alone"):
            plan(model, unlisted=True, **{name: True})


def test_a_step_that_is_to_stay_and_is_not_there(model: Path) -> None:
    assert going(plan(model, steps=(2,))) == [1, 3]
    with pytest.raises(StepNotFoundError, match="no step 22, which is to stay"):
        plan(model, steps=(2, 22))


def test_directories_of_which_nobody_knows_what_is_committed(model: Path, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="no directory of a job"):
        plan(model / "model.ckpt-1.assets", last=1)
    (model / "checkpoint").write_text("model_checkpoint_path: ")
    with pytest.raises(StateFileError):
        plan(model, last=1)
    (model / "checkpoint").unlink()
    with pytest.raises(PathNotFoundError, match="nobody can say which steps are committed"):
        plan(model, last=1)
    with pytest.raises(PathNotFoundError):
        plan(tmp_path / "nothing", last=1)


def test_steps_whose_numbers_go_down(tmp_path: Path) -> None:
    """A run that started over: steps 100 and 200 are older than 1 and 2."""
    for step, at in ((100, 1), (200, 2), (1, 3), (2, 4)):
        save_step(tmp_path, step)
        for path in tmp_path.glob(f"*-{step}.*"):
            os.utime(path, (time_of(at), time_of(at)))
    list_steps(tmp_path, 100, 200, 1, 2, times=False)
    made = plan(tmp_path, last=2)
    assert list(why(made)) == [100, 200, 1, 2]
    assert going(made) == [100, 200]
    assert going(plan(tmp_path, within_seconds=2.0)) == [100]


def test_a_clock_of_the_future(model: Path) -> None:
    """As now: it makes no other step old."""
    ahead = time.time() + 365 * 86400
    os.utime(model / "model.ckpt-4.index", (ahead, ahead))
    list_steps(model, 1, 2, 3, 4, times=False)
    recent = time.time() - 100
    for step in (2, 3):
        os.utime(model / f"model.ckpt-{step}.index", (recent, recent))
    assert going(plan(model, within_seconds=3600.0)) == [1]


# --- steps that are not whole -------------------------------------------------------------------


def test_incomplete_steps_are_not_kept(model: Path) -> None:
    (model / "model.ckpt-3.assets/user_0-00000-of-00002").unlink()
    made = plan(model, last=2)
    assert why(made) == {
        1: ["no_policy"],
        2: ["last"],
        3: ["incomplete"],
        4: ["latest", "newest_complete", "last"],
    }
    assert made.places[0].going[1].reasons[0].text == "not whole: user_0-00000-of-00002"
    assert going(plan(model, last=2, steps=(3,))) == [1]


def test_a_latest_that_is_not_whole_stays_with_the_newest_that_is(model: Path) -> None:
    (model / "model.ckpt-4.data-00000-of-00001").unlink()
    made = plan(model, steps=(1,))
    assert why(made)[4] == ["latest"]
    assert why(made)[3] == ["newest_complete"]
    assert going(made) == [2]
    assert made.places[0].newest_kept() == 3


def test_a_step_that_is_gone_leaves_the_list(model: Path) -> None:
    remove_step(model, 2)
    made = plan(model, last=9)
    assert why(made)[2] == ["gone"]
    assert [fate.names for fate in made.places[0].going] == [["ckpt.inputs-2"]]


def test_uncommitted_saves_are_no_steps(model: Path) -> None:
    (model / "model.ckpt-9.data-00000-of-00001").touch()
    assert 9 not in why(plan(model, last=1))


def test_a_file_of_the_v1_format_stays(model: Path) -> None:
    (model / "model.ckpt-0").touch()
    text = (model / "checkpoint").read_text()
    (model / "checkpoint").write_text(f'{text}all_model_checkpoint_paths: "model.ckpt-0"\n')
    assert "v1_format" in why(plan(model, last=1))[0]


# --- what must stay -----------------------------------------------------------------------------


def test_pinned_steps(model: Path) -> None:
    exempt(model, "model.ckpt-1", "/somewhere/else/model.ckpt-2")
    made = plan(model, last=1)
    assert going(made) == [3]
    assert why(made)[1] == why(made)[2] == ["pinned"]
    assert made.pinned_unlisted == []


def test_a_pinned_step_that_is_not_listed_stays_and_is_told(model: Path) -> None:
    list_steps(model, 2, 3, 4)
    exempt(model, "model.ckpt-1", "model.ckpt-77")
    made = plan(model, last=1)
    assert going(made) == [2, 3]
    assert made.pinned_unlisted == [1, 77]


def test_pins_that_cannot_be_read(model: Path) -> None:
    (model / "monolith_checkpoint").write_text("exempt_model_checkpoint_paths {")
    with pytest.raises(StateFileError):
        plan(model, last=1)


def test_steps_of_a_rollback_of_inputs(tmp_path: Path) -> None:
    model = save_job(tmp_path, 1, 2, 3, 4, workers=(0, 1))
    override = {"model_step": 3, "inputs": {"0": 1, "1": 2}}
    (model / "ckpt.override").write_text(json.dumps(override))
    made = plan(model, last=1)
    assert why(made)[3] == ["override"]
    first, second = made.places[0].going
    assert [name for name in first.names if "input" in name] == [
        "input_worker_1.ckpt-1.index",
        "input_worker_1.ckpt-1.data-00000-of-00001",
    ]
    assert [name for name in second.names if "input" in name] == [
        "input_worker_0.ckpt-2.index",
        "input_worker_0.ckpt-2.data-00000-of-00001",
    ]
    (model / "ckpt.override").write_text("[")
    with pytest.raises(StateFileError):
        plan(model, last=1)


def note_export(model: Path, step: int, *, tables: bool) -> Path:
    assets = model / "exported" / "ps_0" / str(step) / "assets"
    assets.mkdir(parents=True)
    if tables:
        (assets / "t-00000-of-00001").touch()
    with (model / "exported" / "ps_0" / "ExportSaverListenerState").open("a") as file:
        file.write(f'entries {{ export_dir: "{assets.parent}" global_step: {step} }}\n')
    return assets.parent


def test_tables_that_an_export_reads(model: Path) -> None:
    shared = note_export(model, 1, tables=False)
    made = plan(model, last=1)
    assert why(made)[1] == ["export"]
    assert str(shared) in made.places[0].fates[0].reasons[0].text
    assert made.exports == []


def test_exports_that_the_next_save_would_delete(model: Path, tmp_path: Path) -> None:
    first = note_export(model, 1, tables=True)
    note_export(model, 2, tables=True)
    note_export(model, 99, tables=True)  # is deleted anyway
    exempt(model, "model.ckpt-2")
    made = plan(model, last=1)
    assert [(each.directory, each.step) for each in made.exports] == [(str(first), 1)]
    (model / "exported").rename(tmp_path / "serving")
    assert plan(model, last=1).exports == []
    assert len(plan(model, last=1, exports=[tmp_path / "serving"]).exports) == 1


def test_steps_that_lie_elsewhere(model: Path, tmp_path: Path) -> None:
    """On purpose, or where nobody can look now: not ours to remove, nor to forget."""
    other = save_steps(tmp_path / "other", 7)
    names = [
        str(other / "model.ckpt-7"),
        "/not/mounted/model.ckpt-8",
        "model.ckpt-3",
        "model.ckpt-4",
    ]
    lines = [f'all_model_checkpoint_paths: "{name}"\n' for name in names]
    text = 'model_checkpoint_path: "model.ckpt-4"\n' + "".join(lines)
    (model / "checkpoint").write_text(text)
    made = plan(model, last=1)
    assert why(made)[7] == why(made)[8] == ["elsewhere"]
    assert going(made) == [1, 2, 3]


def test_a_directory_that_was_moved(model: Path) -> None:
    """Stale absolute paths are those of this directory: what is gone is gone."""
    text = (model / "checkpoint").read_text().replace('"model', '"/old/place/model')
    (model / "checkpoint").write_text(text)
    remove_step(model, 2)
    made = plan(model, last=1)
    assert why(made)[2] == ["gone"]
    assert going(made) == [1, 2, 3]


# --- inputs and item pools ----------------------------------------------------------------------


def states(made: object) -> list[str]:
    """The iterator states and item pools that go."""
    names = [name for fate in made.places[0].going for name in fate.names]  # type: ignore[attr-defined]
    return sorted(n for n in names if n.startswith("input_") or "_item_pool_" in n)


def test_states_that_a_step_which_stays_would_start_from(tmp_path: Path) -> None:
    """Worker 1 has had no input since step 2: its newest state that is no newer is needed."""
    model = save_job(tmp_path, 1, 2, 3, 4, workers=(0, 1))
    for step in (3, 4):
        for path in model.glob(f"input_worker_1.ckpt-{step}.*"):
            path.unlink()
    (model / "checkpoint_input_worker_1").unlink()
    gone = {
        name.partition(".data")[0].removesuffix(".index") for name in states(plan(model, last=1))
    }
    assert gone == {"input_worker_0.ckpt-1", "input_worker_0.ckpt-2", "input_worker_0.ckpt-3"} | {
        "input_worker_1.ckpt-1"
    }


def test_a_state_that_an_original_job_would_start_from(tmp_path: Path) -> None:
    """That is what the state file names as the latest, whatever the step of the model."""
    model = save_job(tmp_path, 1, 2, 3, workers=(0,))
    (model / "checkpoint_input_worker_0").write_text(
        'model_checkpoint_path: "/job/input_worker_0.ckpt-1"\n'
        'all_model_checkpoint_paths: "/job/input_worker_0.ckpt-1"\n'
    )
    made = plan(model, last=1)
    assert [name for name in states(made) if name.endswith(".index")] == [
        "input_worker_0.ckpt-2.index"
    ]
    assert made.places[0].states_gone == {("input_worker_0.ckpt", 2)}


def test_item_pools(model: Path) -> None:
    """Of each worker the newest that is no newer than a step that stays."""
    pools = ["model.ckpt-1_item_pool_0_0_2", "model.ckpt-2_item_pool_0_0_2"]
    pools += ["model.ckpt-1_item_pool_1_0_2", "model.ckpt-4_item_pool_0_0_2", "item_pool_1_2"]
    for name in pools:
        (model / name).touch()
    assert states(plan(model, last=1)) == [pools[0], pools[1]]
    assert states(plan(model, last=1, steps=(3,))) == [pools[0]]


# --- beside a job -------------------------------------------------------------------------------


def test_unlisted_steps_alone(model: Path) -> None:
    list_steps(model, 3, 4)
    save_step(model, 9)  # not committed
    made = plan(model, unlisted=True)
    assert why(made) == {
        1: ["unlisted"],
        2: ["unlisted"],
        3: ["listed"],
        4: ["latest", "newest_complete", "listed"],
        9: ["not_older"],
    }
    assert going(made) == [1, 2]
    assert going(plan(model, unlisted=True, every=2)) == [1]
    assert going(plan(model, unlisted=True, last=4)) == [1]  # 2, 3, 4, and 9 that is whole


def test_an_unlisted_step_of_a_later_time_or_number_stays(model: Path) -> None:
    list_steps(model, 3, latest=3)
    os.utime(model / "model.ckpt-1.index", (time_of(50), time_of(50)))
    made = plan(model, unlisted=True)
    assert going(made) == [2]
    assert why(made)[1] == why(made)[4] == ["not_older"]


def test_states_that_a_state_file_lists_stay_beside_a_job(tmp_path: Path) -> None:
    model = save_job(tmp_path, 1, 2, 3, workers=(0,))
    list_steps(model, 3)
    assert states(plan(model, unlisted=True)) == []


# --- dense_only ---------------------------------------------------------------------------------


def test_dense_variables_alone(model: Path) -> None:
    inner = save_job(model / "dense_only", 2, 3, 5, 6, tables=())
    make_old(inner)
    exempt(inner, "model.ckpt-5")
    made = plan(model, last=1, steps=(3,))
    assert going(made) == [1, 2]
    assert why(made, 1) == {
        2: ["no_policy"],
        3: ["step", "with_the_model"],
        5: ["pinned"],
        6: ["latest", "newest_complete", "last"],
    }
    assert made.places[1].name == "dense_only"
    assert going(plan(model, last=1, steps=(5,)), 0) == [1, 2, 3]


def test_dense_variables_alone_without_checkpoint_are_left_alone(model: Path) -> None:
    inner = save_job(model / "dense_only", 1, 2, tables=())
    (inner / "checkpoint").unlink()
    assert [place.name for place in plan(model, last=1).places] == [""]


# --- leftovers ----------------------------------------------------------------------------------


def waste(made: object) -> list[str]:
    return sorted(each.name for each in made.waste)  # type: ignore[attr-defined]


def test_leftovers(model: Path) -> None:
    for name in (
        "model.ckpt-9.data-00000-of-00001",
        "ckpt.info-9",
        "model.ckpt-9_item_pool_0_0_1",
        "model.ckpt-9_item_pool_0_0_1_tmp",
        "model.ckpt-4_item_pool_0_0_1_old",
        ".checkpoint.77.0123456789abcdef.tmp",
        "ckpt.manifest-8",
        "ckpt.inputs-7",
        "notes.txt",
        "model.ckpt-4.assets/.t.77.0123456789abcdef.tmp",
    ):
        (model / name).touch()
    (model / "model.ckpt-9_temp_77").mkdir()
    (model / "model.ckpt-9_temp_77" / "part").write_bytes(b"12345")
    make_old(model, time_of(0))
    list_steps(model, 1, 2, 3, 4)
    made = plan(model, leftovers=True)
    assert waste(made) == [
        ".checkpoint.77.0123456789abcdef.tmp",
        "ckpt.manifest-8",
        "model.ckpt-4.assets/.t.77.0123456789abcdef.tmp",
        "model.ckpt-9.data-00000-of-00001",
        "model.ckpt-9_temp_77",
    ]
    assert made.bytes == 5
    assert going(made) == []
    assert set(map(tuple, why(made).values())) == {
        ("not_asked",),
        ("latest", "newest_complete", "not_asked"),
    }


@pytest.mark.parametrize("age", [-3600.0, 0.0, 71 * 3600.0])
def test_young_leftovers_stay(model: Path, age: float) -> None:
    """And those of the future."""
    (model / "model.ckpt-9_temp").mkdir()
    (model / "model.ckpt-9_temp" / "part").touch()
    at = time.time() - age
    os.utime(model / "model.ckpt-9_temp" / "part", (at, at))
    os.utime(model / "model.ckpt-9_temp", (time_of(0), time_of(0)))
    assert plan(model, leftovers=True).is_empty


def test_leftovers_since_the_newest_commit_stay(model: Path) -> None:
    (model / "model.ckpt-9.data-00000-of-00001").touch()
    os.utime(model / "model.ckpt-9.data-00000-of-00001", (time_of(5), time_of(5)))
    assert plan(model, leftovers=True).is_empty


def test_tables_of_a_step_without_its_dense_variables(model: Path) -> None:
    """They may be pinned, or what an export reads."""
    for step in (1, 2, 3):
        (model / f"model.ckpt-{step}.index").unlink()
        (model / f"model.ckpt-{step}.data-00000-of-00001").unlink()
    list_steps(model, 4)
    note_export(model, 2, tables=False)
    exempt(model, "model.ckpt-3")
    make_old(model)
    list_steps(model, 4)
    names = waste(plan(model, leftovers=True))
    assert names == ["ckpt.inputs-1", "model.ckpt-1.assets"]


def test_an_input_state_of_a_save_that_was_given_up(tmp_path: Path) -> None:
    """Stays while a job would start from it."""
    model = save_job(tmp_path, 1, 2, 3, workers=(0,))
    (model / "model.ckpt-2.index").unlink()
    for path in model.glob("input_worker_0.ckpt-3.*"):
        path.unlink()
    (model / "checkpoint_input_worker_0").unlink()
    make_old(model)
    for path in model.glob("*-2*"):
        os.utime(path, (time_of(2), time_of(2)))
    list_steps(model, 1, 3)
    names = waste(plan(model, leftovers=True))
    assert "model.ckpt-2.assets" in names
    assert not [name for name in names if "input" in name]


def roll_back(model: Path, name: str, days: float = 0.0) -> Path:
    """What a rollback so long ago has left."""
    to = f"rolled-back/{name}"
    files = ("model.ckpt-9.index", "dense_only/model.ckpt-9.index")
    moves = [(each, f"{to}/{each}") for each in files]
    for _, target in moves:
        (model / target).parent.mkdir(parents=True, exist_ok=True)
        (model / target).write_bytes(b"123")
    record = json.dumps(Plan(4, 9, to, (), moves, ()).as_json())
    (model / to / "rollback.json").write_text(record)
    at = time.time() - days * 86400
    os.utime(model / to, (at, at))
    return model / to


def test_what_rollbacks_have_moved_away(model: Path) -> None:
    roll_back(model, "2026-01-01T00:00:00Z", 30)
    size = (roll_back(model, "2026-01-20T00:00:00Z", 2) / "rollback.json").stat().st_size
    made = plan(model, rolled_back=True)
    assert [each.name for each in made.rolled_back] == [
        "rolled-back/2026-01-01T00:00:00Z",
        "rolled-back/2026-01-20T00:00:00Z",
    ]
    assert made.bytes == 2 * (6 + size)
    assert made.strays == []
    old = plan(model, rolled_back=True, older_seconds=7 * 86400.0)
    assert [each.name for each in old.rolled_back] == ["rolled-back/2026-01-01T00:00:00Z"]
    assert plan(model, last=1).rolled_back == []


def test_what_no_rollback_has_moved_away_stays(model: Path) -> None:
    aside = model / "rolled-back"
    roll_back(model, "1-ours")
    roll_back(model, "2-more")
    (aside / "2-more" / "notes").touch()
    roll_back(model, "3-within")
    (aside / "3-within" / "dense_only" / "mine").mkdir()
    roll_back(model, "4-then").rename(aside / "4-renamed")
    (roll_back(model, "5-broken") / "rollback.json").write_text("{")
    (aside / "6-backup").mkdir()
    (aside / "6-backup" / "model.ckpt-9.index").touch()
    (aside / "7-file").touch()
    (aside / "8-link").symlink_to(aside / "1-ours")
    made = plan(model, rolled_back=True)
    assert [each.name for each in made.rolled_back] == ["rolled-back/1-ours"]
    assert [each.removeprefix("rolled-back/") for each in made.strays] == [
        "2-more/notes",
        "3-within/dense_only/mine",
        "4-renamed",
        "5-broken",
        "6-backup",
        "7-file",
        "8-link",
    ]


def test_what_keeps_the_training_system_from_restoring_a_table(model: Path) -> None:
    """A shard that was not finished; what is young, or no shard, stays."""
    assets = model / "model.ckpt-4.assets"
    for name in ("t-00000-of-00002-tmp-77", "notes-tmp-77", "t-00001-of-00002-tmp-78"):
        (assets / name).touch()
    make_old(assets)
    os.utime(assets / "t-00001-of-00002-tmp-78")
    assert waste(plan(model, leftovers=True)) == ["model.ckpt-4.assets/t-00000-of-00002-tmp-77"]
    assert survey(model).leftovers.temporaries == 2
