"""TensorFlow's own saver beside ours: it commits steps without tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tf_support import tensorflow

from monolith_cli.errors import TableNotFoundError

OFF: dict[str, Any] = {"save_checkpoint_secs": None, "save_checkpoint_steps": None}


@pytest.fixture(autouse=True)
def _tensorflow() -> None:
    tensorflow()


class Trainer:
    """A model of one table, in TensorFlow's default session."""

    def __init__(
        self, directory: Path, other: Callable[[Any], Any] | None = None, **options: Any
    ) -> None:
        from monolith_cli.training.basic_restore_hook import CheckpointRestorerHook
        from monolith_cli.training.hash_table import (
            HashTable,
            HashTableCheckpointRestorerListener,
            HashTableCheckpointSaverListener,
        )
        from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

        v1 = tensorflow().compat.v1
        self.step = v1.train.create_global_step()
        table = HashTable("items", 1)
        update = table.assign_add([1], [[1.0]]).as_op()
        self.train_op = tensorflow().group(update, self.step.assign_add(1))
        self.value = table.lookup([1])
        basename = f"{directory}/model.ckpt"
        scaffold = v1.train.Scaffold(saver=v1.train.Saver())
        hooks = [
            CheckpointRestorerHook([HashTableCheckpointRestorerListener(basename)]),
            *([other(scaffold)] if other else []),
            NoFirstSaveCheckpointSaverHook(
                str(directory),
                save_steps=3,
                scaffold=scaffold,
                listeners=[HashTableCheckpointSaverListener(basename)],
            ),
        ]
        self.session = v1.train.MonitoredTrainingSession(
            checkpoint_dir=str(directory), scaffold=scaffold, hooks=hooks, **options
        )

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.session.run(self.train_op)


def test_the_default_saver_is_named_in_the_error(tmp_path: Path) -> None:
    """The first run dies, as that saver has committed step 0; and so does the next one."""
    for _ in range(2):
        with (
            tensorflow().Graph().as_default(),
            pytest.raises(TableNotFoundError) as caught,
        ):
            Trainer(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path}/model.ckpt-0.assets: no dump of hash table 'items': step 0 was committed"
            " without tables; TensorFlow's own saver knows of no tables: turn it off"
            " (save_checkpoint_secs=None and save_checkpoint_steps=None for"
            " MonitoredTrainingSession), and remove what there is of step 0"
        )


def test_what_the_error_says_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for run in (1, 2):
        with tensorflow().Graph().as_default():
            trainer = Trainer(tmp_path, **OFF)
            with trainer.session:
                trainer.train(4)
                assert trainer.session.run(trainer.value).tolist() == [[4.0 * run]]
    assert "without tables" not in caplog.text


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_step_that_another_saver_commits_is_told_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_shared: bool,
) -> None:
    from monolith_cli.training.tables import other_savers

    monkeypatch.setattr(other_savers, "_LOOK_SECONDS", 0.0)
    v1 = tensorflow().compat.v1

    class Other(v1.train.SessionRunHook):
        """Commits step 5 as TensorFlow's hook does."""

        def __init__(self, scaffold: Any) -> None:
            self.saver = scaffold.saver if is_shared else v1.train.Saver()

        def after_run(self, run_context: Any, run_values: Any) -> None:
            session = run_context.session
            if session.run(v1.train.get_global_step()) == 5:
                self.saver.save(session, f"{tmp_path}/model.ckpt", global_step=5)

    with tensorflow().Graph().as_default():
        trainer = Trainer(tmp_path, Other, **OFF)
        trainer.train(4)
        assert "without tables" not in caplog.text
        trainer.train(1)
        told = [text for text in caplog.messages if "without tables" in text]
        assert told == [
            "Step 5 has been committed without tables: a restart from it will fail."
            " TensorFlow's own saver knows of no tables: turn it off (save_checkpoint_secs=None and"
            " save_checkpoint_steps=None for MonitoredTrainingSession)."
        ]
        # The session is left as it is, as by a process that dies.
    with (
        tensorflow().Graph().as_default(),
        pytest.raises(
            TableNotFoundError,
            match=r"step 5 was committed without tables; .* and step 3 has tables: go back to it",
        ),
    ):
        Trainer(tmp_path, **OFF)


def test_a_step_that_both_save_has_its_tables(tmp_path: Path) -> None:
    """TensorFlow's hook saves the last step first; ours then saves it, too."""
    v1 = tensorflow().compat.v1

    def other(scaffold: Any) -> Any:
        return v1.train.CheckpointSaverHook(str(tmp_path), save_steps=1000, scaffold=scaffold)

    for run in (1, 2):
        with tensorflow().Graph().as_default():
            trainer = Trainer(tmp_path, other, **OFF)
            with trainer.session:
                assert trainer.session.run(trainer.value).tolist() == [[5.0 * (run - 1)]]
                trainer.train(5)
