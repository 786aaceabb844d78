"""What `ckpt pin` and `ckpt unpin` show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import Report, Section, Text, Verdict

if TYPE_CHECKING:
    from monolith_cli.care.pins import Pinning

__all__ = ["PinReport"]


class PinReport(Report):
    """What holds of the step now, and what was written for that."""

    def __init__(self, done: Pinning) -> None:
        self.done = done

    def sections(self) -> Iterator[Section]:
        done = self.done
        said = f"step {done.step} is pinned" if done.pinned else f"step {done.step} is not pinned"
        if not done.files:
            said += ", as before"
        yield [Verdict(said, good=True)]
        if done.listed:
            yield [Text("'checkpoint' lists it now, as training wants it of steps that are pinned")]

    def document(self) -> dict[str, object]:
        done = self.done
        return {
            "model_dir": done.model_dir,
            "step": done.step,
            "pinned": done.pinned,
            "listed": done.listed,
            "files": list(done.files),
        }
