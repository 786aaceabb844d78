"""Contents files of dumps of many tables, held against the entries that were saved.

A contents file of another save gives entries to wrong tables, though every file by itself is right.
What was saved is known from the manifest; without one `ckpt.info` has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.findings import ERROR, finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.step import StepLook

__all__ = ["blamed_contents", "check_promises", "has_contents"]

_MANIFEST = "the manifest"
_RESTORE = (
    "restore it from a copy of the same save, or take another step: entries would be given to"
    " other tables"
)


def has_contents(look: StepLook, base: str) -> bool:
    """Whether all contents files of a dump are there, and say what is in its data."""
    pair = look.listing.multis.get(base)
    return pair is not None and all(
        look.contents[path] and path not in look.wrong_contents for path in pair[1].paths
    )


def _promised(look: StepLook, path: str) -> int:
    return sum(table.num_entries for table in look.contents[path] or ())


def _in_manifest(look: StepLook) -> dict[str, int]:
    """The entries that were saved, by dump, as far as a manifest that fits says so."""
    manifest = None if look.is_stale else look.manifest
    tables = manifest.tables if manifest else ()
    return {table.name: table.entries for table in tables if table.entries is not None}


def check_promises(look: StepLook) -> Iterator[Finding]:
    """Dumps whose contents files promise another number of entries than the manifest has."""
    saved = _in_manifest(look) if look.named.multis else {}
    for base, (data, meta) in look.listing.multis.items() if saved else ():
        known = saved.get(base)
        if known is None or not has_contents(look, base):
            continue
        promised = [_promised(look, path) for path in meta.paths]
        if sum(promised) == known:
            continue
        sizes = [look.size(path) or 0 for path in data.paths]
        # As shards hold the same mixture of tables, sizes say how many entries are in each.
        share = known / max(sum(sizes), 1)
        off = [abs(n - size * share) for n, size in zip(promised, sizes, strict=True)]
        path = meta.paths[off.index(max(off))]
        what = f"promises {promised[0]} entries"
        if len(promised) > 1:
            what = f"with its neighbours promises {sum(promised)} entries, and fits its data least"
        look.wrong_contents.add(path)
        yield finding(
            "manifest_differs",
            f"{what}, but {known} are in the manifest: it is of another save",
            step=look.step,
            table=base,
            file=path,
            suggest=_RESTORE,
        )


def blamed_contents(look: StepLook, counted: Mapping[str, int]) -> dict[str, list[Finding]]:
    """The data files that are right where their contents files are not, with what to say of it.

    Nothing is said of a contents file that is known to be wrong.

    Parameters
    ----------
    counted
        The entries of each data file that was read without damage, by path.
    """
    witness = _witnesses(look, counted)
    blamed: dict[str, list[Finding]] = {}
    for base, (data, meta) in look.listing.multis.items():
        for path, contents in zip(data.paths, meta.paths, strict=True):
            found = counted.get(path)
            if contents in look.wrong_contents:
                blamed[path] = []
            elif base in witness and found is not None and found != _promised(look, contents):
                look.wrong_contents.add(contents)
                blamed[path] = [_other_save(look, base, contents, found, witness[base])]
    return blamed


def _witnesses(look: StepLook, counted: Mapping[str, int]) -> dict[str, str]:
    """The dumps of whose data all was read, and is as much as was saved; with what says so."""
    saved = _in_manifest(look)
    found: dict[str, int] = {}
    for base, (data, _) in look.listing.multis.items():
        if all(path in counted for path in data.paths):
            found[base] = sum(counted[path] for path in data.paths)
    if saved.keys() & look.listing.multis.keys():
        return {
            base: _MANIFEST
            for base, entries in found.items()
            if saved.get(base) == entries and _has_saved_sizes(look, base)
        }
    counts = look.counts_file
    if counts is None or not counts.feature_counts or len(found) < len(look.listing.multis):
        return {}
    total = sum(counts.feature_counts.values())
    metas = [path for _, meta in look.listing.multis.values() for path in meta.paths]
    if sum(found.values()) != total or sum(_promised(look, path) for path in metas) == total:
        return {}
    return dict.fromkeys(found, "ckpt.info")


def _has_saved_sizes(look: StepLook, base: str) -> bool:
    names = {look.name(path): look.size(path) for path in look.listing.multis[base][0].paths}
    return all(
        name in look.promised and look.promised[name].size_bytes == size
        for name, size in names.items()
    )


def _other_save(look: StepLook, base: str, path: str, found: int, witness: str) -> Finding:
    promised = _promised(look, path)
    id = "too_few_entries" if found < promised else "extra_entries"
    return finding(
        "manifest_differs" if witness == _MANIFEST else id,
        f"promises {promised} entries, but its data file has {found}, and all data files together"
        f" have as many as {witness} says: it is of another save",
        severity=ERROR,
        step=look.step,
        table=base,
        file=path,
        suggest=_RESTORE,
    )
