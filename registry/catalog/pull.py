"""Copying versions from one registry to another on the same machine."""

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from registry.catalog.heal import healing
from registry.catalog.publish import publish_version
from registry.errors import DatabaseError, ParentNotFoundError, StorageError
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.tables.listings import count_download
from registry.tables.record import Publication
from registry.tables.versions import Version

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog


def pull_version(
    ref: AdapterRef, source: "Catalog", target: "Catalog", *, name: AdapterRef | None = None
) -> Version:
    """Copy a version to `target`, after everything it is made of; see `Catalog.pull`."""
    wanted = source.resolve(ref)
    is_new = target.find_digest(wanted.manifest_digest) is None
    for ancestor in ancestors(source, wanted):
        if target.find_digest(ancestor.manifest_digest) is None:
            _copy(ancestor, source, target, ancestor.ref.repository, ancestor.number)
    if name is not None:
        pulled = _copy(wanted, source, target, name, None)
    else:
        pulled = _copy(wanted, source, target, wanted.ref.repository, wanted.number)
    if is_new:
        # Whoever may only read the source pulls all the same, uncounted.
        with suppress(DatabaseError, StorageError):
            source.database.transact(lambda session: count_download(session, wanted.ref))
    return pulled


def _copy(
    version: Version, source: "Catalog", target: "Catalog", name: AdapterRef, number: int | None
) -> Version:
    manifest = source.manifest(version)
    publication = Publication(
        author=version.author,
        message=version.message,
        created_at=version.created_at,
        number=number,
        yanked_at=version.yanked_at,
        yank_reason=version.yank_reason,
        origin=str(source.home.resolve()),
    )
    # The bytes are checked where they arrive; if they were damaged in the source, that is mended.
    return healing(
        source,
        version,
        lambda: publish_version(
            target.database,
            target.blobs,
            target.log,
            name,
            manifest,
            partial(_open, source, version, manifest),
            publication,
        ),
    )


def _open(source: "Catalog", version: Version, manifest: Manifest, path: str) -> BinaryIO:
    return source.blobs.open(manifest.files[path].sha256, label=f"{version.ref}: {path}")


def ancestors(source: "Catalog", version: Version) -> list[Version]:
    """Return all that a version is made of, directly or not, each after its own parents."""
    ordered: dict[str, Version] = {}
    pending = [(version, False)]
    while pending:
        current, parents_done = pending.pop()
        if current.manifest_digest in ordered:
            continue
        if parents_done:
            ordered[current.manifest_digest] = current
            continue
        pending.append((current, True))
        for parent in source.lineage(current).parents:
            if parent.version is None:
                raise ParentNotFoundError(
                    f"{current.ref} is made of {parent.ref} ({parent.digest[:12]}), which the "
                    f"registry {source.home} does not have. Publish or pull it there first.",
                    parent.digest,
                )
            pending.append((parent.version, False))
    del ordered[version.manifest_digest]
    return list(ordered.values())
