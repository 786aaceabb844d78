"""The tables of a sample as files: a task for each of them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.execution.workers import is_given_up
from monolith_cli.samples.entries import framed_entries
from monolith_cli.samples.plan import table_parts

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from monolith_cli.samples.entries import Recipe
    from monolith_cli.samples.plan import Part, Plan
    from monolith_cli.tables.writer import DumpWriter

__all__ = ["ShardTask", "Tell", "multi_tasks", "single_tasks"]

_MULTI_BASE = "MonolithMultiHashTable"


class ShardTask(NamedTuple):
    """A file of a dump, and the parts of tables that it gets; `tell` hears of each chunk."""

    dump: DumpWriter
    shard: int
    parts: list[Part]
    multi: bool
    recipe: Recipe
    tell: Callable[[int], None] | None

    def run(self) -> dict[str, int]:
        """Write the file; its entries by table. Raises `WriteError`."""
        with self.dump.shard(self.shard) as writer:
            for part in self.parts:
                if self.multi:
                    writer.begin(part.plan.table.name)
                for framed, entries in framed_entries(part, self.recipe):
                    if is_given_up():
                        return {}  # nobody hears it
                    writer.write_framed(framed, entries)
                    if self.tell is not None:
                        self.tell(entries)
        return self.dump.contents(self.shard)


def single_tasks(
    assets: Path,
    plans: list[Plan],
    shards: int,
    recipe: Recipe,
    dumps: contextlib.ExitStack,
    tell: Callable[[int], None] | None,
) -> Iterator[ShardTask]:
    """The files of tables that have their own; their dumps appear when `dumps` is closed."""
    from monolith_cli.tables.writer import DumpWriter

    for plan in plans:
        dump = dumps.enter_context(DumpWriter(assets, plan.table.name, shards))
        for part in table_parts(plan, shards):
            yield ShardTask(dump, part.shard, [part], False, recipe, tell)


def multi_tasks(
    assets: Path,
    plans: list[Plan],
    shards: int,
    recipe: Recipe,
    dumps: contextlib.ExitStack,
    tell: Callable[[int], None] | None,
) -> Iterator[ShardTask]:
    """The files that all tables share; their dump appears when `dumps` is closed."""
    from monolith_cli.tables.writer import DumpWriter

    dump = dumps.enter_context(DumpWriter(assets, _MULTI_BASE, shards, multi=True))
    by_table = [table_parts(plan, shards) for plan in plans]
    for shard in range(shards):
        parts = [of_table[shard] for of_table in by_table]
        yield ShardTask(dump, shard, parts, True, recipe, tell)


class Tell:
    """What threads tell how many entries they have written; it says how many that is in all."""

    def __init__(self, entries: int, progress: Callable[[int, int], None] | None) -> None:
        self._lock = Lock()
        self._total = entries
        self._done = 0
        self._progress = progress

    def __call__(self, entries: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += entries
                self._progress(self._done, self._total)
