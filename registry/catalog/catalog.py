"""The catalog: everything that is read from a registry, or changed in it.

A registry is a folder:

    hubkit.db    what exists
    blobs/       every byte, by digest; a version's manifest too
    records/     the log's entries, from which the database can be made anew
    quarantine/  bytes that were found damaged
    trash/       blobs that nothing refers to, on their way out
    cache/       folders written out for loading; may be deleted at any time
    known-bases/ which base models adapters without a fingerprint were attached to
    runs/        checkpoints of training that broke off; without them, it starts again
    tmp/         what is being written

Garbage collection, checks and backups are in `registry.maintenance`.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from registry.arguments import checked
from registry.catalog.cache import cached_folder
from registry.catalog.checkout import materialize, read_manifest
from registry.catalog.measure import record_measurements
from registry.errors import PartOfAdapterError
from registry.fields import check_text
from registry.log.log import current_user
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.storage.files import is_digest
from registry.store import Store
from registry.tables.edit import drop_alias, point_alias, set_yank
from registry.tables.lineage import Lineage, find_lineage, find_parents, find_users
from registry.tables.lookup import find_version, require_repository
from registry.tables.measurements import Measurement, load_measurements
from registry.tables.models import REVISIONS
from registry.tables.origins import find_origins, find_pulled
from registry.tables.record import (
    MAX_GIVEN_NUMBER,
    Publication,
    find_account_id,
    require_number,
    require_publishable,
)
from registry.tables.versions import (
    Version,
    load_digests,
    load_version,
    load_versions,
    select_versions,
)

if TYPE_CHECKING:
    from registry.folders import Folder
    from registry.history.history import History

KNOWN_BASES_NAME = "known-bases"
"""The folder that records which base models versions were attached to on this machine."""


class Catalog:
    """One registry; use `registry.open_catalog` to get one.

    Args:
        home: The registry's folder.
        database: URL of the PostgreSQL database in place of ``hubkit.db``; default: that file.
        storage: URL of the object storage in place of ``blobs/`` and ``records/``; default: these.

    Raises:
        DatabaseError: `database` is malformed, or its driver is not installed.
        StorageError: The same of `storage`.
    """

    def __init__(
        self, home: Path, *, database: str | None = None, storage: str | None = None
    ) -> None:
        """Open nothing yet."""
        self.store = Store.at(home, database=database, storage=storage)
        self.home = home
        self.database = self.store.database
        self.blobs = self.store.blobs
        self.log = self.store.log

    @cached_property
    def history(self) -> "History":
        """The commits, branches and tags of repositories."""
        from registry.history.history import History  # not needed to list adapters

        return History(self.store)

    def close(self) -> None:
        """Close the connections to the database; they are opened again when one is needed."""
        self.database.close()

    def publish(
        self,
        ref: AdapterRef,
        folder: "Folder",
        *,
        message: str = "",
        author: str | None = None,
        number: int | None = None,
        origin: str | None = None,
    ) -> Version:
        """Publish a folder as the next version of an adapter; it is visible when all is stored.

        Publishing the same content under the same name again returns the earlier version.

        Args:
            ref: The adapter's name, without version or alias; a new name is taken.
            folder: The result of `read_folder`.
            message: The message of the version.
            author: The author; default: the user of this process.
            number: The version number that it must get, at most 2,000,000,000; default: the next
                one, never used before.
            origin: Where it was pulled from; default: it is published here.

        Raises:
            InvalidNameError: `ref` has a version or an alias, or `number` is out of range.
            ParentNotFoundError: A parent is not in this registry.
            ConflictError: `number` holds other content, or the name was deleted.
            CorruptBlobError: A file changed since the folder was read.
            StorageError: The disk is full or not writable.
        """
        from registry.catalog.publish import publish_version  # as for `history`

        if number is not None:
            require_number(ref, number, most=MAX_GIVEN_NUMBER)
        publication = Publication(
            author=current_user() if author is None else author,
            message=message,
            created_at=datetime.now(UTC),
            number=number,
            origin=origin,
        )
        return publish_version(
            self.store,
            ref,
            folder.manifest,
            folder.open,
            publication,
        )

    @checked
    def check(self, ref: AdapterRef, manifest: Manifest) -> None:
        """Check that a version could be published, before the work to make it.

        Args:
            ref: Its future name.
            manifest: Its manifest so far; `files` may still be empty.

        Raises:
            InvalidNameError: `ref` has a version or an alias.
            ParentNotFoundError: A parent is not in this registry.
            ConflictError: The name was deleted.
        """
        with self.database.read() as connection:
            require_publishable(connection, ref, manifest)

    @checked
    def resolve(self, ref: AdapterRef) -> Version:
        """Return the version that a ref names; without version or alias, the latest.

        Raises:
            RefNotFoundError: There is no adapter of that name; near matches are named.
            VersionNotFoundError: There is no such version, or it is yanked and was not asked for by
                its number.
            AliasNotFoundError: There is no such alias.
        """
        with self.database.read() as connection:
            return find_version(connection, ref)

    def find_digest(self, manifest_digest: str) -> Version | None:
        """Return the version with this manifest, the first published one of several, or None."""
        if not is_digest(manifest_digest):  # PostgreSQL refuses some texts
            return None
        with self.database.read() as connection:
            return load_digests(connection, [manifest_digest]).get(manifest_digest)

    @checked
    def versions(self, ref: AdapterRef) -> list[Version]:
        """Return all versions of an adapter, yanked ones too, newest first.

        Raises:
            RefNotFoundError: There is no adapter of that name.
        """
        with self.database.read() as connection:
            repository = require_repository(connection, ref)
            statement = (
                select_versions()
                .where(REVISIONS.c.repository_id == repository.id)
                .order_by(REVISIONS.c.number.desc())
            )
            return load_versions(connection, statement)

    def manifest(self, version: Version) -> Manifest:
        """Return a version's manifest, verified against its digest.

        Raises:
            CorruptBlobError: It is missing or altered.
            ManifestError: It is of a schema that only a newer hubkit reads.
        """
        return read_manifest(self.store, version)

    def materialize(self, version: Version, destination: Path) -> Manifest:
        """Write a version to a new folder, verified: all of it, or nothing.

        Args:
            version: The version.
            destination: The folder to make; it may exist if it is empty.

        Raises:
            FolderError: `destination` is a file, or holds something.
            CorruptBlobError: Stored bytes are missing, truncated or altered.
            StorageError: The disk is full or not writable.
        """
        return materialize(self.store, version, destination)

    def folder(self, version: Version, manifest: Manifest | None = None) -> Path:
        """Return a folder to load a version from; every byte in it is verified by this call.

        It belongs to the registry: read it, do not write to it. It is there for as long as this
        process runs, whatever becomes of the version.

        Args:
            version: The version.
            manifest: Its manifest, if the caller has it; default: read it.

        Raises:
            CorruptBlobError: Stored bytes are missing, truncated or altered.
            StorageError: The disk is full or not writable.
        """
        return cached_folder(self.store, version, manifest)

    @checked
    def set_alias(self, ref: AdapterRef, alias: str) -> Version:
        """Point ``name@alias`` to the version that `ref` names now, and return that version.

        Raises:
            InvalidNameError: `alias` is misspelled, or is ``latest``, which is computed.
            NotFoundError: As `resolve`.
            ConflictError: The version is yanked.
        """

        def change(connection: Connection) -> Version:
            revision, is_new = point_alias(connection, ref, alias)
            version = load_version(connection, revision)
            if is_new:
                self.log.append(connection, "alias", ref, alias=alias, number=version.number)
            return version

        return self.database.transact(change)

    @checked
    def remove_alias(self, ref: AdapterRef, alias: str) -> None:
        """Remove an alias of the adapter that `ref` names; the version stays.

        Raises:
            RefNotFoundError: There is no adapter of that name.
            AliasNotFoundError: There is no such alias.
        """

        def change(connection: Connection) -> None:
            drop_alias(connection, ref, alias)
            self.log.append(connection, "unalias", ref, alias=alias)

        self.database.transact(change)

    @checked
    def yank(self, ref: AdapterRef, reason: str) -> Version:
        """Hide a version: only its number finds it from now on; its bytes stay.

        Args:
            ref: The adapter with a version number.
            reason: The reason, shown with the version.

        Raises:
            InvalidNameError: `ref` has no number.
            NotFoundError: As `resolve`.
        """
        check_text("reason", reason)

        def change(connection: Connection) -> Version:
            at = datetime.now(UTC)
            version = load_version(connection, set_yank(connection, ref, at, reason))
            self.log.append(
                connection,
                "yank",
                ref,
                number=version.number,
                reason=reason,
                yanked_at=at.isoformat(),
            )
            return version

        return self.database.transact(change)

    @checked
    def unyank(self, ref: AdapterRef) -> Version:
        """Undo `yank`.

        Raises:
            InvalidNameError: `ref` has no number.
            NotFoundError: As `resolve`.
        """

        def change(connection: Connection) -> Version:
            version = load_version(connection, set_yank(connection, ref, None, None))
            self.log.append(connection, "unyank", ref, number=version.number)
            return version

        return self.database.transact(change)

    @checked
    def record(self, ref: AdapterRef, measurements: Sequence[Measurement]) -> list[Measurement]:
        """Record measurements of a version, beside it.

        The same value of the same metric on the same rows is kept once. Another value stands beside
        the one before; the newest counts.

        Args:
            ref: The version.
            measurements: The measurements.

        Returns:
            Those that were not known.

        Raises:
            NotFoundError: As `resolve`.
        """
        return record_measurements(self.store, ref, measurements)

    def measurements(
        self, versions: Collection[Version]
    ) -> dict[AdapterRef, tuple[Measurement, ...]]:
        """Return the measurements of some versions, by their refs, the newest first."""
        with self.database.read() as connection:
            return load_measurements(connection, versions)

    @checked
    def delete(self, ref: AdapterRef) -> list[int]:
        """Delete an adapter with all its versions; no other adapter gets its name.

        What others are made of stays for these, under no name; see `registry.history.deleting`. The
        other bytes go with the next garbage collections; see `registry.maintenance.gc`.

        Args:
            ref: The adapter's name, without version or alias.

        Returns:
            The numbers of the versions that were deleted.

        Raises:
            PartOfAdapterError: `ref` has a version or an alias.
            RefNotFoundError: There is no adapter of that name.
            ConflictError: It is the remains of a deleted adapter.
        """
        from registry.history.deleting import delete_model  # as for `history`
        from registry.history.repositories import Repository, load_repository

        if ref != ref.repository:
            raise PartOfAdapterError(
                f"Only a whole adapter can be deleted: expected {ref.repository}, found {ref}. One "
                "version can be yanked, which hides it.",
                ref,
                given=ref,
            )

        def find(connection: Connection) -> Repository:
            return load_repository(connection, require_repository(connection, ref).id)

        return delete_model(self.store, find)

    @checked
    def users(self, ref: AdapterRef) -> list[Version]:
        """Return the adapters that were made from any version of this one: of each, the newest.

        Raises:
            RefNotFoundError: There is no adapter of that name.
        """
        with self.database.read() as connection:
            return find_users(connection, require_repository(connection, ref).id)

    @checked
    def move(self, ref: AdapterRef, to: AdapterRef) -> None:
        """Give an adapter another name; it then belongs to the account of its new owner.

        Versions, numbers, aliases and history stay. On a hub, the old name keeps leading there.

        Args:
            ref: The adapter's name, without version or alias.
            to: The new name.

        Raises:
            PartOfAdapterError: One of them has a version or an alias.
            RefNotFoundError: There is no adapter of that name.
            ConflictError: The new name is taken.
        """
        for one in (ref, to):
            if one != one.repository:
                raise PartOfAdapterError(
                    f"Only a whole adapter can be moved: expected {one.repository}, found {one}.",
                    one,
                    given=one,
                )
        with self.database.read() as connection:
            repository = require_repository(connection, ref)
            account = find_account_id(connection, to.owner)
        moved = self.history.get(repository.id)
        self.history.move(moved, to, account_id=account, actor=current_user())

    def lineage(self, version: Version) -> Lineage:
        """Return the parents of a version, and its users in this registry."""
        with self.database.read() as connection:
            return find_lineage(connection, version.manifest_digest)

    def parents(self, version: Version) -> list[Version]:
        """Return the parents of a version, in its manifest's order; none for an adapter.

        Raises:
            ParentNotFoundError: One of them is not in this registry.
        """
        with self.database.read() as connection:
            return find_parents(connection, version)

    def origins(self, version: Version) -> list[str]:
        """Return the folders and URLs that a version was pulled from, oldest first."""
        with self.database.read() as connection:
            return find_origins(connection, version.manifest_digest)

    def find_pulled(self, ref: AdapterRef, location: str) -> Version | None:
        """Return the newest version of an adapter that was pulled from a location, or None."""
        with self.database.read() as connection:
            return find_pulled(connection, ref, location)

    def pull(
        self, what: AdapterRef | Version, source: "Catalog", *, name: AdapterRef | None = None
    ) -> Version:
        """Copy a version, after all its parents, from another registry on this machine.

        Names, numbers, authors and dates stay; every byte is verified; a rerun changes nothing.

        Args:
            what: A ref, or a version that `source` resolved.
            source: The other registry.
            name: Its name here, with the next number; default: its name and number there.

        Raises:
            NotFoundError: As `resolve`, in `source`.
            ConflictError: The name and number hold other content here.
            CorruptBlobError: Bytes in `source` are missing, truncated or altered.
            StorageError: The disk is full or not writable.
        """
        from registry.catalog.pull import pull_version  # as for `history`

        return pull_version(what, source.store, self.store, name=name)
