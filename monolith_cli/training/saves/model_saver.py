"""The saver of the dense variables, as a hook finds it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from absl import logging

from monolith_cli.training.graph.shared import plain

__all__ = ["ModelSaver"]


class ModelSaver:
    """Looks the saver up each time, because it may come late, with the scaffold.

    Parameters
    ----------
    get
        The method of a hook that finds it, and raises RuntimeError if there is none, or several. It
        is not kept alive: a hook goes as soon as nobody else has it.
    """

    def __init__(self, get: Callable[[], Any]) -> None:
        self._get = weakref.WeakMethod(get)

    def get(self) -> Any:
        """The saver; None if the scaffold has none."""
        get = self._get()
        assert get is not None, "whoever saves has the hook"
        return get()

    @property
    def saves_nothing(self) -> bool:
        """Whether it skips every save, like that of a rank other than the root."""
        try:
            saver = self.get()
        except RuntimeError:  # there is none, or several
            return False
        return bool(getattr(saver, "skip_save", getattr(saver, "_skip_save", False)))

    def mark_restored(self, session: Any) -> None:
        """Call `setup_ps_initialized_state` of a saver that can restore one lost server alone."""
        try:
            mark = getattr(self.get(), "setup_ps_initialized_state", None)
        except RuntimeError:  # there is none, or several
            return
        if callable(mark):
            mark(plain(session))
            logging.info(
                "Parameter servers are marked as initialised. One that loses its memory alone is"
                " restored alone: the model then mixes the step of its checkpoint with the later"
                " one of the others."
            )
