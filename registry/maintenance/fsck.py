"""The check of a registry: what should be there against what is, and what can be mended.

Nothing is deleted on doubt: damaged bytes are set aside, and what only a person can decide is named
and left alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry.catalog import Catalog
from registry.healing import describe, heal_blob
from registry.maintenance.rows import check_rows
from registry.tables.integrity import (
    expected_blobs,
    label,
    stray_aliases,
    structure_problems,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        text: What was expected, what was found, and what was or can be done.
        repaired: Whether it is mended now.
    """

    text: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        blobs: How many blobs that versions refer to were looked at.
        bytes: How many bytes were hashed; none unless the check was full.
        findings: In the order found.
    """

    blobs: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """0 if all was sound, 1 if all that was not is mended, 2 if something is damaged."""
        if not self.findings:
            return 0
        return 1 if all(finding.repaired for finding in self.findings) else 2


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
        full: Whether to hash every byte, and to compare every row with its manifest, with the
            search index and with the log; default: whether the database is sound, and every file
            there with the right size.
        repair: Whether to set damaged bytes aside, fetch them again from where they came from, and
            write again what can be derived; default: change nothing.
        progress: Told now and then which part, from 0 to 1, of the blobs was looked at.

    Raises:
        DatabaseError: The database cannot be read at all.
        StorageError: A file cannot be read, or, with `repair`, written.
    """
    with catalog.database.read() as session:
        broken = structure_problems(session)
    if broken:  # what such a database says about the rest is worth nothing
        listed = "; ".join(broken)
        cure = "Restore a backup, or make it anew from blobs and records with `hubkit rebuild`."
        return Report(0, 0, (Finding(f"{catalog.database.path} is damaged: {listed}. {cure}"),))
    findings = []
    blobs = hashed = 0
    for digest, size in expected_blobs(catalog.database):
        progress(int(digest[:4], 16) / 0x10000)
        blobs += 1
        finding, read = _check_blob(catalog, digest, size, full, repair)
        hashed += read
        if finding is not None:
            findings.append(finding)
    progress(1.0)
    findings += _check_aliases(catalog)
    findings += _check_log(catalog, full, repair)
    if full:
        findings += [Finding(*found) for found in check_rows(catalog, repair)]
    return Report(blobs, hashed, tuple(findings))


def _check_blob(
    catalog: Catalog, digest: str, size: int | None, full: bool, repair: bool
) -> tuple[Finding | None, int]:
    """Return what is wrong with a blob, and how many bytes were read to find out."""
    hashed = 0
    if full:
        found = catalog.blobs.examine(digest, size=size)
        hashed = found.size if found else 0
        sound = found is not None and found.sha256 == digest
        what = describe(found, size)
    else:
        there = catalog.blobs.size(digest)
        sound = there is not None and (there > 0 if size is None else there == size)
        what = "no file" if there is None else f"{there} bytes instead of {size}"
    if sound:
        return None, hashed
    with catalog.database.read() as session:
        named = label(session, digest)
    if repair:
        damage = heal_blob(catalog, digest, size, named)
        if damage is not None:
            return Finding(str(damage), damage.origin is not None), hashed
        return None, hashed
    cure = "`hubkit fsck --repair` sets it aside, and fetches it again if it was pulled."
    place = catalog.blobs.location(digest)
    return Finding(f"{named}: expected SHA-256 {digest}, found {what} at {place}. {cure}"), hashed


def _check_aliases(catalog: Catalog) -> Iterator[Finding]:
    with catalog.database.read() as session:
        for alias in stray_aliases(session):
            yield Finding(
                f"{alias} names a version of another adapter. Set it again with `hubkit alias`."
            )


def _check_log(catalog: Catalog, full: bool, repair: bool) -> Iterator[Finding]:
    if not full:
        return
    with catalog.database.read() as session:
        chain = catalog.log.verify(session)
        missing = [] if chain.problems else catalog.log.missing_records(session)
        ahead = [n for n in catalog.log.records.sequences() if n > chain.length + 1]
    for problem in chain.problems:
        yield Finding(
            f"{problem} Somebody altered the log, and hubkit does not mend that: compare it with "
            "a backup."
        )
    if ahead:
        yield Finding(
            f"{catalog.log.records.root} holds entries up to {ahead[-1]}, but the log ends at "
            f"{chain.length}: the database is older than the records. Make it anew with "
            "`hubkit rebuild`."
        )
    elif missing and repair:
        with catalog.database.write() as session:
            catalog.log.write_records(session, missing)
        yield Finding(f"The files of {len(missing)} entries of the log are written again.", True)
    elif missing:
        yield Finding(
            f"{len(missing)} entries of the log have no file in {catalog.log.records.root}, or "
            f"another, the first of them entry {missing[0]}. `hubkit fsck --repair` writes them."
        )
