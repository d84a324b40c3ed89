"""The check of a registry, and its repair.

Nothing is deleted in doubt: damaged bytes are set aside, and problems that only a person can decide
are reported and left alone.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from registry.catalog.catalog import Catalog
from registry.errors import (
    AlteredLogError,
    AlteredRowsError,
    DamagedDatabaseError,
    DamagedIndexError,
    StorageError,
    listed,
)
from registry.maintenance.blob_check import check_blobs
from registry.maintenance.checks.accounts import check_accounts
from registry.maintenance.checks.adapters import check_adapters
from registry.maintenance.checks.histories import check_histories
from registry.maintenance.checks.rows import (
    check_listings,
    check_parents,
    check_publications,
    check_rows,
)
from registry.maintenance.checks.trees import check_trees
from registry.maintenance.findings import Finding
from registry.maintenance.integrity import structure_problems
from registry.maintenance.rebuild import find_behind
from registry.tables.text_index import is_index_sound, make_index_anew


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        blobs: How many blobs that versions refer to were checked.
        bytes: How many bytes were hashed; none unless the check was full.
        findings: The findings, in the order found.
    """

    blobs: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """0 if all is sound, 1 if all damage was repaired, 2 if something is damaged."""
        states = {finding.state for finding in self.findings}
        return 2 if "damaged" in states else 1 if "repaired" in states else 0


def check_registry(
    catalog: Catalog,
    *,
    full: bool = False,
    repair: bool = False,
    progress: Callable[[float], None] = lambda done: None,
) -> Report:
    """Check a registry, and mend what can be mended.

    Args:
        catalog: What to check.
        full: Also hash every byte, and compare every row with its manifest, the listings, the
            search index and the log. Default: check that the database is sound and not older than
            the records, that each file is there with the right size, and that no other file is.
        repair: Whether to set damaged bytes aside, fetch them again from their origins, and write
            derived rows again; default: change nothing.
        progress: Called now and then with the part of the blobs that is checked, from 0 to 1.

    Raises:
        DatabaseError: The database cannot be read at all.
        StorageError: The storage cannot be reached, or, with `repair`, not written.
    """
    with catalog.database.read() as connection:
        broken = structure_problems(connection, full=full)
    if broken:  # other checks of such a database would mean nothing
        text = f"{catalog.database.backend.label} is damaged: {'; '.join(broken)}."
        return Report(0, 0, (Finding(text, about=DamagedDatabaseError),))
    behind = find_behind(catalog)
    findings = [] if behind is None else [behind]
    if full:
        findings += _check_rows(catalog, repair, behind is None or behind.state == "note")
    blobs = hashed = 0
    for finding, read in check_blobs(catalog, full, repair, progress):
        blobs += 1
        hashed += read
        if finding is not None:
            findings.append(finding)
    findings += _check_strays(catalog)
    return Report(blobs, hashed, tuple(findings))


def _check_rows(catalog: Catalog, repair: bool, is_up_to_date: bool) -> Iterator[Finding]:
    """Compare rows with the log, manifests, listings and the search index."""
    yield from _check_index(catalog, repair)
    of_log = [*_check_log(catalog, repair, is_up_to_date)]
    yield from of_log
    # The log of an older database lacks entries that the records have.
    if is_up_to_date and not any(finding.state == "damaged" for finding in of_log):
        yield from check_accounts(catalog, repair)
        yield from check_adapters(catalog, repair)
        yield from check_publications(catalog, repair)
        yield from check_trees(catalog, repair)
        yield from check_histories(catalog, repair)
    yield from check_rows(catalog, repair)
    yield from check_parents(catalog, repair)
    yield from check_listings(catalog, repair)


def _check_index(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    # SQLite compares its index with the rows only in a transaction that may write.
    with suppress(StorageError):
        with catalog.database.write() as connection:
            if is_index_sound(connection):
                return
        text = "The search index is wrong: searches miss adapters, or fail."
        if repair:
            with catalog.database.write() as connection:
                make_index_anew(connection)
            yield Finding(f"{text} It is made anew.", "repaired")
        else:
            yield Finding(text, about=DamagedIndexError)


def _check_strays(catalog: Catalog) -> Iterator[Finding]:
    strays = sorted(catalog.blobs.find_strays())
    if strays:
        yield Finding(
            f"Files that are not hubkit's lie among the blobs: {listed(strays)}. hubkit neither "
            "reads nor removes them. Move them away, or delete them.",
            "note",
        )


def _check_log(catalog: Catalog, repair: bool, is_up_to_date: bool) -> Iterator[Finding]:
    place = catalog.log.records.location()
    with catalog.database.read() as connection:
        chain = catalog.log.verify(connection)
        missing = (
            [] if chain.problems or not is_up_to_date else catalog.log.missing_records(connection)
        )
    for problem in chain.problems:
        yield Finding(
            f"{problem} The log was altered; no adapter is harmed by that. The original entries "
            f"are in {place}.",
            about=AlteredLogError,
        )
    for text in chain.lost:
        yield Finding(f"{text} Nothing else has its content.", "note")
    if missing and repair:
        with catalog.database.write() as connection:
            catalog.log.write_records(connection, missing)
        yield Finding(
            f"The files of {len(missing)} entries of the log are written again.", "repaired"
        )
    elif missing:
        yield Finding(
            f"{len(missing)} entries of the log have no file in {place}, or a wrong one. The first "
            f"of them is entry {missing[0]}.",
            about=AlteredRowsError,
        )
