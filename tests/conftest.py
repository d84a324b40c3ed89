"""What every test gets: a registry of its own, and no network."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The Hugging Face client reads this once, when a test module imports it.
os.environ["HF_HUB_OFFLINE"] = "1"

# A busy machine pauses a test for longer than any deadline that would mean something.
settings.register_profile("hubkit", deadline=None)
settings.load_profile("hubkit")


@pytest.fixture(autouse=True)
def hubkit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point HUBKIT_HOME into the test's own folder."""
    home = tmp_path / "hubkit-home"
    monkeypatch.setenv("HUBKIT_HOME", str(home))
    for name in ("HUBKIT_DATABASE_URL", "HUBKIT_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    return home
