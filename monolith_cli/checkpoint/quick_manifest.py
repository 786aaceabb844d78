"""A quick look at a manifest: mostly all that it names is there, and that is cheap to see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import INPUT_WORKER_PREFIX
from monolith_cli.errors import MonolithError
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["entries_if_all_there"]


def entries_if_all_there(
    path: str, step: int, size_of: Callable[[str], int | None], *, inputs: bool = True
) -> dict[str, int | None] | None:
    """The entries by dump in a manifest, if all that it names is there as it says; else None.

    Anything odd is for `checkpoint.lost` to say, which takes the reader of manifests.

    Parameters
    ----------
    size_of
        The size in bytes of a file below the model directory; None if it is no regular file. It may
        raise MonolithError.
    inputs
        Whether iterator states are looked at, too. They may go before their step does: there is a
        way without them, an older one.
    """
    try:
        document = json.loads(store_of(path).read(path))
        if (document["version"], document["step"]) != (1, step):
            return None
        for file in document["files"]:
            name = file["name"]
            if not inputs and name.startswith(INPUT_WORKER_PREFIX):
                continue
            size = size_of(name)
            if size is None or size != file["bytes"]:
                return None
        return {table["name"]: table["entries"] for table in document["tables"]}
    except (MonolithError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
