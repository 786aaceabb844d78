"""The one loop over the steps that `--step` picks: one, or with `all` every one that is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from monolith_cli.errors import MonolithError
from monolith_cli.failures import raise_worst

if TYPE_CHECKING:
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.model_dir import ModelDir
    from monolith_cli.reports.model import Report
    from monolith_cli.reports.terminal import Messages

__all__ = ["EachStep", "end_with", "number_of", "one_checkpoint"]


class EachStep:
    """The checkpoints that a value of `--step` means; iterate over it once, then call `end`.

    With `all` a step that fails does not hide those behind it: what goes wrong within `attempt` is
    kept for `end`, and so is why `checkpoint` lists a step that cannot be read. Reports are shown
    as they come, but as JSON at the end: one document, or with `all` a list.

    Parameters
    ----------
    directory
        Where they are.
    step
        A number, `latest` or `all`.
    messages
        Takes remarks on the steps.
    json
        Whether reports are for programs.
    """

    def __init__(
        self, directory: ModelDir, step: int | str, messages: Messages, *, json: bool = False
    ) -> None:
        self.several = step == "all"
        self._directory = directory
        self._step = step
        self._messages = messages
        self._json = json
        self._documents: list[object] = []
        self._begun = 0
        self._errors: list[MonolithError | None] = []

    def __iter__(self) -> Iterator[Checkpoint]:
        """Raises as `ModelDir.checkpoint`; with `all` only where no step is there at all."""
        for checkpoint in self._checkpoints():
            self._begun += 1
            yield checkpoint

    def _checkpoints(self) -> Iterator[Checkpoint]:
        if not self.several:
            yield one_checkpoint(self._directory, self._step)
            return
        offer = self._directory.offer()
        self._messages.notes(*offer.left_out)
        self._errors += offer.unreadable.values()
        if offer.checkpoints or not offer.unreadable:
            yield from offer.checkpoints or [self._directory.checkpoint()]

    @contextmanager
    def attempt(self, checkpoint: Checkpoint) -> Iterator[None]:
        """What is done with a checkpoint; with `all` an error of the library ends only that.

        Remarks on the checkpoint are told at its end.
        """
        try:
            yield
        except MonolithError as error:
            if not self.several:
                raise
            self._errors.append(error)
        finally:
            self._messages.notes(*checkpoint.notes)
            self._messages.warnings(*checkpoint.warnings)

    def show(self, report: Report) -> None:
        """Show the report of a checkpoint, with an empty line before all but the first's."""
        if self._json:
            self._documents.append(report.document())
            return
        from monolith_cli.reports.terminal import show, show_report

        show([""] if self._begun > 1 else [])
        show_report(report)

    def failed(self, *errors: MonolithError | None) -> None:
        """Keep errors that did not end what was done; None is none, and twice is once."""
        for error in errors:
            if error not in self._errors:
                self._errors.append(error)

    def end(self) -> None:
        """Write what is left to show, and end with the worst of what went wrong, if anything did.

        Raises
        ------
        MonolithError
            The worst; the others are told.
        """
        if self._json:
            from monolith_cli.reports.terminal import show_json

            show_json(self._documents if self.several else self._documents[0])
        end_with(self._errors, self._messages)


def one_checkpoint(directory: ModelDir, step: int | str) -> Checkpoint:
    """The checkpoint of a step, or of `latest`. Raises as `ModelDir.checkpoint`."""
    return directory.checkpoint(number_of(step))


def number_of(step: int | str) -> int | None:
    """The number of a step; None for `latest`."""
    return None if step == "latest" else int(step)


def end_with(errors: Iterable[MonolithError | None], messages: Messages) -> None:
    """Raise the worst of several errors, and tell the others, with advice for the command."""
    found = [error for error in errors if error is not None]
    if found:
        from monolith_cli.commands.hints import advise_here

        raise_worst([advise_here(error) for error in found], messages.warnings)
