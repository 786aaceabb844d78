"""Jobs to try clients and commands on, and an environment in which nobody has set anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fake_jobs import OriginalJob, OurJob


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any variable that the commands know."""
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def ann(no_variables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is ann@box who does not say otherwise, and no other variable is set."""
    monkeypatch.setenv("MONOLITH_OWNER", "ann@box")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[OurJob]:
    """A job of ours that saves into `tmp_path`."""
    from fake_jobs import OurJob, serving

    made = OurJob(tmp_path)
    with serving(made):
        yield made


@pytest.fixture
def original(tmp_path: Path) -> Iterator[OriginalJob]:
    """The same, of the original service."""
    from fake_jobs import OriginalJob, serving

    made = OriginalJob(tmp_path)
    with serving(made):
        yield made
