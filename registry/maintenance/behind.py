"""Whether a database is older than the records beside it."""

from registry.catalog.catalog import Catalog
from registry.log.log import Log
from registry.maintenance.findings import Finding


def find_behind(catalog: Catalog) -> Finding | None:
    """Return what to know if there are records that the log's head comes before, else None.

    A record is written before its entry is committed. So one that is ahead may be of a change that
    is under way, or was interrupted at its last step; two mean that the database lost entries.

    Raises:
        DatabaseError: The database cannot be read.
        StorageError: The records cannot be read.
    """
    records = catalog.log.records
    head = _head(catalog)
    while records.has(head + 1):
        lost = records.has(head + 2)
        found, head = head, _head(catalog)
        if head != found:  # others write meanwhile
            continue
        place = records.location()
        if lost:
            return Finding(
                f"{place} holds entries after {head}, but the log ends there: the database is "
                "older than the records, or was taken back to before migration 0002. `hubkit "
                "rebuild` brings it up to date."
            )
        return Finding(
            f"{place} holds entry {head + 1}, but the log ends with entry {head}: that change is "
            "under way, or was interrupted at its last step, or the database is older than the "
            "records. The next change takes its place, unless `hubkit rebuild` brings it back "
            "first.",
            "note",
        )
    return None


def _head(catalog: Catalog) -> int:
    with catalog.database.read() as session:
        return Log.head(session)[0]
