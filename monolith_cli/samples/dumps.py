"""The tables of a sample as files: a task for each of them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.execution.workers import is_given_up

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from monolith_cli.samples.drift import DriftPart
    from monolith_cli.samples.entries import Part, Recipe
    from monolith_cli.tables.writer import DumpWriter

    AnyPart: TypeAlias = Part | DriftPart

__all__ = ["MULTI_BASE", "ShardTask", "Tell", "Written", "multi_tasks", "single_tasks"]

MULTI_BASE = "MonolithMultiHashTable"


class Written(NamedTuple):
    """A file of a dump: its entries by table, and the fids of those whose embeddings are NaN."""

    contents: dict[str, int]
    nan_fids: tuple[int, ...] = ()


class ShardTask(NamedTuple):
    """A file of a dump, and the parts of tables that it gets; `tell` hears of each chunk."""

    dump: DumpWriter
    shard: int
    parts: list[AnyPart]
    multi: bool
    recipe: Recipe
    tell: Callable[[int], None] | None

    def run(self) -> Written:
        """Write the file. Raises `WriteError`."""
        nan_fids: list[int] = []
        with self.dump.shard(self.shard) as writer:
            for part in self.parts:
                if self.multi:
                    writer.begin(part.plan.table.name)
                for chunk in part.chunks(self.recipe):
                    if is_given_up():
                        return Written({})  # nobody hears it
                    writer.write_framed(chunk.framed, chunk.entries)
                    nan_fids += chunk.nan_fids
                    if self.tell is not None:
                        self.tell(chunk.planned)
        return Written(self.dump.contents(self.shard), tuple(nan_fids))


def single_tasks(
    assets: Path,
    by_table: list[list[AnyPart]],
    recipe: Recipe,
    dumps: contextlib.ExitStack,
    tell: Callable[[int], None] | None,
) -> Iterator[ShardTask]:
    """The files of tables that have their own; their dumps appear when `dumps` is closed."""
    from monolith_cli.tables.writer import DumpWriter

    for parts in by_table:
        dump = dumps.enter_context(DumpWriter(assets, parts[0].plan.table.name, len(parts)))
        for part in parts:
            yield ShardTask(dump, part.shard, [part], False, recipe, tell)


def multi_tasks(
    assets: Path,
    by_table: list[list[AnyPart]],
    recipe: Recipe,
    dumps: contextlib.ExitStack,
    tell: Callable[[int], None] | None,
) -> Iterator[ShardTask]:
    """The files that all tables share; their dump appears when `dumps` is closed."""
    from monolith_cli.tables.writer import DumpWriter

    shards = len(by_table[0])
    dump = dumps.enter_context(DumpWriter(assets, MULTI_BASE, shards, multi=True))
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
