"""Folders of made-up runs."""

from pathlib import Path

import pytest
from made_up_runs import write_gapped, write_runs


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Complete runs of every method, data set and seed."""
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def gapped(tmp_path: Path) -> Path:
    """Runs of which some are missing."""
    return write_gapped(tmp_path)
