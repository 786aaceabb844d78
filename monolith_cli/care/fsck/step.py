"""A step while it is checked: what is known of it, found out once and shared by all checks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from monolith_cli.care.findings import finding_of
from monolith_cli.care.fsck.judgement import if_there
from monolith_cli.checkpoint.assets import sort_assets
from monolith_cli.checkpoint.names import (
    INDEX_SUFFIX,
    ckpt_info_name,
    ckpt_inputs_name,
    ckpt_manifest_name,
)
from monolith_cli.errors import MonolithError, NotReadableError, PathNotFoundError, StateFileError
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.checkpoint.assets import AssetsListing
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.formats.ckpt_info import CkptInfo
    from monolith_cli.formats.manifest import Manifest, ManifestFile
    from monolith_cli.formats.wire import TableMeta

__all__ = ["StepLook"]


class StepLook:
    """A step of a survey.

    Parameters
    ----------
    survey, found
        The directory, and the step in it; it has a checkpoint.
    before
        The step before it, if there is one that is whole.
    ignore_manifest
        Take it as if there were no manifest.
    known
        What is shared by all steps: dumps by the names of files, which mostly are the same.

    Attributes
    ----------
    directory
        The directory that holds the step: the model directory, but for a step elsewhere.
    problems
        Findings about what was read for several checks: text files, contents files.
    unread
        What could not be read.
    bytes_read
        Of indexes and contents files that were read.
    entries
        Of each dump, by its base name, once they were counted.
    short_states
        The data files of iterator states that are gone or cut off.
    wrong_contents
        Contents files of which a finding says that they are wrong.
    has_contents_missing
        Whether a finding says that contents files are gone of data that nobody can tell without.
    """

    def __init__(
        self,
        survey: Survey,
        found: StepSurvey,
        before: StepSurvey | None = None,
        *,
        ignore_manifest: bool = False,
        known: dict[tuple[str, ...], AssetsListing] | None = None,
    ) -> None:
        assert found.checkpoint is not None
        self.survey = survey
        self.found = found
        self.before = before
        self.checkpoint: Checkpoint = found.checkpoint
        self.step = found.step
        prefix = self.checkpoint.prefix
        is_alone = prefix is None or survey.kind != "training"
        self.directory = survey.directory if is_alone else parent_of(prefix or "")
        self.problems: list[Finding] = []
        self.unread: list[MonolithError] = []
        self.bytes_read = 0
        self.entries: dict[str, int] = {}
        self.short_states: set[str] = set()
        self.wrong_contents: set[str] = set()
        self.has_contents_missing = False
        self._ignore_manifest = ignore_manifest
        self._known = {} if known is None else known

    def path(self, name: str) -> str:
        """The path of a file, by its name below the directory that holds the step."""
        return join(self.directory, name)

    def name(self, path: str) -> str:
        """The other way round."""
        start = self.directory if self.directory.endswith("/") else f"{self.directory}/"
        return path.removeprefix(start) if self.directory else path

    @property
    def sizes(self) -> Mapping[str, int | None]:
        """Of all files in the assets directories, by name."""
        return self.found.table_files

    def size(self, path: str) -> int | None:
        """Of a file of tables, by its path; None of what is no regular file."""
        return self.found.table_files.get(self.name(path))

    def item_size(self, name: str) -> int:
        """Of a file in the model directory; 0 of what is none."""
        item = self.survey.items.get(name)
        try:
            status = item.status() if item else None
        except MonolithError:
            status = None
        return status.size if status and status.kind == "file" else 0

    @cached_property
    def named(self) -> AssetsListing:
        """The dumps, sorted into sets, with mere names in place of paths; `listing` of an export.

        Costs next to nothing for a step that has the same names as one before.
        """
        if not self._is_plain:
            return self.listing
        start = len(f"{name_of(self.checkpoint.assets[0])}/") if self.checkpoint.assets else 0
        names = tuple(name[start:] for name in self.found.table_files)
        listing = self._known.get(names)
        if listing is None:
            listing = self._known[names] = sort_assets({"": names})
        return listing

    @cached_property
    def listing(self) -> AssetsListing:
        """The dumps, sorted into sets; of an export with what is wrong with its servers."""
        if not self._is_plain:
            return self.checkpoint.table_files()
        names: dict[str, list[str]] = {path: [] for path in self.checkpoint.assets}
        for name in self.found.table_files:
            path = self.path(name)
            names.setdefault(parent_of(path), []).append(name_of(path))
        return sort_assets(names)

    @property
    def _is_plain(self) -> bool:
        return len(self.checkpoint.assets) < 2 and self.survey.kind == "training"

    @property
    def has_odd_files(self) -> bool:
        """Whether there is more than whole dumps in its assets directory."""
        named = self.named
        return bool(named.broken or named.ignored or named.in_the_way)

    @cached_property
    def bundles(self) -> dict[str, TensorBundle | None]:
        """The bundles of dense variables, by prefix; None of one whose index cannot be read."""
        found: dict[str, TensorBundle | None] = {}
        for prefix in self.checkpoint.bundles.values():
            found[prefix] = None
            index = prefix + INDEX_SUFFIX
            try:
                found[prefix] = TensorBundle(prefix, strict=True)
                self.bytes_read += self.found.dense_files.get(self.name(index)) or 0
            except PathNotFoundError as error:
                error.what, error.path = "missing: without it no dense variable is known", index
                error.hint = "restore it, or take another step"
                self.problems.append(finding_of(error, "missing_bundle_file", step=self.step))
            except NotReadableError as error:
                self.unread.append(error)
            except MonolithError as error:
                self.problems.append(finding_of(error, "bad_bundle_index", step=self.step))
        return found

    @cached_property
    def has_index(self) -> bool:
        """Whether the index of the dense variables was read, and is right."""
        return bool(self.bundles) and all(self.bundles.values())

    @cached_property
    def contents(self) -> dict[str, list[TableMeta] | None]:
        """What every contents file says, by path; None of one that is damaged, which is noted.

        Those of dumps that are not whole, too.
        """
        if not self.named.multis and not self.named.broken:
            return {}
        paths = [path for _, meta in self.listing.multis.values() for path in meta.paths]
        for broken in self.listing.broken:
            if broken.kind == "multi":
                paths += [path for path in broken.paths if _is_contents(path, broken.base)]
        found: dict[str, list[TableMeta] | None] = {}
        if paths:
            from monolith_cli.tables.multi_dump import read_contents
            from monolith_cli.tables.stream import ReadOptions

            for path in paths:
                self.bytes_read += self.size(path) or 0
                found[path] = None
                try:
                    found[path] = read_contents(path, ReadOptions())
                except NotReadableError as error:
                    self.unread.append(error)
                except PathNotFoundError:
                    raise
                except MonolithError as error:
                    from monolith_cli.care.fsck.flips import flip_in_contents, with_flip

                    made = finding_of(error, step=self.step)
                    self.problems.append(with_flip(made, flip_in_contents(error)))
        return found

    @cached_property
    def table_names(self) -> frozenset[str] | None:
        """The names of all tables, as far as names and contents say; None where some are hidden."""
        names = set(self.named.singles)
        for contents in self.contents.values():
            if contents is None:
                return None
            names.update(table.table_name for table in contents)
        broken = [each for each in self.named.broken if each.kind != "filter"]
        names.update(each.base for each in broken if each.kind == "single")
        return None if any(each.kind == "server" for each in broken) else frozenset(names)

    @cached_property
    def manifest(self) -> Manifest | None:
        """What its manifest says; None without one, or where it is damaged, which is noted."""
        if self.step is None or self._ignore_manifest or not self._is_here(ckpt_manifest_name):
            return None
        from monolith_cli.checkpoint.manifests import read_step_manifest

        try:
            return read_step_manifest(self.directory, self.step)
        except NotReadableError as error:
            self.unread.append(error)
        except StateFileError as error:
            error.hint = error.hint or "restore it, or remove it if the step is known to be whole"
            self.problems.append(finding_of(error, step=self.step))
        return None

    @property
    def has_manifest(self) -> bool:
        """Whether there is one, be it damaged."""
        return self.step is not None and self._is_here(ckpt_manifest_name)

    @cached_property
    def is_stale(self) -> bool:
        """Whether the manifest is of another save than the index beside it, which is whole."""
        manifest = self.manifest
        prefix = self.checkpoint.prefix
        if manifest is None or prefix is None or not self.has_index:
            return False
        from monolith_cli.checkpoint.manifests import file_crc32c

        found = file_crc32c(prefix + INDEX_SUFFIX)
        return found != (manifest.index_bytes, manifest.index_crc32c)

    @cached_property
    def promised(self) -> dict[str, ManifestFile]:
        """The files of the manifest, by name; none of one that is stale."""
        manifest = None if self.is_stale else self.manifest
        return {file.name: file for file in manifest.files} if manifest else {}

    @cached_property
    def counts_file(self) -> CkptInfo | None:
        """What `ckpt.info` says; None without it, or where it is damaged, which is noted."""
        if self.step is None or not self._is_here(ckpt_info_name):
            return None
        from monolith_cli.formats.ckpt_info import read_ckpt_info

        found: CkptInfo | None = self._text(read_ckpt_info, self.path(ckpt_info_name(self.step)))
        return found

    @cached_property
    def inputs(self) -> Any:
        """What `ckpt.inputs` says, a `StepInputs`; None likewise."""
        if self.step is None or not self._is_here(ckpt_inputs_name):
            return None
        from monolith_cli.checkpoint.inputs import read_step_inputs

        return self._text(read_step_inputs, self.directory, self.step)

    def _text(self, read: Any, *args: object) -> Any:
        try:
            return read(*args)
        except PathNotFoundError as error:
            unread = if_there(error)
            self.unread += [unread] if unread else []
        except NotReadableError as error:
            self.unread.append(error)
        except StateFileError as error:
            self.problems.append(finding_of(error, "bad_state_file", step=self.step))
        return None

    def _is_here(self, name: Any) -> bool:
        if self.directory != self.survey.directory:
            return store_of(self.directory).exists(self.path(name(self.step)))
        return name(self.step) in self.survey.items

    def shards(self) -> Iterator[str]:
        """The paths of all shards of dumps, those of broken ones too."""
        for shards in self.listing.sets():
            yield from shards.paths
        for broken in self.listing.broken:
            yield from broken.paths


def _is_contents(path: str, base: str) -> bool:
    from monolith_cli.checkpoint.names import META_SUFFIX, parse_shard_name

    name = parse_shard_name(name_of(path))
    return name is not None and name.base == base + META_SUFFIX
