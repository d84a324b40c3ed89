from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.tables import versions as module
from registry.tables.lookup import require_repository

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


def test_the_newest_versions_of_a_repository_come_in_pages_with_yanked_ones(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    ref = AdapterRef.parse("alice/sst2")
    for _ in range(4):
        catalog.publish(ref, make_folder())
    catalog.publish(AdapterRef.parse("alice/other"), make_folder())
    catalog.yank(AdapterRef.parse("alice/sst2@3"), "broken")
    catalog.set_alias(AdapterRef.parse("alice/sst2@2"), "best")
    catalog.set_alias(AdapterRef.parse("alice/sst2@4"), "a")
    with catalog.database.read() as connection:
        found = require_repository(connection, ref)
        first = module.load_newest(connection, found.id, 2)
        rest = module.load_newest(connection, found.id, 9, before=3)
        aliases = module.load_aliases(connection, found.id)
    assert [(one.number, one.yank_reason) for one in first] == [(4, None), (3, "broken")]
    assert [one.number for one in rest] == [2, 1]
    assert aliases == [("a", 4), ("best", 2)]
