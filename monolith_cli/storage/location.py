"""Locations: where a file or a directory is, in one string, a path or a URL.

No function here looks at anything, and none rewrites what it is given: bytes that are no UTF-8
(surrogates), `//`, `..`, `?`, `#` and `%2F` arrive where they are used as they were written. Of a
path each gives what `os.path` gives. A URL has a scheme, `://`, an authority (such as a bucket) and
a key, in which `/` alone means something: `..` is a name there, and so is nothing, as in `a//b`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from monolith_cli.errors import PathNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    AnyPath: TypeAlias = str | os.PathLike[str]
    """What public functions take for a location."""

__all__ = [
    "HERE",
    "TEMPORARY",
    "absolute",
    "as_location",
    "common_parent",
    "is_absolute_path",
    "join",
    "name_of",
    "normal",
    "parent_of",
    "relative",
    "scheme_of",
    "split",
]

HERE = os.curdir
"""The directory that the process is in."""

TEMPORARY = r"\.(.+)\.([0-9]{1,19})\.([0-9a-f]{16})\.tmp"
"""A regular expression (DOTALL) of what `atomic.temporary_path` makes: a target, a
process, and what is random."""

_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+.-")

as_location = os.fspath
"""The location that the caller of a public function means: its text, as it is."""


def scheme_of(location: str) -> str:
    """The scheme of a URL in lower case, such as `s3`; empty for a path.

    A path that looks like a URL can be given as `./s3://...`.
    """
    if "://" not in location:
        return ""
    scheme = location.partition("://")[0].lower()
    is_scheme = scheme[:1].isalpha() and _SCHEME.issuperset(scheme)
    return scheme if is_scheme else ""


def join(first: str, *rest: str) -> str:
    """Names or paths below a directory; one that is absolute, or behind a URL a URL, is its own."""
    if not scheme_of(first):
        return os.path.join(first, *rest)
    for i, part in enumerate(rest):
        if part.startswith("/"):
            return join(part, *rest[i + 1 :])
        if scheme_of(part):
            first = part
        else:
            first += part if first.endswith("/") else f"/{part}"
    return first


def split(location: str) -> tuple[str, str]:
    """A directory, and a name in it. `join` makes the same of them again.

    The name is empty behind a last slash, and of a URL that has no key.
    """
    if not scheme_of(location):
        return os.path.split(location)
    start = location.index("://") + len("://")
    if "/" not in location[start:]:
        return location, ""
    directory, _, name = location.rpartition("/")
    return f"{directory}/" if directory.endswith("/") else directory, name


def name_of(location: str) -> str:
    """The last name, as `split` has it."""
    return split(location)[1] if "://" in location else os.path.basename(location)


def parent_of(location: str) -> str:
    """The directory that it is in, as `split` has it; of a mere name empty."""
    return split(location)[0] if "://" in location else os.path.dirname(location)


def is_absolute_path(location: str) -> bool:
    """Whether it is a path that begins with a slash; no URL is one."""
    return os.path.isabs(location)


def normal(location: str) -> str:
    """A path without needless parts, as `os.path.normpath`; a URL without a last slash."""
    if not scheme_of(location):
        return os.path.normpath(location)
    return location.removesuffix("/") if split(location)[0] != location else location


def absolute(location: str) -> str:
    """A path from the root on, without needless parts, as `os.path.abspath`; a URL as it is.

    Raises
    ------
    PathNotFoundError
        The directory that the process is in has been removed.
    """
    try:
        return location if scheme_of(location) else os.path.abspath(location)
    except OSError as error:
        raise PathNotFoundError("the current directory is gone", path=location) from error


def relative(path: str, start: str) -> str:
    """A path as it is from a directory, as `os.path.relpath`; a URL as it is below another."""
    if not scheme_of(path):
        return os.path.relpath(path, start)
    return "/".join(_parts(path)[len(_parts(start)) :])


def common_parent(paths: Iterable[str]) -> str:
    """The longest path above all of them, as `os.path.commonpath`; or the longest URL.

    Raises
    ------
    ValueError
        There is none: some are absolute and others relative, or URLs of other schemes.
    """
    paths = list(paths)
    schemes = {scheme_of(path) for path in paths}
    if schemes <= {""}:
        return os.path.commonpath(paths)
    if len(schemes) > 1:
        raise ValueError("locations of several sorts have nothing in common")
    common: list[str] = []
    for names in zip(*map(_parts, paths), strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return f"{schemes.pop()}://{'/'.join(common)}"


def _parts(url: str) -> list[str]:
    rest = url.partition("://")[2]
    return rest.split("/") if rest else []
