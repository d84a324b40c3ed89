"""Adapters to search for, and what was measured of them."""

from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Catalog, Folder

MakeFolder = Callable[..., Folder]
Publish = Callable[..., None]


@pytest.fixture
def publish(catalog: Catalog, make_folder: MakeFolder) -> Publish:
    def publish(ref: str, **fields: Any) -> None:
        catalog.publish(AdapterRef.parse(ref), make_folder(**fields))

    return publish


def measured(dataset: str, name: str, value: float, higher: bool = True) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "split": "test",
        "name": name,
        "value": value,
        "higher_is_better": higher,
    }
