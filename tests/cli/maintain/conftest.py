"""A file of a published adapter, to damage."""

from pathlib import Path

import pytest

from registry import Version, open_catalog


@pytest.fixture
def blob(film: Version) -> Path:
    """The file of the adapter's configuration."""
    catalog = open_catalog()
    digest = catalog.manifest(film).files["adapter_config.json"].sha256
    path = catalog.blobs.path(digest)
    path.chmod(0o600)
    return path
