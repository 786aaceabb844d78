"""Exported SavedModels: where their dense variables are, and their table dumps, if they hold any.

    <sub graph>/<version>/assets/    a sub graph for each server: ps_0, ps_1, ...
    <version>/assets/                exported standalone
    assets/                          one version by itself

Variables are in `variables/` beside `assets/`, a tensor bundle of that name.

Many exports hold none and share those of the checkpoint instead.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.checkpoint import Checkpoint
from monolith_cli.checkpoint.names import INDEX_SUFFIX, natural_key, parse_shard_name
from monolith_cli.errors import MissingShardError, PathNotFoundError
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["export_checkpoint", "holds_shards"]

_VERSION_CONTENTS = {"assets", "variables", "saved_model.pb", "saved_model.pbtxt"}


def export_checkpoint(directory: str) -> Checkpoint | None:
    """The dumps of the newest version; None where the directory is no export.

    Of several sub graphs it is the newest version of which all have dumps that have any at all.
    Variables of the others are those of that version, or of their newest. A server that is missing
    among those that are numbered is one of the checkpoint's `problems`.

    Raises
    ------
    MissingShardError
        There is no such version.
    NotReadableError
        The operating system refused to list a directory.
    """
    graphs = _sub_graphs(directory)
    if not graphs:
        return None
    dumps = {graph: found for graph, versions in graphs.items() if (found := _dumps(versions))}
    if not dumps:
        note = f"{directory}: this export holds no tables; it shares those of the checkpoint"
        return Checkpoint(assets=[], notes=[note], bundles=_bundles(directory, graphs, None))
    common = set.intersection(*(set(versions) for versions in dumps.values()))
    if not common:
        graph = next(iter(dumps))
        what = f"no version of which all of {', '.join(map(name_of, dumps))} have tables"
        raise MissingShardError(what, path=graph)
    version = max(common)
    notes = []
    newest = max(max(graphs[graph]) for graph in dumps)
    if newest > version:
        notes.append(f"{directory}: version {newest} is not complete; read from {version}")
    missing = [
        MissingShardError(
            "missing beside the other servers",
            path=join(directory, server),
            hint="restore it, or give one server's directory",
        )
        for server in _missing_servers([] if directory in graphs else graphs)
    ]
    return Checkpoint(
        assets=[versions[version] for versions in dumps.values()],
        notes=notes,
        problems=missing,
        bundles=_bundles(directory, graphs, version),
    )


def holds_shards(directory: str) -> bool:
    """Whether a directory holds shards of dumps; those of a tensor bundle are none."""
    shards = map(parse_shard_name, _names(directory))
    return any(shard and not shard.base.endswith(".data") for shard in shards)


def _sub_graphs(directory: str) -> dict[str, dict[int, str]]:
    """The directory of each version by number, by directory of the sub graph."""
    if _is_version(directory):
        return {directory: {0: directory}}
    versions = _versions(directory)
    if versions:
        return {directory: versions}
    children = [join(directory, name) for name in sorted(_names(directory), key=natural_key)]
    return {child: versions for child in children if (versions := _versions(child))}


def _versions(directory: str) -> dict[int, str]:
    paths = {
        int(name): join(directory, name)
        for name in _names(directory)
        if name.isascii() and name.isdecimal()
    }
    return {version: path for version, path in paths.items() if _is_version(path)}


def _is_version(directory: str) -> bool:
    return not _VERSION_CONTENTS.isdisjoint(_names(directory))


def _dumps(versions: dict[int, str]) -> dict[int, str]:
    """The assets directory of each version that has one with dumps in it."""
    assets = {version: join(path, "assets") for version, path in versions.items()}
    return {version: path for version, path in assets.items() if holds_shards(path)}


def _bundles(
    directory: str, graphs: dict[str, dict[int, str]], version: int | None
) -> dict[str, str]:
    """The tensor bundle of each sub graph that has one; the only one has no name."""
    found = {}
    for graph, versions in graphs.items():
        path = versions.get(max(versions) if version is None else version, versions[max(versions)])
        prefix = join(path, "variables", "variables")
        if store_of(prefix).exists(prefix + INDEX_SUFFIX):
            found["" if graph == directory else name_of(graph)] = prefix
    return found


def _missing_servers(graphs: Iterable[str]) -> list[str]:
    """Gaps in the numbers of ps_0, ps_1, ..."""
    matches = (re.fullmatch("ps_([0-9]+)", name_of(graph)) for graph in graphs)
    numbers = {int(match[1]) for match in matches if match}
    return [f"ps_{number}" for number in range(max(numbers, default=0)) if number not in numbers]


def _names(directory: str) -> list[str]:
    """The names in a directory; none where it is a file, or gone."""
    try:
        return store_of(directory).names(directory)
    except PathNotFoundError:
        return []
