"""Copy versions from one registry to another on the same machine."""

from contextlib import suppress

from registry.catalog.checkout import read_manifest
from registry.catalog.heal import healing
from registry.catalog.measure import copy_measurements
from registry.catalog.publish import publish_version
from registry.errors import DatabaseError, StorageError
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.lineage import find_parents
from registry.tables.listings import count_download
from registry.tables.lookup import find_version
from registry.tables.record import Publication
from registry.tables.versions import Version, load_digests


def pull_version(
    what: AdapterRef | Version,
    source: Store,
    target: Store,
    *,
    name: AdapterRef | None = None,
) -> Version:
    """Copy a version to `target`, after all its parents; see `Catalog.pull`."""
    if isinstance(what, Version):
        wanted = what
    else:
        with source.database.read() as connection:
            wanted = find_version(connection, what)
    needed = ancestors(source, wanted)
    with target.database.read() as connection:
        digests = [version.manifest_digest for version in (*needed, wanted)]
        there = load_digests(connection, digests)
    for ancestor in needed:
        if ancestor.manifest_digest not in there:
            _copy(ancestor, source, target, ancestor.ref.repository, ancestor.number)
    if name is not None:
        pulled = _copy(wanted, source, target, name, None)
    else:
        pulled = _copy(wanted, source, target, wanted.ref.repository, wanted.number)
    if wanted.manifest_digest not in there:
        # A read-only source is pulled from anyway; the pull is not counted.
        with suppress(DatabaseError, StorageError):
            source.database.transact(lambda connection: count_download(connection, wanted.ref))
    return pulled


def _copy(
    version: Version, source: Store, target: Store, name: AdapterRef, number: int | None
) -> Version:
    manifest = read_manifest(source, version)
    publication = Publication(
        author=version.author,
        message=version.message,
        created_at=version.created_at,
        number=number,
        yanked_at=version.yanked_at,
        yank_reason=version.yank_reason,
        origin=str(source.home.resolve()),
    )
    open_file = source.opener(version.ref, manifest)
    # The target checks the bytes; damage in the source is repaired.
    copied = healing(
        source, version, lambda: publish_version(target, name, manifest, open_file, publication)
    )
    copy_measurements(version, source, target, copied)
    return copied


def ancestors(source: Store, version: Version) -> list[Version]:
    """Return the parents of a version, theirs, and so on, each after its own parents.

    Raises:
        ParentNotFoundError: One of them is not in the registry.
    """
    ordered: dict[str, Version] = {}
    pending = [(version, False)]
    with source.database.read() as connection:
        while pending:
            current, parents_done = pending.pop()
            if current.manifest_digest in ordered:
                continue
            if parents_done:
                ordered[current.manifest_digest] = current
                continue
            pending.append((current, True))
            pending.extend((parent, False) for parent in find_parents(connection, current))
    del ordered[version.manifest_digest]
    return list(ordered.values())
