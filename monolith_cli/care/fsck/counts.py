"""What a step's tables count, against `ckpt.info` and the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.findings import NOTE, finding, finding_of
from monolith_cli.care.fsck.contents import has_contents
from monolith_cli.care.fsck.manifest import gone_tables
from monolith_cli.checkpoint.names import (
    META_SUFFIX,
    ckpt_info_name,
    ckpt_manifest_name,
    parse_shard_name,
)
from monolith_cli.formats.ckpt_info import CkptInfo
from monolith_cli.storage.location import name_of
from monolith_cli.tables.comparison import compare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.step import StepLook
    from monolith_cli.care.fsck.tables import TablesRead
    from monolith_cli.tables.comparison import Comparison

__all__ = ["check_counts", "check_names_counted"]

_RANK_0 = "_0"
"""What names of rank 0's tables end in: in full sync training it counts its own alone."""


def check_names_counted(look: StepLook) -> Iterator[Finding]:
    """By names and contents files alone: tables that `ckpt.info` counts, and entries of others."""
    file = look.counts_file
    if file is None or look.step is None or look.table_names is None:
        return
    if look.named.broken or gone_tables(look) or look.has_contents_missing or look.wrong_contents:
        return  # said already
    if _are_contents_gone(look):
        return  # which the manifest says
    features = _features(look)
    if file.feature_counts:
        dump = CkptInfo({}, features)
        by_name = file._replace(slot_counts={})
        yield from _compared(look, by_name, dump, _rank_0_features(look, features), 0)
    elif file.slot_counts and not features and not any(look.sizes.values()):
        yield from _compared(look, file, CkptInfo({}, {}), None, 0)


def _are_contents_gone(look: StepLook) -> bool:
    shards = {name: parse_shard_name(name_of(name)) for name in look.promised if "/" in name}
    return any(
        shard is not None and shard.base.endswith(META_SUFFIX) and name not in look.sizes
        for name, shard in shards.items()
    )


def check_counts(look: StepLook, read: TablesRead) -> Iterator[Finding]:
    """With the entries that were counted; nothing where damage has hidden some."""
    file = look.counts_file
    if not read.is_whole or look.step is None:
        return
    slots: dict[int, int] = {}
    rank_0: dict[int, int] = {}
    entries: dict[str, int] = {}
    for table_file, tally in read.by_file.values():
        entries[table_file.base] = entries.get(table_file.base, 0) + tally.entries
        if table_file.kind != "single":
            continue
        for slot, count in tally.slots.items():
            slots[slot] = slots.get(slot, 0) + count
            if table_file.base.endswith(_RANK_0):
                rank_0[slot] = rank_0.get(slot, 0) + count
    features = _features(look)
    look.entries = entries
    if file is not None and not file.feature_counts:
        dump = CkptInfo(slots, features)
        yield from _compared(look, file, dump, CkptInfo(rank_0, {}), read.extra)
    yield from _against_manifest(look, entries)


def _features(look: StepLook) -> dict[str, int]:
    features: dict[str, int] = {}
    for contents in look.contents.values():
        for table in contents or ():
            name = table.table_name
            features[name] = features.get(name, 0) + table.num_entries
    return features


def _rank_0_features(look: StepLook, features: dict[str, int]) -> CkptInfo:
    own = {
        table.table_name
        for base, (_, meta) in look.listing.multis.items()
        if base.endswith(_RANK_0)
        for path in meta.paths
        for table in look.contents[path] or ()
    }
    named = {name for name in features if name.endswith(_RANK_0)}
    return CkptInfo({}, {name: n for name, n in features.items() if name in own | named})


def _compared(
    look: StepLook, file: CkptInfo, dump: CkptInfo, rank_0: CkptInfo | None, extra: int
) -> Iterator[Finding]:
    assert look.step is not None
    path = look.path(ckpt_info_name(look.step))
    comparison = compare(path, file, dump, rank_0, extra)
    if comparison.verdict == "gone":
        yield from _gone(look, comparison)
        return
    doubted = [each for each in comparison.doubtful if isinstance(each.key, str)]
    if comparison.verdict == "different" and not extra:
        what = f"does not match the dump: {comparison.summary}"
    elif comparison.verdict == "more" and doubted:
        what = f"counts more than the contents files of the dump: {comparison.summary}"
    elif comparison.verdict == "more" and not look.promised:
        yield _fewer(look, comparison)
        return
    else:
        return
    suggest = "count again, with ckpt-info"
    if not look.promised or file.feature_counts:
        suggest = "look which of the two is of another save, before you count again with ckpt-info"
    yield finding("counts_differ", what, step=look.step, file=path, suggest=suggest)


def _fewer(look: StepLook, comparison: Comparison) -> Finding:
    """What expiry may explain, where nothing says which files were saved."""
    more = sum(difference.size for difference in comparison.differences)
    absent = sum(difference.in_file for difference in comparison.doubtful)
    what = (
        f"counts {more} entries more than are there: they have expired before the save, or are lost"
    )
    if absent:
        what += f"; of them {absent} are all of their slots"
    return finding(
        "counts_differ",
        what,
        severity=NOTE,
        step=look.step,
        file=comparison.path,
        suggest="compare it with a step before, with ckpt diff",
    )


def _gone(look: StepLook, comparison: Comparison) -> Iterator[Finding]:
    error = comparison.error()
    assert error is not None
    if not comparison.lost:
        yield finding_of(error, "table_gone", step=look.step)
        return
    for name in comparison.lost:
        yield finding(
            "table_gone",
            f"counts table '{name}', of which there is no dump",
            step=look.step,
            table=name,
            file=comparison.path,
            suggest="restore it, or take another step",
        )


def _against_manifest(look: StepLook, entries: dict[str, int]) -> Iterator[Finding]:
    """More entries than were saved, or in a dump of many tables other ones: nothing expires there.

    Fewer in a single table may have expired between counting and saving.
    """
    manifest = None if look.is_stale else look.manifest
    for table in manifest.tables if manifest else ():
        found = entries.get(table.name)
        if table.entries is None or found is None or found == table.entries:
            continue
        if table.kind == "single" and found < table.entries:
            continue
        if table.kind != "single" and has_contents(look, table.name):
            continue  # which are held against the data, and against the manifest
        assert look.step is not None
        yield finding(
            "counts_differ",
            f"promises {table.entries} entries of '{table.name}', and the dump has {found}",
            step=look.step,
            table=table.name,
            file=look.path(ckpt_manifest_name(look.step)),
            suggest="look which of the two is of another save",
        )
