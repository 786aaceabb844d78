"""Files that pipelines read."""

from __future__ import annotations

import pytest
from consumed_support import Files, write_files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("records"))
