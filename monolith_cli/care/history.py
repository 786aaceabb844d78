"""How many entries there were, by slot and by table, at every step that was counted.

That is what `ckpt.info-<step>` says, and nobody deletes these files: they outlive their steps. No
table is opened.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import parse_step_file
from monolith_cli.checkpoint.steps import index_time, order_of_steps, recorded_checkpoints
from monolith_cli.checkpoint.training_dir import look_into
from monolith_cli.errors import (
    MonolithError,
    NotMeasuredError,
    PathNotFoundError,
    TableNotFoundError,
)
from monolith_cli.formats.ckpt_info import parse_ckpt_info
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monolith_cli.care.conditions import Values
    from monolith_cli.checkpoint.training_dir import Look
    from monolith_cli.storage.location import AnyPath

__all__ = ["Counted", "History", "read_history"]

_HINT = "count it"


class Counted(NamedTuple):
    """A step that was counted.

    Attributes
    ----------
    time
        When it was committed, in seconds since 1970; of a step that is gone, when it was counted.
    slot_counts
        Entries of single tables by slot.
    feature_counts
        Entries of multi tables by table.
    is_counted
        False for an empty file, by which the original says that it did not count.
    """

    step: int
    time: float | None
    slot_counts: Mapping[int, int]
    feature_counts: Mapping[str, int]
    is_counted: bool = True

    @property
    def entries(self) -> int | None:
        """Of all that was counted; None if nothing was."""
        if not self.is_counted:
            return None
        return sum(self.slot_counts.values()) + sum(self.feature_counts.values())


class History(NamedTuple):
    """The counts of a model directory, oldest first.

    It can be asked by conditions, see `care.conditions`: of entries now, at the latest step, and
    before, at the one before it that was counted.

    Attributes
    ----------
    latest
        The step that `checkpoint` names as the latest; None without one.
    problems
        Files that could not be read.
    later
        The counted steps that come after the latest: those of a run that went further and is no
        more, or was not committed. Conditions are not about them.
    """

    steps: Sequence[Counted]
    latest: int | None
    problems: Sequence[MonolithError]
    later: Sequence[int] = ()

    @property
    def counted(self) -> list[Counted]:
        """The steps that were counted, up to the latest."""
        return [step for step in self.steps if step.is_counted and step.step not in self.later]

    def measured(self, scope: str, name: str) -> Values | None:
        """Entries at the latest step: of the whole, by `slot`, or by `table`.

        Raises
        ------
        NotMeasuredError
            The latest step was not counted.
        """
        return _measured(self.steps[self._now()], scope, name)

    def before(self, scope: str, name: str) -> Values | None:
        """The same at the step before, or the last before that was counted.

        Raises
        ------
        NotMeasuredError
            There is none; or as `measured`.
        """
        counted = [step for step in self.steps[: self._now()] if step.is_counted]
        if not counted:
            raise NotMeasuredError("no step before the latest was counted")
        return _measured(counted[-1], scope, name)

    def pick(
        self, *, slots: Sequence[tuple[int, int]] = (), patterns: Sequence[str] = ()
    ) -> History:
        """The counts of some slots and tables alone; of all without any.

        Parameters
        ----------
        slots
            Ranges, both ends included. Tables are left out then, but those with a name that matches
            one of the patterns.
        patterns
            Shell patterns of names of tables, likewise.

        Raises
        ------
        TableNotFoundError
            A pattern that no table matches.
        """
        if not slots and not patterns:
            return self
        names = {name for step in self.steps for name in step.feature_counts}
        wanted: set[str] = set()
        for pattern in patterns:
            matching = {pattern} & names or {n for n in names if fnmatchcase(n, pattern)}
            if not matching:
                raise TableNotFoundError(f"no table that was counted matches {pattern!r}")
            wanted |= matching
        picked = [
            step._replace(
                slot_counts={
                    slot: count
                    for slot, count in step.slot_counts.items()
                    if any(first <= slot <= last for first, last in slots)
                },
                feature_counts={n: c for n, c in step.feature_counts.items() if n in wanted},
            )
            for step in self.steps
        ]
        return self._replace(steps=picked)

    def _now(self) -> int:
        """The index of the latest step; where none is named, of the last."""
        if not self.steps:
            raise NotMeasuredError("no step was counted: there is no ckpt.info", hint=_HINT)
        steps = [step.step for step in self.steps]
        if self.latest is not None and self.latest not in steps:
            what = f"step {self.latest} was not counted: it has no ckpt.info"
            raise NotMeasuredError(what, hint=_HINT)
        now = len(steps) - 1 if self.latest is None else steps.index(self.latest)
        if not self.steps[now].is_counted:
            what = f"step {steps[now]} was not counted: its ckpt.info is empty"
            raise NotMeasuredError(what, hint=f"{_HINT} again")
        return now


def read_history(model_dir: AnyPath, *, merge_servers: bool = False) -> History:
    """Read every `ckpt.info` of a model directory, but those of saves that are not committed.

    Parameters
    ----------
    merge_servers
        Take tables `user_0`, `user_1` and so on as one.

    Raises
    ------
    PathNotFoundError
        It is no model directory of a job.
    StateFileError
        `checkpoint` does not parse.
    NotReadableError
        The directory cannot be listed.
    """
    directory = open_model_dir(model_dir)
    if directory.kind != "training":
        what = "no model directory of a job: there is no history in it"
        raise PathNotFoundError(what, path=directory.path)
    look = look_into(directory.directory)
    infos: dict[int, str] = {}
    for name in look.items:
        file = parse_step_file(name) if name.startswith("ckpt.info-") else None
        if file is not None and file.kind == "info" and not file.is_temporary:
            infos[file.step] = name
    for step in look.offer.withheld:
        infos.pop(step, None)
    order, times, latest = _order(look, infos)
    steps: list[Counted] = []
    problems: list[MonolithError] = []
    for step in order:
        if step not in infos:
            continue
        item = look.items[infos[step]]
        try:
            data = store_of(item.location).read(item.location)
            info = parse_ckpt_info(data, item.location)
        except PathNotFoundError:
            continue  # gone meanwhile
        except MonolithError as error:
            problems.append(error)
            continue
        steps.append(Counted(step, times.get(step), *info, is_counted=bool(data.strip())))
    there = [step.step for step in steps]
    behind = order[order.index(latest) + 1 :] if latest in order else []
    later = [step for step in behind if step in there]
    return History(_merged(steps) if merge_servers else steps, latest, problems, later)


def _order(
    look: Look, infos: Mapping[int, str]
) -> tuple[list[int], dict[int, float | None], int | None]:
    """The steps that are listed or counted, oldest first, their times, and the latest one."""
    listed: dict[int, float | None] = {}
    unlisted: dict[int, float] = {}
    latest = None
    for each in recorded_checkpoints(look.state, look.items) if look.state else []:
        if each.step is None:
            continue
        time = each.time
        if time is None and each.step in look.offer.by_step:
            time = index_time(look.offer.by_step[each.step].prefix or "")
        if each.is_listed:
            listed.setdefault(each.step, time)
        elif each.step not in listed:
            unlisted[each.step] = math.inf if time is None else time
        if look.state and each.path == look.state.model_checkpoint_path:
            latest = each.step
    if look.state is None and look.offer.latest is not None:
        latest = look.offer.latest.step
    for step, name in infos.items():
        if step in listed or math.isfinite(unlisted.get(step, math.inf)):
            continue
        offered = look.offer.by_step.get(step)
        time = index_time(offered.prefix) if offered is not None and offered.prefix else None
        unlisted[step] = _written_at(look, name) if time is None else time
    order = order_of_steps(list(listed.items()), unlisted, latest if look.state else None)
    known = {step: time if math.isfinite(time) else None for step, time in unlisted.items()}
    return order, {**listed, **known}, latest


def _written_at(look: Look, name: str) -> float:
    try:
        return look.items[name].status().modified
    except MonolithError:
        return 0.0


def _merged(steps: Sequence[Counted]) -> list[Counted]:
    from monolith_cli.tables.servers import merge_servers

    names = {name for step in steps for name in step.feature_counts}
    table_of = merge_servers(sorted(names))
    merged = []
    for step in steps:
        counts: dict[str, int] = {}
        for name, count in step.feature_counts.items():
            counts[table_of[name]] = counts.get(table_of[name], 0) + count
        merged.append(step._replace(feature_counts=counts))
    return merged


def _measured(step: Counted, scope: str, name: str) -> Values | None:
    if name != "entries":
        return None
    if scope == "":
        return {"": step.entries}
    if scope == "slot" and step.slot_counts:
        return step.slot_counts
    if scope == "table" and step.feature_counts:
        return step.feature_counts
    return None
