"""Two registries that share a hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import Catalog, open_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "registry")


@pytest.fixture
def other_catalog(tmp_path: Path) -> Catalog:
    """The registry of someone else."""
    return open_catalog(tmp_path / "other-registry")
