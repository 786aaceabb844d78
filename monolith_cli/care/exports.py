"""Exports of a model directory: of which step each is, and what keeps it alive.

The training system notes its exports in `ExportSaverListenerState`, in the parent of each version:
`<base>/<sub graph>/`, or `<base>/` where all is in one graph. At every save it deletes those whose
step is neither listed in `checkpoint` nor exempt. Many exports hold no tables: they read those of
their step's assets directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.leftovers import ROLLED_BACK
from monolith_cli.checkpoint.export_dir import holds_shards
from monolith_cli.checkpoint.names import ASSETS_SUFFIX, INDEX_SUFFIX, parse_step_file
from monolith_cli.errors import (
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    ProtectedError,
    StateFileError,
)
from monolith_cli.formats import text_proto
from monolith_cli.storage.location import (
    HERE,
    absolute,
    as_location,
    join,
    name_of,
    normal,
    parent_of,
)
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from monolith_cli.storage.location import AnyPath

__all__ = [
    "EXPORT_STATE",
    "Export",
    "check_exports",
    "endangered",
    "find_exports",
    "unnoted",
    "without_exports",
]

EXPORT_STATE = "ExportSaverListenerState"
"""The name of the file that lists the exports of a sub graph."""

_DEPTH = 3
"""How far below a directory the state files are: base, sub graph, and one more."""

_WITHOUT_TABLES = "entry"
_WITHOUT_TABLES_PREFIX = "dense_"
_SHOWN = 5


class Export(NamedTuple):
    """An export that is noted in a state file, and is there.

    Attributes
    ----------
    directory
        The SavedModel: a version.
    step
        The step that it was made of.
    state_path
        The file that notes it.
    shares_tables
        Whether it holds no tables, though its sub graph has some: it reads those of its step.
    """

    directory: str
    step: int
    state_path: str
    shares_tables: bool


def find_exports(model_dir: AnyPath, elsewhere: Sequence[AnyPath] = ()) -> list[Export]:
    """The exports below a model directory, and below others, that state files note.

    Lists directories, down to the third level, and reads those files; none of steps is looked into.
    In place of an export itself the directory that it is in is looked at.

    Raises
    ------
    PathNotFoundError
        One of `elsewhere` is not there.
    StateFileError
        A state file does not parse: which steps are exported is not known, then.
    NotReadableError
        A directory cannot be listed.
    """
    found: dict[str, Export] = {}
    for each in elsewhere:
        root = as_location(each)
        store_of(root).names(root)  # it must be there
    for root, depth in _roots(model_dir, elsewhere):
        for path in _state_files(root, depth):
            for export in _read(path):
                found.setdefault(export.directory, export)
    return list(found.values())


def without_exports(elsewhere: Sequence[AnyPath]) -> list[str]:
    """Those of these directories where no state file notes an export that is there.

    Raises
    ------
    StateFileError, NotReadableError
        As `find_exports`.
    """
    return [
        as_location(each)
        for each in elsewhere
        if not any(
            True
            for root, depth in _below([each])
            for path in _state_files(root, depth)
            for _ in _read(path)
        )
    ]


def unnoted(
    model_dir: AnyPath, noted: Sequence[Export], elsewhere: Sequence[AnyPath] = ()
) -> list[str]:
    """Exports without tables that no state file notes: nobody can say of which step they are.

    Parameters
    ----------
    noted
        What `find_exports` has found there.

    Raises
    ------
    NotReadableError
        A directory cannot be listed.
    """
    known = {each.directory for each in noted}
    found: dict[str, None] = {}
    for root, depth in _roots(model_dir, elsewhere):
        for directory in _directories(root, depth):
            if not _needs_tables(directory):
                continue
            for name in store_of(directory).names(directory):
                path = join(directory, name)
                if _is_number(name) and path not in known and _is_saved_model(path):
                    found.update({} if _holds_tables(path) else {path: None})
    return list(found)


def endangered(
    exports: Sequence[Export], stay: Collection[int], before: Collection[int] | None = None
) -> list[Export]:
    """Those that the training system deletes at its next save.

    Parameters
    ----------
    stay
        The steps that stay listed in `checkpoint`, or are exempt.
    before
        Those that are so now: what would be deleted without any change is left out. None for all.
    """
    return [
        each
        for each in exports
        if each.step not in stay and (before is None or each.step in before)
    ]


def check_exports(model_dir: AnyPath, exports: Sequence[Export]) -> None:
    """Refuse what would have these deleted.

    Raises
    ------
    ProtectedError
        There are some. Its kind is `exports_would_go`.
    """
    if not exports:
        return
    named = ", ".join(f"{each.directory} (step {each.step})" for each in exports[:_SHOWN])
    if len(exports) > _SHOWN:
        named += f" and {len(exports) - _SHOWN} more"
    raise ProtectedError(
        f"the next save would delete exports of steps that are no longer listed: {named}",
        path=as_location(model_dir),
        hint="keep their steps, or copy the exports to another place",
        kind="exports_would_go",
    )


def _roots(model_dir: AnyPath, elsewhere: Sequence[AnyPath]) -> Iterator[tuple[str, int]]:
    """Where exports are looked for, and how far below."""
    yield as_location(model_dir), _DEPTH
    yield from _below(elsewhere)


def _below(elsewhere: Sequence[AnyPath]) -> Iterator[tuple[str, int]]:
    """These; in place of an export the directory with its state file, and nothing further."""
    for each in elsewhere:
        root = as_location(each)
        if not _is_saved_model(root):
            yield root, _DEPTH
            continue
        root = normal(root)
        if name_of(root) in ("", ".", ".."):
            root = absolute(root)
        yield parent_of(root) or HERE, 0


def _state_files(directory: str, depth: int) -> Iterator[str]:
    """The state files in a directory, and below it."""
    for each in _directories(directory, depth):
        path = join(each, EXPORT_STATE)
        if store_of(path).exists(path):
            yield path


def _directories(directory: str, depth: int) -> Iterator[str]:
    """A directory, and those below it that exports may be in; none of steps, and no version."""
    store = store_of(directory)
    try:
        names = store.names(directory)
    except PathNotFoundError:
        return  # a file, or gone
    yield directory
    if depth == 0:
        return
    for name in names:
        if _may_hold_exports(name) and store.is_directory(join(directory, name)):
            yield from _directories(join(directory, name), depth - 1)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _is_saved_model(directory: str) -> bool:
    store = store_of(directory)
    return any(
        store.exists(join(directory, name)) for name in ("saved_model.pb", "saved_model.pbtxt")
    )


def _needs_tables(graph: str) -> bool:
    """Whether a sub graph has tables, by its name."""
    name = name_of(normal(graph)) if graph else ""
    return name != _WITHOUT_TABLES and not name.startswith(_WITHOUT_TABLES_PREFIX)


def _may_hold_exports(name: str) -> bool:
    """Whether it may be a directory with exports below it, and is no version, and of no step."""
    if name == ROLLED_BACK or name.startswith(".") or _is_number(name):
        return False
    # Most names in a model directory are of steps: told by their ends, that costs least.
    if name.endswith((INDEX_SUFFIX, ASSETS_SUFFIX, ".meta")) or ".data-" in name:
        return False
    return name != EXPORT_STATE and not name.startswith("ckpt.") and parse_step_file(name) is None


def _read(path: str) -> Iterator[Export]:
    """What is there of the exports that a state file notes."""
    base = path.removesuffix(EXPORT_STATE)
    needs_tables = _needs_tables(base)
    for field in text_proto.read(path, of_paths=True):
        if field.name != "entries":
            continue
        recorded, step = None, 0
        for part in text_proto.expect(field, list, path):
            if part.name == "export_dir":
                recorded = text_proto.expect(part, bytes, path).decode("utf-8", "surrogateescape")
            elif part.name == "global_step":
                step = text_proto.expect(part, int, path)
        if not recorded:
            raise StateFileError("an export without a directory", path=path, offset=field.offset)
        directory = _place(base, recorded)
        if directory is not None:
            shares = needs_tables and not _holds_tables(directory)
            yield Export(directory, step, path, shares)


def _place(base: str, recorded: str) -> str | None:
    """Where an export is: here, whatever its recorded path, if it is; None for one that is gone."""
    here = join(base, name_of(normal(recorded)))
    for path in (here, join(base, recorded)):
        if store_of(path).is_directory(path):
            return path
    return None


def _holds_tables(directory: str) -> bool:
    try:
        return holds_shards(join(directory, "assets"))
    except NotReadableError:
        raise
    except MonolithError:
        return False
