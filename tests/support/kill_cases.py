"""The commands that move and remove steps or write new directories, to be killed at any moment."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from cli_support import Done, call
from kept_support import STEPS, assert_sound, contents, files_of

from monolith_cli.checkpoint.names import COPIED


class Case(NamedTuple):
    """A command line on a directory of `kept_support`, and what it must leave alone.

    Attributes
    ----------
    arguments
        `{dir}` and `{new}` in them are the directory, and one that the command makes.
    stays
        The steps that are there, every file of theirs, at any moment: where they were, or moved
        away.
    before
        Command lines that come first, undisturbed.
    """

    arguments: str
    stays: tuple[int, ...] = STEPS
    before: tuple[str, ...] = ()

    @property
    def makes_new(self) -> bool:
        """Whether it writes a directory of its own, and nothing in the one that it reads."""
        return "{new}" in self.arguments and "--undo" not in self.arguments


class Place:
    """A copy of a directory, in which a command is tried again and again."""

    def __init__(self, case: Case, origin: Path, scratch: Path) -> None:
        self.case = case
        self.directory = scratch / "work" / "model"
        self.new = scratch / "work" / "new"
        self._prepared = scratch / "prepared"
        shutil.copytree(origin, self._prepared / "model")
        for line in case.before:
            done = call(*self._words(line, self._prepared / "model", self._prepared / "new"))
            assert done.code == 0, done
        self._kept = whole(case.stays, self._prepared / "model")
        assert self._kept
        self._all = contents(self._prepared / "model")
        self.prepare()
        done = self.run()
        assert done.code == 0, done
        self.check()
        self._result = self.found()
        assert self._result != (self._all, {})

    def prepare(self) -> None:
        """As it was before the command.

        Files are links to what was prepared, as nothing may be written in place.
        """
        shutil.rmtree(self.directory.parent, ignore_errors=True)
        shutil.copytree(self._prepared, self.directory.parent, copy_function=os.link)

    @property
    def words(self) -> list[str]:
        """The command line."""
        return self._words(self.case.arguments, self.directory, self.new)

    def run(self) -> Done:
        """Run it in this process."""
        return call(*self.words)

    def found(self) -> tuple[dict[str, bytes | None], dict[str, bytes | None]]:
        """All that is in both directories, but for when a copy has brought what."""
        came = {n: d for n, d in contents(self.new).items() if not n.endswith(COPIED)}
        return contents(self.directory), came

    def check(self) -> None:
        """What must stay is there, what is listed is whole, and the latest step is listed."""
        assert_sound(self.directory)
        if self.case.makes_new:
            assert contents(self.directory) == self._all
        else:
            found = whole(self.case.stays, self.directory, self.new)
            assert {name: found.get(name) for name in self._kept} == self._kept
        if (self.new / "checkpoint").exists():
            assert_sound(self.new)

    def finish(self) -> Done:
        """Run it once more: it ends as if nothing had happened before.

        Where all was done, it may say so by an error: that there is nothing to undo, say.
        """
        is_done = self.is_finished
        done = self.run()
        assert is_done or done.code == 0, done
        self.check()
        self.assert_finished()
        return done

    def assert_finished(self) -> None:
        """All is as an undisturbed run leaves it."""
        for found, wanted in zip(self.found(), self._result, strict=True):
            differs = {n for n in found.keys() | wanted if found.get(n) != wanted.get(n)}
            assert found == wanted, differs

    @property
    def is_finished(self) -> bool:
        """Whether it is as after it."""
        return self.found() == self._result

    @property
    def is_untouched(self) -> bool:
        """Whether it is as before."""
        return self.found() == (self._all, {})

    def _words(self, line: str, directory: Path, new: Path) -> list[str]:
        return [word.format(dir=directory, new=new) for word in line.split()]


def whole(steps: tuple[int, ...], *directories: Path) -> dict[str, bytes]:
    """The files of steps, wherever a rollback has them."""
    found: dict[str, bytes] = {}
    for directory in directories:
        found |= files_of(directory, *steps)
    return {re.sub(r"^rolled-back/[^/]+/", "", name): data for name, data in found.items()}


CASES = {
    "repair": Case("ckpt repair {dir} --to {new}"),
    "prune": Case("ckpt prune {dir} --keep-last 2 --yes", (100, 400, 500)),
    "prune-unlisted": Case("ckpt prune {dir} --keep-last 1 --unlisted --yes", (100, 300, 400, 500)),
    "prune-leftovers": Case("ckpt prune {dir} --leftovers --yes"),
    "prune-rolled-back": Case(
        "ckpt prune {dir} --rolled-back --older 0d --yes",
        (100, 300),
        ("ckpt rollback {dir} --step 300 --yes",),
    ),
    "pin": Case("ckpt pin {dir} 400"),
    "pin-unlisted": Case("ckpt pin {dir} 200"),
    "unpin": Case("ckpt unpin {dir} 100"),
    "rollback": Case("ckpt rollback {dir} --step 300 --yes"),
    "undo": Case(
        "ckpt rollback {dir} --undo --yes", before=("ckpt rollback {dir} --step 300 --yes",)
    ),
    "undo-to": Case(
        "ckpt rollback {dir} --undo --to {new} --yes",
        before=("ckpt rollback {dir} --step 300 --yes",),
    ),
    "cp": Case("ckpt cp {dir} {new}"),
    "cp-all-link": Case("ckpt cp {dir} {new} --all --link"),
    "rewrite": Case("table rewrite {dir} {new} --shards 2"),
    "export": Case("table export {dir} -o {new}"),
}
