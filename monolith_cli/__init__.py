"""Checkpoints of Monolith-style recommender models, from Python.

The names below are the public interface. They are imported on first use, so that importing the
package costs nothing; the command line depends on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.errors import MonolithError
    from monolith_cli.tables import Table, open_tables
    from monolith_cli.tables.counts import count_checkpoint

__version__ = "0.1.0"

__all__ = [
    "MonolithError",
    "Table",
    "__version__",
    "count_checkpoint",
    "open_model_dir",
    "open_tables",
]

_HOMES = {
    "MonolithError": "monolith_cli.errors",
    "Table": "monolith_cli.tables",
    "count_checkpoint": "monolith_cli.tables.counts",
    "open_model_dir": "monolith_cli.checkpoint.model_dir",
    "open_tables": "monolith_cli.tables",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
