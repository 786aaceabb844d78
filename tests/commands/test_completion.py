"""What is completed; `test_completion_shells` sees what real shells make of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cli_support import Done, call
from dump_support import write_model_dir

from monolith_cli.cli import cli
from monolith_cli.commands.completion import Line, answer

NAMES = ("user", "user:b", "item")


@pytest.fixture
def model(tmp_path: Path, ann: None) -> Path:
    path = tmp_path / "model"
    for step, names in ((1000, NAMES), (900, ("old",))):
        write_model_dir(path, step, singles={name: [b""] for name in names}, hash_filters=1)
    state = [f'all_model_checkpoint_paths: "model.ckpt-{step}"\n' for step in (900, 1000)]
    (path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000"\n' + "".join(state))
    counts = [f"slot_counts {{ key: {slot} value: {n} }}\n" for slot, n in ((35, 1200), (3, 1))]
    (path / "ckpt.info-1000").write_text("".join(counts))
    for worker, step in ((0, 900), (0, 1000), (1, 1000), (12, 900)):
        (path / f"input_worker_{worker}.ckpt-{step}.index").write_bytes(b"")
    return path


def completed(*before: object, current: str = "", after: tuple[object, ...] = ()) -> list[str]:
    line = Line([str(word) for word in before], current, [str(word) for word in after])
    found = answer(cli, line)
    assert found.kind == "values"
    return [value for value, _ in found.items]


def helps(*before: object) -> dict[str, str | None]:
    return dict(answer(cli, Line([str(word) for word in before], "", [])).items)


def asked(shell: str, *args: object) -> Done:
    """What a shell's script is answered, by the whole program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MONOLITH_COMPLETE", shell)
        return call(*args)


# --- what there is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["ckpt-info"], ["latest", "all"]),
        (["ckpt", "show"], ["latest", "all"]),
        (["table", "ls"], ["latest", "all"]),
        (["table", "dump"], ["latest"]),
        (["table", "get"], ["latest"]),
        (["iterator", "ls"], ["latest"]),
    ],
)
def test_steps(model: Path, command: list[str], words: list[str]) -> None:
    assert completed(*command, model, "--step") == [*words, "1000", "900"]
    assert completed(*command, model, "--step", current="9") == ["900"]
    assert helps(*command, model, "--step")["latest"] == "step 1000"


def test_steps_where_only_their_numbers_will_do(model: Path) -> None:
    assert completed("ckpt", "pin", model) == ["1000", "900"]
    assert completed("ckpt", "unpin", model, current="9") == ["900"]
    assert completed("ckpt", "rollback", model, "--step") == ["1000", "900"]


@pytest.mark.parametrize("place", ["before", "none", "empty", "wrong"])
def test_the_words_for_steps_need_no_directory(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    where = () if place == "before" else (tmp_path / place,)
    assert completed("ckpt-info", *where, "--step") == ["latest", "all"]
    assert completed("table", "dump", *where, "--step") == ["latest"]
    assert completed("table", "ls", *where, current="--step=a") == ["--step=all"]
    assert completed("iterator", "show", *where, "--step") == ["latest"]
    assert completed("ckpt-info", *where, "--step", current="1") == []


def test_step_0(tmp_path: Path) -> None:
    write_model_dir(tmp_path, 0, singles={"t": []})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-0"\n')
    assert helps("ckpt-info", tmp_path, "--step") == {"latest": "step 0", "all": None, "0": None}


def test_tables(model: Path) -> None:
    for command in (["ckpt-info"], ["table", "ls"], ["table", "dump"], ["table", "get"]):
        assert completed(*command, model, "--table") == ["item", "user", "user:b"]
        assert completed(*command, model, "--table", current="us") == ["user", "user:b"]
        assert completed(*command, model, current="--table=user:") == ["--table=user:b"]


def test_names_like_options(tmp_path: Path) -> None:
    write_model_dir(tmp_path / "model", singles={"--flag": [], "--other": [], "user": []})
    line = ("table", "ls", tmp_path / "model")
    assert completed(*line, current="--table=--f") == ["--table=--flag"]
    assert completed(*line, current="--table=-") == ["--table=--flag", "--table=--other"]
    assert completed(*line, current="--table=") == [
        f"--table={name}" for name in ("--flag", "--other", "user")
    ]


def test_nothing_behind_dashes_is_an_option(model: Path) -> None:
    for before, current in (
        (("--table",), ""),
        (("--table",), "us"),
        ((), "--table=us"),
        ((), "--tab"),
        (("--step",), "lat"),
    ):
        assert completed("table", "ls", model, "--", *before, current=current) == []
        assert completed("table", "get", model, "--", *before, current=current) == []
    assert answer(cli, Line(["table", "ls", "--"], "--mo", [])).kind == "dirs"
    hold = ["barrier", "hold", "model", "--", "rsync"]
    assert answer(cli, Line([*hold, "--owner"], "", [])).kind == "files"
    assert answer(cli, Line(hold, "--owner=x", [])).kind == "files"


def test_tables_that_share_files(tmp_path: Path) -> None:
    write_model_dir(tmp_path / "model", multis={"M": {"b": [], "a\nx": []}}, singles={"c": []})
    assert completed("table", "ls", tmp_path / "model", "--table") == ["a\nx", "b", "c"]


def test_odd_numbers_are_no_first_file(tmp_path: Path) -> None:
    write_model_dir(tmp_path, singles={"t_10": [b""], "t_9": [b""]})
    assets = next(tmp_path.glob("*.assets"))
    for name in ("a-00000-of-1", "b-00000-of-000002", "-00000-of-00001", "c-00001-of-00002"):
        (assets / name).write_bytes(b"")
    for name in ("d-00000-of-100000", "e-00000-of-00001-00000-of-00001", "f\n-00000-of-00001"):
        (assets / name).write_bytes(b"")
    (assets / "g-00000-of-00001-00001-of-00002").write_bytes(b"")
    (assets / f"h-00000-of-{5 * '٣'}").write_bytes(b"")
    names = ["d", "e-00000-of-00001", "f\n", "t_9", "t_10"]
    assert completed("table", "ls", tmp_path, "--table") == names


def test_tables_of_one_assets_directory_and_of_an_export(model: Path, tmp_path: Path) -> None:
    assets = model / "model.ckpt-900.assets"
    assert completed("table", "ls", assets, "--table") == ["old"]
    export = tmp_path / "export"
    for server in ("ps_0", "ps_1"):
        shutil.copytree(assets, export / server / "1" / "assets")
    assert completed("table", "ls", export, "--table") == ["old"]


def test_slots_are_those_of_the_counts(model: Path) -> None:
    assert helps("ckpt-info", model, "--slot") == {"3": "1 entry", "35": "1,200 entries"}
    assert completed("table", "dump", model, "--slot", current="35") == ["35"]
    assert completed("table", "dump", model, "--slot", current="35,") == ["35,3"]
    assert completed("table", "dump", model, "--slot", current="35,4") == []
    assert completed("table", "dump", model, "--step", 900, "--slot") == []


def test_columns() -> None:
    every = ["fid", "slot", "table", "embedding", "opt", "last_update_ts_sec"]
    assert completed("table", "dump", "--columns") == every
    assert completed("table", "get", "--columns", current="fid,o") == ["fid,opt"]
    assert "fid,fid" not in completed("table", "get", "--columns", current="fid,f")


def test_workers_and_the_steps_of_their_inputs(model: Path) -> None:
    for command in ("show", "peek", "rollback"):
        assert completed("iterator", command, model, "--worker") == ["0", "1", "12"]
        assert completed("iterator", command, model, "--step") == ["latest", "1000", "900"]
        at_900 = completed("iterator", command, model, "--step", 900, "--worker")
        assert at_900 == ["0", "12"]
        of_12 = completed("iterator", command, model, "--worker", 12, "--step")
        assert of_12 == ["latest", "900"]
    assert helps("iterator", "show", model, "--worker") == {"0": "the chief", "1": None, "12": None}


# --- what the line says ---------------------------------------------------------------------


def test_the_step_that_is_given_counts(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed("table", "dump", "--step", 900, model, "--table") == ["old"]
    assert completed("table", "dump", "--step=900", model, "--table") == ["old"]
    assert completed("table", "dump", model, "--table", after=("--step", 900)) == ["old"]
    assert completed("table", "dump", model, "--step", 800, "--table") == []
    monkeypatch.setenv("MONOLITH_TABLE_DUMP_STEP", "900")
    assert completed("table", "dump", model, "--table") == ["old"]


def test_a_directory_behind_the_cursor(model: Path) -> None:
    assert completed("table", "dump", "--table", current="it", after=(model,)) == ["item"]
    assert completed("ckpt-info", "--slot", after=("--dry-run", model)) == ["3", "35"]
    assert completed("ckpt-info", current="--table=it", after=(model,)) == ["--table=item"]


@pytest.mark.parametrize("command", [["ckpt-info"], ["barrier", "place"], ["sample"]])
def test_a_model_dir_is_a_directory(command: list[str]) -> None:
    assert answer(cli, Line(command, "mo", [])).kind == "dirs"


def test_files() -> None:
    assert answer(cli, Line(["table", "get", "--fids-from"], "", [])).kind == "files"
    assert answer(cli, Line(["job", "status"], "--tls-ca=x", [])) == ("files", "--tls-ca=", [])
    assert answer(cli, Line(["barrier", "hold", "model", "--"], "", [])).kind == "files"


def test_options_and_commands() -> None:
    assert completed("table", "dump", current="--col") == ["--columns"]
    assert completed("table") == ["ls", "dump", "get", "stats", "diff", "export", "rewrite"]
    assert completed(current="ba") == ["barrier"]


# --- what is wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "monolith table ls {} --table ",
        "monolith ckpt-info {} --slot ",
        "monolith iterator show {} --worker ",
        "monolith table ls --table ",
    ],
)
def test_a_wrong_directory_completes_to_nothing(tmp_path: Path, line: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none", tmp_path / "empty", file):
        text = line.format(path)
        done = asked("bash_complete", text, "", "")
        assert (done.code, done.err) == (0, "")
        assert done.out in ("", "values\n")
        assert asked("zsh_complete", len(text.split()) + 1, *text.split(), "").code == 0
        assert asked("fish_complete", text).code == 0


@pytest.mark.parametrize("args", [[], ["x"], ["monolith ", "", "", ""], ["monolith t", "", "q"]])
def test_odd_questions(args: list[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = asked(f"{shell}_complete", *args)
        assert (done.code, done.err) == (0, "")


def test_pipes_are_not_waited_for(model: Path) -> None:
    os.unlink(model / "ckpt.info-1000")
    os.mkfifo(model / "ckpt.info-1000")
    assert asked("bash_complete", f"monolith ckpt-info {model} --slot ", "", "").out == "values\n"
    assets = model / "model.ckpt-1000.assets"
    for name in ("m", "m.meta"):
        os.mkfifo(assets / f"{name}-00000-of-00001")
    assert completed("table", "ls", model, "--table") == ["item", "user", "user:b"]
    os.unlink(model / "checkpoint")
    os.mkfifo(model / "checkpoint")
    done = asked("bash_complete", f"monolith table ls {model} --step ", "", "")
    assert done.out == "values\nlatest\nall\n"


def test_no_data_is_read(model: Path) -> None:
    for path in (model / "model.ckpt-1000.assets").iterdir():
        path.unlink()
        os.mkfifo(path)
    assert completed("table", "ls", model, "--table") == ["item", "user", "user:b"]


# --- what shells are told -------------------------------------------------------------------


def test_bash_replaces_readlines_word(model: Path) -> None:
    line = f"monolith table dump {model} --table "
    assert asked("bash_complete", line, "", "").out == "values\nitem\nuser\nuser:b\n"
    assert asked("bash_complete", line + "user:", "", "").out == "values\nb\n"
    assert asked("bash_complete", line + "user:", "", "user:").out == "values\nuser:b\n"
    assert asked("bash_complete", line + '"user:', "", "user:").out == "values\nuser:b\n"
    assert asked("bash_complete", line + "user:", "", "other").out == ""
    line = "monolith table dump --table "
    assert asked("bash_complete", line + "it", f"x {model}", "it").out == "values\nitem\n"


def test_zsh_has_fields(model: Path) -> None:
    words = ["monolith", "ckpt-info", str(model), "--slot=3"]
    done = asked("zsh_complete", 4, *words)
    assert done.out == "values\0--slot=\x003\x001 entry\x0035\x001,200 entries\0"
    done = asked("zsh_complete", 4, "monolith", "ckpt-info", "--table", "'it", str(model))
    assert done.out == "plain\0\0item\0"


def test_fish_has_candidates_with_help(model: Path) -> None:
    (model / "model.ckpt-1000.assets" / "a\tb-00000-of-00001").write_bytes(b"")
    line = f"monolith ckpt-info {model} --slot "
    assert asked("fish_complete", line).out == "values\0\x003\t1 entry\x0035\t1,200 entries\0"
    line = f"monolith ckpt-info {model} --table "
    assert asked("fish_complete", line).out == "values\0\0item\0user\0user:b\0"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    done = asked(f"{shell}_source")
    assert (done.code, done.err) == (0, "")
    assert f"_MONOLITH_COMPLETE={shell}_complete" in done.out
