from collections.abc import Callable

from registry import AdapterRef, Catalog, Folder
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import find_behind, rebuild
from registry.maintenance.schema import downgrade

REF = AdapterRef.parse("film")


def test_a_database_that_lost_entries_is_told_of_without_reading_every_byte(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    assert find_behind(catalog) is None
    for _ in range(3):
        catalog.publish(REF, make_folder())
    assert find_behind(catalog) is None
    downgrade(catalog.database, "0001")
    catalog.database.upgrade()
    report = check_registry(catalog)
    assert report.status == 2
    assert any("entries after 0, but the log ends there" in one.text for one in report.findings)
    # Not that the log should tell of them anew, over the records that do already.
    assert not any(
        "The log does" in one.text for one in check_registry(catalog, full=True).findings
    )
    assert check_registry(catalog, full=True, repair=True).status == 2
    rebuild(catalog)
    assert find_behind(catalog) is None
    assert check_registry(catalog, full=True).status == 0


def test_a_record_of_a_change_that_was_interrupted_is_noted(catalog: Catalog) -> None:
    catalog.log.records.put(1, b"never committed")
    found = find_behind(catalog)
    assert found is not None
    assert (found.state, "holds a record of entry 1, which is not committed" in found.text) == (
        "note",
        True,
    )
