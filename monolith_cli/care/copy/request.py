"""What a copy was asked for; and, in the journal, what one that was cut off had begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.care.journal import pick_up, read_journal
from monolith_cli.checkpoint.claim import check_journal
from monolith_cli.checkpoint.names import JOURNAL
from monolith_cli.errors import StateFileError
from monolith_cli.storage.location import absolute, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monolith_cli.care.journal import Journal

__all__ = ["Begun", "Request", "journal_plan", "request_of", "unfinished"]


class Begun(NamedTuple):
    """What was begun in one directory: the target, or `dense_only` in it.

    Attributes
    ----------
    steps
        Each with whether it is to be listed.
    latest
        As `Chosen` has it.
    listed_before
        `checkpoint` as it was, as text; None without one. If it says something else now, somebody
        has been here since.
    beside
        By step the files that do not have its number in their names: older states of inputs, and
        item pools.
    there
        The names of files that were there already: they are not of this copy.
    hidden
        What directories with tables, and indexes of dense variables, are named until all has
        arrived.
    """

    steps: Mapping[int, bool]
    latest: int | None
    listed_before: str | None
    beside: Mapping[int, Sequence[str]]
    there: frozenset[str]
    hidden: Mapping[str, str]


class Request(NamedTuple):
    """What to copy, and how: see `copy_steps`.

    Attributes
    ----------
    begun
        What another run has begun: by `""` the target, by `dense_only` that directory in it. Then
        nothing else counts. None if there was none.
    is_new
        Whether the target was made for it.
    takes_over
        Whether what has been begun is from a directory that is no longer there: of that stays what
        is asked for now.
    """

    source: str
    step: int | None = None
    every: bool = False
    link: bool = False
    as_latest: bool = False
    begun: Mapping[str, Begun] | None = None
    is_new: bool = False
    takes_over: bool = False

    def is_same(self, other: Request) -> bool:
        """Whether the same is asked for."""
        mine, its = self._asked(), other._asked()
        if mine[1:] != its[1:] or store_of(self.source) is not store_of(other.source):
            return False
        return mine == its or store_of(self.source).is_same(self.source, other.source)

    def _asked(self) -> tuple[object, ...]:
        return absolute(self.source), self.step, self.every, self.link, self.as_latest

    def is_source_gone(self) -> bool:
        """Whether nothing is there to copy from."""
        return not store_of(self.source).exists(self.source)


def unfinished(target: str, request: Request, *, dry_run: bool) -> tuple[Request, Journal | None]:
    """What to do in a directory, and the journal of the same copy if that was cut off there.

    The journal is this process's from now on, unless it only looks.

    Raises
    ------
    DirectoryInUseError
        Something else was cut off there: the error names the command to run first. Of a copy from a
        directory that is gone nothing more can come, so that is taken over.
    MonolithError
        As `pick_up`.
    """
    journal = read_journal(target)
    if journal is None:
        return request, None
    if journal.kind != "cp":
        check_journal(target)
        return request, None  # it has just ended
    begun = request_of(journal, target)
    takes_over = not begun.is_same(request)
    if takes_over:
        if not begun.is_source_gone():
            check_journal(target)
        begun = request._replace(begun=begun.begun, is_new=begun.is_new, takes_over=True)
    return begun, journal if dry_run else pick_up(target, "cp")


def journal_plan(request: Request, begun: Mapping[str, Begun]) -> dict[str, object]:
    """What the journal of a copy says."""
    return {
        "source": absolute(request.source),
        "step": request.step,
        "every": request.every,
        "link": request.link,
        "as_latest": request.as_latest,
        "is_new": request.is_new,
        "parts": {
            name: {
                "steps": [[step, is_listed] for step, is_listed in part.steps.items()],
                "latest": part.latest,
                "listed_before": part.listed_before,
                "beside": [[step, list(names)] for step, names in part.beside.items()],
                "there": sorted(part.there),
                "hidden": dict(part.hidden),
            }
            for name, part in begun.items()
        },
    }


def request_of(journal: Journal, target: str) -> Request:
    """What a journal says.

    Raises
    ------
    StateFileError
        It is not what `journal_plan` gives.
    """
    plan: Any = journal.plan
    try:
        begun = {
            str(name): Begun(
                steps={int(step): bool(is_listed) for step, is_listed in part["steps"]},
                latest=part["latest"],
                listed_before=part["listed_before"],
                beside={int(step): list(names) for step, names in part["beside"]},
                there=frozenset(part["there"]),
                hidden={str(name): str(other) for name, other in part["hidden"].items()},
            )
            for name, part in plan["parts"].items()
        }
        return Request(
            source=str(plan["source"]),
            step=plan["step"],
            every=bool(plan["every"]),
            link=bool(plan["link"]),
            as_latest=bool(plan["as_latest"]),
            begun=begun,
            is_new=bool(plan["is_new"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateFileError(
            "the journal of a copy, which makes no sense",
            path=join(target, JOURNAL),
            hint="remove it; what has arrived is not listed",
        ) from error
