"""A hub that lies, and a session with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hubkit.hub import download
from hubkit.hub import session as module
from hubkit.hub.address import Hub
from hubkit.hub.session import HubSession
from tests.support.hostile import Hostile, serve_hostile


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with serve_hostile() as hub:
        yield hub


@pytest.fixture
def session(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubSession]:
    """With a token, and hardly any patience."""
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(download, "_PAUSES", (0.0, 0.0, 0.0, 0.0))
    found = HubSession(Hub(hostile.url), "secret")
    found._patience = 0.3
    yield found
    found.close()
