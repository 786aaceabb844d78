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
    from monolith_cli.reports.terminal import Messages

__all__ = ["EachStep", "end_with", "one_checkpoint"]


class EachStep:
    """The checkpoints that a value of `--step` means; iterate over it once, then call `end`.

    With `all` a step that fails does not hide those behind it: what goes wrong within `attempt` is
    kept for `end`, and so is why `checkpoint` lists a step that cannot be read.

    Parameters
    ----------
    directory
        Where they are.
    step
        A number, `latest` or `all`.
    messages
        Takes remarks on the steps.
    """

    def __init__(self, directory: ModelDir, step: int | str, messages: Messages) -> None:
        self.several = step == "all"
        self._directory = directory
        self._step = step
        self._messages = messages
        self._errors: list[MonolithError | None] = []

    def __iter__(self) -> Iterator[Checkpoint]:
        """Raises as `ModelDir.checkpoint`; with `all` only where no step is there at all."""
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

    def failed(self, *errors: MonolithError | None) -> None:
        """Keep errors that did not end what was done; None is none."""
        self._errors += errors

    def end(self) -> None:
        """End the command with the worst of what went wrong, if anything did.

        Raises
        ------
        MonolithError
            The worst; the others are told.
        """
        end_with(self._errors, self._messages)


def one_checkpoint(directory: ModelDir, step: int | str) -> Checkpoint:
    """The checkpoint of a step, or of `latest`. Raises as `ModelDir.checkpoint`."""
    return directory.checkpoint(None if step == "latest" else int(step))


def end_with(errors: Iterable[MonolithError | None], messages: Messages) -> None:
    """Raise the worst of several errors, and tell the others, with advice for the command."""
    found = [error for error in errors if error is not None]
    if found:
        from monolith_cli.commands.hints import advise_here

        raise_worst([advise_here(error) for error in found], messages.warnings)
