from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.tables import versions as module

SQLITE_MOST_VALUES = 32_766


def test_versions_are_the_same_however_many_are_looked_up_at_once(
    catalog: Catalog, make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = AdapterRef.parse("alice/sst2")
    metric = {"dataset": "d", "split": "s", "name": "n", "higher_is_better": True}
    for number in range(1, 6):
        folder = make_folder(tags=["t", str(number)], metrics=[metric | {"value": number}])
        catalog.set_alias(catalog.publish(ref, folder).ref, f"v{number}")
    at_once = catalog.versions(ref)
    monkeypatch.setattr(module, "_BATCH", 2)
    assert catalog.versions(ref) == at_once
    assert [
        (version.number, version.tags, version.aliases, version.metrics[0].value)
        for version in at_once
    ] == [(number, ("t", str(number)), (f"v{number}",), number) for number in (5, 4, 3, 2, 1)]


def test_a_batch_of_versions_asks_for_no_more_values_than_sqlite_takes() -> None:
    assert 3 * module._BATCH < SQLITE_MOST_VALUES
