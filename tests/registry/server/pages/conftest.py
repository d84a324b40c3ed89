"""Versions on a hub, public or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Folder, Version
from registry.history.repositories import Visibility
from tests.support.people import People

Publish = Callable[..., Version]
"""Publishes a version: ``publish("alice/x", "private", task="sentiment")``."""


@pytest.fixture
def publish(people: People, make_folder: Callable[..., Folder]) -> Publish:
    """Publish a version in a repository of somebody; any field of its manifest can be given."""

    def make(name: str, visibility: Visibility = "public", **fields: Any) -> Version:
        ref, history = AdapterRef.parse(name), people.catalog.history
        version = people.catalog.publish(ref, make_folder(**fields))
        repository = history.find("model", ref)
        assert repository is not None
        if repository.visibility != visibility:
            history.set_visibility(repository, visibility, "root")
        return version

    return make


@pytest.fixture
def metric() -> Callable[..., dict[str, Any]]:
    """A metric of a version, any field of which can be given."""

    def make(value: float, **fields: Any) -> dict[str, Any]:
        facts = {"dataset": "imdb", "split": "test", "name": "accuracy", "higher_is_better": True}
        return {**facts, "value": value, **fields}

    return make
