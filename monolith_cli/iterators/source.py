"""How much the source at the end of a way has read, and of which file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.iterators.kinds import CACHES, INTERLEAVES, KNOWN, REPEATS, SHUFFLES, SOURCES
from monolith_cli.iterators.pipeline import kinds_of
from monolith_cli.iterators.place import FilePlace, Link
from monolith_cli.iterators.records import FILE_READERS, Count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.iterators.pipeline import InputFile, Pipeline
    from monolith_cli.iterators.records import FileKind, RecordCounter
    from monolith_cli.iterators.state import Node

__all__ = ["Source", "is_exhausted", "is_list"]

_FILE_ORDER = {"TensorSlice", "Shard", "FiniteTake", "FiniteSkip", "FiniteRepeat", "ForeverRepeat"}
"""Nodes that file names may come through, and still come in the order of the fingerprint."""

_CHANGING = {"Shard", "Skip", "Take", "batch"}
"""Kinds of nodes that return another number of elements than they take."""

_READS = 0
"""The mode of a cache in files that was written before."""


class Source:
    """The last node on a way, and what it has read.

    Attributes
    ----------
    node
    read
        How much; of its file where it reads files.
    file
        The file; None if it is at none.
    before
        The records of each file before that, in the same epoch.
    turns
        How often all files were read before that.
    is_cut
        What the node reads from is over, and no longer in the state.
    ended
        And so is the whole input, or an epoch of it.
    is_cache
        It reads what a cache has of an epoch before.
    """

    def __init__(self, links: Sequence[Link], pipeline: Pipeline, counter: RecordCounter) -> None:
        self._links = list(links)
        self._nodes = [link.node for link in links]
        self._pipeline = pipeline
        self._counter = counter
        self.node = node = self._nodes[-1]
        self.file: FilePlace | None = None
        self.before: list[int] = []
        self.turns = 0
        self.is_cut = False
        self.ended = False
        self.is_cache = node.base in CACHES and (
            "cache_completed" in node.values or node.number("Mode") == _READS
        )
        self.read = self._begin()

    def is_in_file(self, node: Node) -> bool:
        """Whether the node reads one file, and another one of its kind the next."""
        above = self._links[: self._nodes.index(node)]
        return any(link.node.base == "FlatMap" and link.number is not None for link in above)

    def _begin(self) -> Count:
        """How much the source has read, of its file where it reads files."""
        node = self.node
        if node.base in FILE_READERS:
            return self._begin_file()
        if node.base == "Range":
            return self._begin_range()
        if self.is_cache:
            return _known(node.number("index", "cur_index"))
        if node.base in SOURCES:
            return _known(node.number("index", "produced", "num_random_samples"))
        if node.base not in KNOWN:
            return Count(None, f"what the state of {node.op} means is not known")
        if _is_not_begun(node):
            return Count(0)
        self.is_cut = True
        if self.is_in_file(node):
            return self._begin_file_end()
        self.ended = True
        return Count(None)

    def _begin_range(self) -> Count:
        following = self.node.number("next")
        said = self._pipeline.parameters("Range", 0, 1)
        start, step = said.get("start"), said.get("step")
        if following is None or not isinstance(start, int) or not isinstance(step, int) or not step:
            return Count(None, "where the range begins is only in a fingerprint")
        return _known((following - start) // step)

    def _begin_file(self) -> Count:
        node = self.node
        offset = node.number("offset", "current_pos")
        files = self._pipeline.files_in_order or []
        path = self._path()
        before = self._files_before(path, files)
        if path is None and before is not None and files:
            path = files[before % len(files)].path
        kind = self._pipeline.file_kind(node.base)
        if offset is None:
            inside = Count(0)
        elif path is None:
            inside = Count(None, "the name of the file is not known")
        else:
            inside = self._counter.count(path, kind, offset)
        known = [i for i, file in enumerate(files) if file.path == path]
        number = known[0] + 1 if len(known) == 1 else None
        if files and before is not None:
            number = before % len(files) + 1
        size = files[known[0]].size_bytes if known else None
        packed = kind.compression if path is None else self._counter.compression(path, kind)
        self.file = FilePlace(path, number, len(files) or None, offset, size, inside, packed)
        if before is None and any(node.base in INTERLEAVES for node in self._nodes):
            return Count(None, "several files are read at a time")
        if before is None:
            hint = "" if self._pipeline else " without a fingerprint"
            return Count(None, f"which files were read before this one is not known{hint}")
        return self._count_before(before, files, kind) or inside

    def _begin_file_end(self) -> Count:
        """A file that was read to its end, while some of its records are still on the way."""
        files = self._pipeline.files_in_order or []
        path = self._path()
        before = self._files_before(path, files)
        reader = self._pipeline.reader
        stages = self._pipeline.stages_in_file()
        if path is None and before is not None and files:
            path = files[before % len(files)].path
        if path is None or before is None or reader is None or stages is None:
            return Count(None, "how much of a file is on the way is not known")
        left = [node for node in self._nodes if self.is_in_file(node)]
        seen = sum(kind in _CHANGING for node in left for kind in kinds_of(node.base))
        if not is_list(self.node) and seen != len(stages):
            return Count(None, "how much of a file is on the way is not known")
        kind = self._pipeline.file_kind(reader)
        inside = self._counter.count(path, kind)
        file = files[before % len(files)] if files else None
        size = file.size_bytes if file else None
        number = before % len(files) + 1 if files else None
        packed = self._counter.compression(path, kind)
        self.file = FilePlace(path, number, len(files) or None, None, size, inside, packed)
        return self._count_before(before, files, kind) or inside

    def _count_before(
        self, before: int, files: Sequence[InputFile], kind: FileKind
    ) -> Count | None:
        """Count the records of the files before; what it returns is why that cannot be done."""
        if before and before >= len(files):
            self.turns, before = divmod(before, len(files))
        for file in files[:before]:
            count = self._counter.count(file.path, kind)
            if count.records is None:
                return Count(None, f"{count.why}: {file.path}")
            self.before.append(count.records)
        return None

    def _path(self) -> str | None:
        """The file's name, as the node that has opened it was given it."""
        for node, number in reversed(self._links[:-1]):
            if node.base not in ("FlatMap", *INTERLEAVES):
                continue
            key = "inputs[0]"
            if node.base == "LegacyParallelInterleave":
                key = f"worker_thread_{number} | input_0"
            name = node.values.get(key)
            return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else None
        return None

    def _files_before(self, path: str | None, files: Sequence[InputFile]) -> int | None:
        """How many files were opened before this one, epochs included; None if not known."""
        if any(node.base in INTERLEAVES for node in self._nodes):
            return None
        lists = [link for link in self._links if link.node.base == "FlatMap"]
        moved = [link for link in lists if link.number]
        before = sum(link.number or 0 for link in lists)
        before += self.node.number("current_file_index") or 0
        if not before:
            return 0
        # As the file that is read is where the fingerprint has it, so were those before it.
        if moved and moved != lists[:1]:
            return None
        if not files or path not in (None, files[before % len(files)].path):
            return None
        names = [node for link in moved for node in _name_nodes(link.node)]
        if any(node.base not in _FILE_ORDER for node in names):
            return None
        if before >= len(files) and not any(node.base in REPEATS for node in names):
            return None
        return before


def _known(count: int | None) -> Count:
    if count is None or count < 0:
        return Count(None, "the state does not say how much it is")
    return Count(count)


def is_list(node: Node) -> bool:
    """Whether it is a flat map that has opened nothing yet, or nothing any more."""
    return node.base == "FlatMap" and all(number is None for number, _ in node.inputs)


def is_exhausted(flat_map: Node) -> bool:
    """Whether a flat map that has nothing open had all there is.

    In a symbolic checkpoint one that is over need not say so; but it has opened something.
    """
    return bool(flat_map.number("exhausted") or flat_map.number("element_index"))


def _is_not_begun(node: Node) -> bool:
    if node.base in SHUFFLES:
        return not node.number("slices_size") and not node.number("epoch")
    return node.base == "FlatMap" and not is_exhausted(node)


def _name_nodes(node: Node) -> list[Node]:
    """The nodes that a flat map gets the names of files from."""
    return [below for number, inner in node.inputs if number is None for below in inner.walk()]
