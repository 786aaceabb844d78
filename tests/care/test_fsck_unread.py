"""What a check says where `checkpoint`, or a file of a step, cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import judge_support as js
import pytest
import tf_support

from monolith_cli.care.fsck import Judgement
from monolith_cli.care.fsck.step import StepLook
from monolith_cli.errors import NotReadableError

check_module = sys.modules["monolith_cli.care.fsck.check"]

ASSETS = "model.ckpt-200.assets"
A0, A1 = (f"{ASSETS}/MonolithHashTable_a-0000{number}-of-00002" for number in (0, 1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return js.write_judged(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    return js.copied(sound, tmp_path / "model")


def told(judgement: Judgement, directory: Path) -> set[tuple[str, str]]:
    return js.told(judgement, directory, notes=True)


STATES = {
    "garbage": b"zzz{",
    "empty": b"",
    "cut": b'model_checkpoint_path: "model.ckpt-300"\nall_model',
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("quick", [True, False])
def test_steps_are_judged_without_what_lists_them(model: Path, state: bytes, quick: bool) -> None:
    js.change(model / "checkpoint", lambda _: state)
    js.remove([model / A1])
    of_state, of_step = ("bad_state_file", "checkpoint"), ("missing_shard", A1)
    judgement = js.judged(model, quick=quick)
    assert told(judgement, model) == {of_state, of_step}
    assert [(each.step, each.verdict) for each in judgement.steps] == [
        (100, "sound"),
        (200, "damaged"),
        (300, "sound"),
    ]
    newest = js.judged(model, "latest", quick=quick)
    assert ([each.step for each in newest.steps], told(newest, model)) == ([300], {of_state})
    one = js.judged(model, 200, quick=quick)
    assert ([each.step for each in one.steps], told(one, model)) == ([200], {of_state, of_step})


def test_nothing_lists_the_steps_of_dense_variables_alone(model: Path) -> None:
    tf_support.save_checkpoint(model / "dense_only", 200, js.VARIABLES)
    (model / "dense_only" / "checkpoint").write_text("zzz{")
    js.cut(model / A1, 0)
    js.cut(model / "dense_only/model.ckpt-200.data-00000-of-00001", 10)
    judgement = js.judged(model)
    assert js.told(judgement, model) == {
        ("manifest_differs", A1),
        ("bad_state_file", "dense_only/checkpoint"),
        ("short_bundle_file", "dense_only/model.ckpt-200.data-00000-of-00001"),
    }
    assert [each.step for each in judgement.steps] == [100, 200, 300]
    assert not any("*.assets" in (each.suggest or "") for each in judgement.findings)


def test_what_cannot_be_read_hides_nothing_else(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was found of that step before, nor the other steps; and it is not sound."""
    js.remove([model / A1])

    def refusing(look: StepLook) -> object:
        if look.step == 200:
            raise NotReadableError("not readable: Input/output error", path=str(model / A0))
        return iter(())

    monkeypatch.setattr(check_module, "check_tables_before", lambda look, _: refusing(look))
    judgement = js.judged(model)
    assert js.told(judgement, model) == {("missing_shard", A1), ("not_readable", A0)}
    assert [(each.step, each.verdict) for each in judgement.steps] == [
        (100, "sound"),
        (200, "damaged"),
        (300, "sound"),
    ]
    (error,) = judgement.unread
    assert (error.kind, judgement.left_out) == ("not_readable", [])
    damage = judgement.error()
    assert damage is not None
    assert damage.kind == "missing_shard"


@pytest.mark.parametrize(
    "name",
    [
        "model.ckpt-200.index",
        A0,
        "ckpt.info-200",
        "ckpt.inputs-200",
        "monolith_checkpoint",
        "ckpt.override",
        "checkpoint_input_worker_1",
    ],
)
def test_what_is_no_file_is_not_sound(model: Path, name: str) -> None:
    path = model / name
    path.unlink(missing_ok=True)
    path.mkdir()
    (model / "ckpt.manifest-200").unlink()  # which would show some of it
    for quick in (True, False):
        judgement = js.judged(model, 200, quick=quick)
        assert ("not_readable", name) in js.told(judgement, model)
        assert judgement.verdict != "sound"
        assert [(each.kind, each.path) for each in judgement.unread] == [
            ("not_readable", str(path))
        ]
        of_step = [each.verdict for each in judgement.steps]
        assert of_step == ["doubtful" if "200" in name else "sound"]
    assert js.judged(model, 300).steps[0].verdict == "sound"
