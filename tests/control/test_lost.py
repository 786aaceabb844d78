"""The error of a barrier that was held for a command, and did not go with it."""

from __future__ import annotations

from monolith_cli.control.hold import Held
from monolith_cli.control.lost import lost_error
from monolith_cli.errors import MonolithError, UnreachableError

FINE = Held(0, None, False, None, None)
NOBODY = UnreachableError("nobody listens", kind="nobody_listens")


def said(held: Held, log: str = "") -> str | None:
    error = lost_error(held, "box:80", end="stays until 'it is removed'", log=log)
    return None if error is None else str(error)


def test_it_went_with_the_command() -> None:
    assert said(FINE) is None


def test_it_was_lost() -> None:
    lost = FINE._replace(code=3, is_lost=True)
    text = (
        "box:80: the barrier was lost while the command ran: it was removed, or the chief has"
        " started again; the command has ended with 3; run it again if it needed the pause"
    )
    assert said(lost) == text
    assert said(lost, "monolith job log m") == f"{text}; see 'monolith job log m'"
    # A command that was not run did not need it.
    assert said(lost._replace(problem=MonolithError("not run"))) is None


def test_it_could_not_be_removed() -> None:
    left = FINE._replace(not_removed=MonolithError("busy"), ends_in_seconds=5.0)
    assert said(left) == (
        "box:80: the barrier could not be removed: busy; the command has ended with 0; the barrier"
        " stays until 'it is removed'"
    )
    text = said(left._replace(is_lost=None, not_removed=NOBODY))
    assert text is not None
    assert "may have been lost while the command ran, and could not be removed" in text
    assert text.endswith(
        "the barrier ends when the workers see that the chief is dead, or join the run of another"
    )
