"""Dense variables of two checkpoints, held against each other value by value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.formats.dtypes import DTYPE_BYTES
from monolith_cli.formats.tensor_bundle import TensorBundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import numpy as np

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.formats.bundle_index import TensorEntry

__all__ = ["DenseDiff", "diff_dense"]

_NUMBERS = ("float", "int", "uint", "complex", "bool", "bfloat", "qint", "quint")
_WITHOUT_NUMBERS = ("float8", "float4", "int4", "uint4", "int2", "uint2")


class DenseDiff(NamedTuple):
    """How a dense variable differs.

    Attributes
    ----------
    sub_graph
        Of an export, such as `ps_0`; else empty.
    name
    dtypes, shapes
        On both sides; None where it is not there.
    differs
        Whether anything of it does.
    largest
        The largest difference of a value; None where that has no meaning: of strings, of other
        shapes, and where no difference is finite.
    distance
        The L2 norm of the difference; None likewise.
    relative
        That by the L2 norm before; None likewise, and where that is 0.
    non_finite
        Values that differ by no finite number.
    """

    sub_graph: str
    name: str
    dtypes: tuple[str | None, str | None]
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    differs: bool
    largest: float | None = None
    distance: float | None = None
    relative: float | None = None
    non_finite: int = 0


def diff_dense(
    a: Checkpoint, b: Checkpoint, progress: Callable[[int, int], None] | None = None
) -> list[DenseDiff]:
    """All dense variables of either side, names ascending as bytes.

    Costs one read of those of the same dtype and shape; a mebibyte of memory, and for a partitioned
    variable whose parts are others that of the variable. Checksums are verified. Variants and
    resources are told apart by checksum and size alone.

    Parameters
    ----------
    progress
        Called with the bytes read so far of the first side, and those to be read.

    Raises
    ------
    MonolithError
        As `TensorBundle` and its `array`.
    """
    bundles = [
        {graph: TensorBundle(prefix) for graph, prefix in checkpoint.bundles.items()}
        for checkpoint in (a, b)
    ]
    graphs = dict.fromkeys([*bundles[0], *bundles[1]])
    size = sum(entry.size_bytes for each in bundles[0].values() for entry in each.entries.values())
    done = 0
    found = []
    for graph in graphs:
        one, other = (side.get(graph) for side in bundles)
        names = {**(one.entries if one else {}), **(other.entries if other else {})}
        for name in sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape")):
            before = one.entries.get(name) if one else None
            after = other.entries.get(name) if other else None
            if one and other and before and after:
                found.append(_Variable(one, other, before, after).diff(graph))
            else:
                found.append(_one_sided(graph, name, before, after))
            done += before.size_bytes if before else 0
            if progress:
                progress(done, size)
    return found


def _one_sided(
    graph: str, name: str, before: TensorEntry | None, after: TensorEntry | None
) -> DenseDiff:
    return DenseDiff(
        graph,
        name,
        (before.dtype if before else None, after.dtype if after else None),
        (before.shape if before else None, after.shape if after else None),
        True,
    )


class _Variable(NamedTuple):
    """A variable of both sides."""

    bundle_a: TensorBundle
    bundle_b: TensorBundle
    a: TensorEntry
    b: TensorEntry

    def diff(self, graph: str) -> DenseDiff:
        a, b = self.a, self.b
        found = DenseDiff(graph, a.name, (a.dtype, b.dtype), (a.shape, b.shape), True)
        if a.dtype != b.dtype or a.shape != b.shape:
            return found
        if a.dtype == "string":
            same = self.bundle_a.array(a).tolist() == self.bundle_b.array(b).tolist()
            return found._replace(differs=not same)
        if a.dtype not in DTYPE_BYTES:
            same = (a.masked_crc32c, a.size_bytes) == (b.masked_crc32c, b.size_bytes)
            return found._replace(differs=not same)
        total = _Sum()
        for before, after in self._arrays():
            total.add(before, after)
        is_number = a.dtype.startswith(_NUMBERS) and not a.dtype.startswith(_WITHOUT_NUMBERS)
        return total.told(found) if is_number else found._replace(differs=total.differs)

    def _arrays(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Their values, a piece at a time."""
        a, b = self.a, self.b
        if [part for part, _ in a.slices] != [part for part, _ in b.slices]:
            yield self.bundle_a.array(a), self.bundle_b.array(b)
            return
        parts = zip(
            [each for _, each in a.slices] or [a],
            [each for _, each in b.slices] or [b],
            strict=True,
        )
        for before, after in parts:
            yield from zip(self.bundle_a.pieces(before), self.bundle_b.pieces(after), strict=True)


class _Sum:
    """What has been seen of a variable's differences."""

    def __init__(self) -> None:
        self.differs = False
        self.largest = 0.0
        self.squares = 0.0
        self.squares_before = 0.0
        self.finite = 0
        self.non_finite = 0

    def add(self, before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> None:
        """Take some more values in."""
        import numpy as np

        wide = np.complex128 if before.dtype.kind == "c" else np.float64
        with np.errstate(invalid="ignore", over="ignore"):
            older = before.astype(wide).ravel()
            size = np.abs(older[np.isfinite(older)])
            self.squares_before += float(size @ size)
            if before.tobytes() == after.tobytes():
                return
            self.differs = True
            moved = np.abs(after.astype(wide).ravel() - older)
        same = _bits(before) == _bits(after)
        moved[same] = 0  # infinity has not moved, and a NaN of the same bits is the same
        finite = moved[np.isfinite(moved)]
        self.non_finite += moved.size - finite.size
        self.finite += finite.size
        if finite.size:
            self.largest = max(self.largest, float(finite.max()))
            self.squares += float(finite @ finite)

    def told(self, found: DenseDiff) -> DenseDiff:
        """The same of the variable."""
        if not self.differs:
            return found._replace(differs=False, largest=0.0, distance=0.0, relative=0.0)
        if not self.finite:
            return found._replace(non_finite=self.non_finite)
        distance, before = math.sqrt(self.squares), math.sqrt(self.squares_before)
        return found._replace(
            largest=self.largest,
            distance=distance,
            relative=distance / before if before else None,
            non_finite=self.non_finite,
        )


def _bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Something of each value that is equal where its bits are."""
    import numpy as np

    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype.kind == "c":
        return flat.view(f"V{flat.dtype.itemsize}")
    return flat.view(f"u{flat.dtype.itemsize}")
