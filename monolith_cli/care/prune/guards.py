"""Steps that never go, whatever a policy says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.keeping import Reason
from monolith_cli.checkpoint.exempt import exempt_steps
from monolith_cli.checkpoint.names import input_base
from monolith_cli.checkpoint.override import Override, read_override
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.storage.location import join, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monolith_cli.care.exports import Export
    from monolith_cli.care.states import StepSurvey, Survey

__all__ = ["Guards", "why_never"]

_LATEST = Reason("latest", "latest")
_NEWEST = Reason("newest_complete", "newest complete")
_PINNED = Reason("pinned", "pinned")
_OVERRIDE = Reason("override", "ckpt.override names it")
_ELSEWHERE = Reason("elsewhere", "its files are in another directory")
_V1 = Reason("v1_format", "in a format that is not read here")


class Guards(NamedTuple):
    """What small files of a directory say must stay, at one moment.

    Attributes
    ----------
    exempt
        The steps that `monolith_checkpoint` exempts, and the names of their checkpoints.
    override
        The rollback of inputs that was asked for; None without one.
    """

    exempt: Mapping[int, str]
    override: Override | None

    @classmethod
    def read(cls, directory: str) -> Guards:
        """Read them.

        Raises
        ------
        StateFileError
            One does not parse, so that nobody knows what it keeps.
        NotReadableError
            The store refused.
        """
        return cls(exempt_steps(directory), read_override(directory))

    def reasons(self, step: int) -> list[Reason]:
        """Why that step must stay."""
        found = [_PINNED] if step in self.exempt else []
        if self.override is not None and self.override.model_step == step:
            found.append(_OVERRIDE)
        return found

    @property
    def inputs(self) -> set[tuple[str, int]]:
        """The iterator states that must stay: what their names begin with, and the step."""
        inputs = self.override.inputs if self.override is not None else {}
        return {(input_base(worker), step) for worker, step in inputs.items()}


def why_never(
    found: Survey, guards: Guards, exports: Sequence[Export]
) -> dict[int | None, list[Reason]]:
    """By step why it never goes; steps without such a reason are left out."""
    reasons: dict[int | None, list[Reason]] = {}
    newest = next((each for each in reversed(found.steps) if each.state == "complete"), None)
    shared: dict[int | None, str] = {}
    for export in exports:
        if export.shares_tables:
            shared.setdefault(export.step, export.directory)
    for step in found.steps:
        why = [_LATEST] if step.is_latest else []
        why += [_NEWEST] if step is newest else []
        if step.step is not None:
            why += guards.reasons(step.step)
        if step.step in shared:
            text = f"its tables are those of the export {shared[step.step]}"
            why.append(Reason("export", text))
        why += [each] if (each := _out_of_reach(found, step)) else []
        if why:
            reasons[step.step] = why
    return reasons


def _out_of_reach(found: Survey, step: StepSurvey) -> Reason | None:
    """Why its files are none of this directory's, or none that can be judged."""
    if step.checkpoint is not None:
        return _ELSEWHERE if step.checkpoint.is_elsewhere else None
    if not step.is_listed or found.state is None:
        return None
    for each in recorded_checkpoints(found.state, found.items):
        if each.step != step.step:
            continue
        if each.name in found.items:
            return _V1
        where = join(found.directory, parent_of(each.path))
        is_here = each.name == each.path or store_of(where).is_same(where, found.directory)
        if not is_here and not _is_stale(found, each.path):
            return _ELSEWHERE
    return None


def _is_stale(found: Survey, path: str) -> bool:
    """Whether a path of another place is just that where this directory was before it was moved.

    The place is gone, and the latest of the same place has its files here.
    """
    assert found.state is not None
    latest = found.latest
    return (
        parent_of(path) == parent_of(found.state.model_checkpoint_path)
        and latest is not None
        and latest.checkpoint is not None
        and not latest.checkpoint.is_elsewhere
    )
