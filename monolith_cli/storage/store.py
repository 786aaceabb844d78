"""Which store a location belongs to, and what a store says of a file.

All of checkpoints, tables, iterators and formats goes through `store_of`; `protocols.Store` says
what can be asked there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import UsageError
from monolith_cli.storage.location import scheme_of

if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Literal, TypeAlias

    from monolith_cli.storage.protocols import Store

    Kind: TypeAlias = Literal["file", "directory", "link", "other"]

__all__ = ["MAX_SMALL_BYTES", "Item", "ReadSizes", "Status", "local_path", "store_of"]

MAX_SMALL_BYTES = 64 << 20
"""State files, counts and JSON of ours are never larger: `Store.read` takes such for a mistake."""


class Status:
    """What a store says of a file or a directory.

    Attributes
    ----------
    kind
        `file`, `directory`, or `other`: a pipe, a socket, a device. With `follow` off also `link`.
    size
        In bytes.
    modified_ns
        When it was written last, in nanoseconds since 1970.
    version
        Pins a file: equal as long as it is the same file with the same content, as far as the store
        can tell. Means nothing but that.
    """

    __slots__ = ("kind", "modified_ns", "size", "version")  # a tuple's class takes longer to make

    def __init__(self, kind: Kind, size: int, modified_ns: int, version: Hashable) -> None:
        self.kind: Kind = kind
        self.size = size
        self.modified_ns = modified_ns
        self.version = version

    def __repr__(self) -> str:
        return f"Status({self.kind!r}, {self.size}, {self.modified_ns}, {self.version!r})"

    @property
    def modified(self) -> float:
        """`modified_ns` in seconds, rounded as `os.stat` does it."""
        seconds, nanoseconds = divmod(self.modified_ns, 1_000_000_000)
        return seconds + 1e-9 * nanoseconds


class Item:
    """Something in a directory: its name and location, and its status.

    A store that lists with sizes and times knows the status already; another one is asked for it
    when it is wanted.
    """

    __slots__ = ("_status", "_store", "location", "name")

    def __init__(self, store: Store, location: str, name: str, status: Status | None = None):
        self.name = name
        self.location = location
        self._store = store
        self._status = status

    def __repr__(self) -> str:
        return f"Item({self.location!r})"

    def status(self) -> Status:
        """What `Store.status` says; asked once. Raises as that."""
        if self._status is None:
            self._status = self._store.status(self.location)
        return self._status


class ReadSizes(NamedTuple):
    """How a file is best read from its beginning to its end; None for what suits most.

    Attributes
    ----------
    read_bytes
        The most to ask for at once, 1 byte to 1 GiB.
    read_ahead
        How many reads to begin before they are needed, 0 to 64.
    """

    read_bytes: int | None = None
    read_ahead: int | None = None


_stores: dict[str, Store] = {}


def store_of(location: str) -> Store:
    """The store that a location belongs to.

    Raises
    ------
    UsageError
        It is a URL with a scheme that is not known.
    """
    scheme = scheme_of(location)
    store = _stores.get(scheme)
    if store is None:
        store = _stores[scheme] = _make(scheme, location)
    return store


def local_path(location: str) -> str:
    """The location as it is, for what works on paths of this machine alone.

    Raises
    ------
    UsageError
        It is a URL, of whichever scheme.
    """
    scheme = scheme_of(location)
    if scheme:
        store_of(location)  # says it where no store is known at all
        raise UsageError(
            f"a {scheme}:// URL, where only a path will do",
            path=location,
            hint=f"give a path; './{scheme}://...' is one",
        )
    return location


def _make(scheme: str, location: str) -> Store:
    if scheme:
        raise UsageError(
            f"no store is known for {scheme}://",
            path=location,
            hint=f"give a path; './{location}' is one",
        )
    from monolith_cli.storage.local import LOCAL

    return LOCAL
