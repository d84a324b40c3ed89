"""What there is without the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from registry import Catalog, open_catalog
from registry.errors import (
    RemoteNotFoundError,
    RemoteUnreachableError,
)
from tests.support.foreign import PEFT
from tests.support.hub import Hub
from tests.support.roundtrip import LORA, WEIGHTS, pull, push
from tests.support.shelf import publish_lora


def test_what_was_pulled_outlives_the_repository_and_the_hub(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.create("bob/film", LORA)
    here = pull(catalog, hub, "bob/film")
    repo.delete()
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    with pytest.raises(RemoteNotFoundError):
        pull(catalog, hub, "bob/film")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert pull(catalog, hub, "bob/film") == here
    assert pull(catalog, hub, "bob/film@1") == here
    assert hub.requests == []


def test_offline_a_branch_is_not_taken_for_the_newest_version(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.create("bob/film", LORA)
    pull(catalog, hub, "bob/film")
    other = (PEFT / "lora" / "b" / WEIGHTS).read_bytes()
    repo.put({WEIGHTS: other}, branch="next")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteUnreachableError):
        pull(catalog, hub, "bob/film@next")


def test_offline_the_cache_of_the_client_is_enough(
    catalog: Catalog,
    other_catalog: Catalog,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    there = pull(other_catalog, hub, "ada/film")
    hub.create("bob/plain", LORA)
    pull(other_catalog, hub, "bob/plain")
    third = open_catalog(tmp_path / "third")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pull(third, hub, "ada/film").manifest_digest == there.manifest_digest
    assert pull(third, hub, "bob/plain").number == 1
    with pytest.raises(RemoteUnreachableError, match="HF_HUB_OFFLINE"):
        pull(third, hub, "bob/never")
