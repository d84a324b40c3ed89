"""The parts of a registry as one value, for the steps of a change."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from registry.database.database import Database
from registry.log.folder_records import FolderRecordStore
from registry.log.log import Log
from registry.manifest import MAX_BYTES, Manifest
from registry.refs import AdapterRef
from registry.storage.blobs import BlobStore, read_blob
from registry.storage.files import MANIFEST_NAME
from registry.storage.folder_blobs import SCRATCH_NAME, FolderBlobStore

DATABASE_NAME = "hubkit.db"


@dataclass(frozen=True, slots=True)
class Store:
    """The parts of a registry.

    Attributes:
        home: The registry's folder.
        database: The rows.
        blobs: The bytes.
        log: The changes.
    """

    home: Path
    database: Database
    blobs: BlobStore
    log: Log

    @classmethod
    def at(cls, home: Path, *, database: str | None = None, storage: str | None = None) -> Self:
        """Return the store of a folder; this opens nothing yet.

        Args:
            home: The registry's folder.
            database: URL of a PostgreSQL database; default: ``hubkit.db`` in `home`.
            storage: URL of an object storage; default: ``blobs/`` and ``records/`` in `home`.

        Raises:
            DatabaseError: `database` is malformed, or its driver is not installed.
            StorageError: The same of `storage`.
        """
        rows = Database(database or home / DATABASE_NAME)
        if storage is None:
            return cls(home, rows, FolderBlobStore(home), Log(FolderRecordStore(home)))
        # The client takes long to load.
        from registry.log.object_records import ObjectRecordStore
        from registry.storage.object_blobs import ObjectBlobStore

        blobs = ObjectBlobStore(storage, home / SCRATCH_NAME)
        return cls(home, rows, blobs, Log(ObjectRecordStore(storage)))

    def manifest(self, ref: AdapterRef, digest: str) -> Manifest:
        """Return the manifest of a version, verified.

        Args:
            ref: The version, for messages.
            digest: The digest of its manifest.

        Raises:
            CorruptBlobError: It is missing, truncated or altered.
            ManifestError: It has a schema that a newer hubkit reads.
        """
        label = f"{ref}: {MANIFEST_NAME}"
        return Manifest.from_json(read_blob(self.blobs, digest, most=MAX_BYTES, label=label), label)

    def opener(self, ref: AdapterRef, manifest: Manifest) -> Callable[[str], BinaryIO]:
        """Return a function that opens the files of a stored version by path.

        Args:
            ref: The version, for messages.
            manifest: Its manifest.
        """
        return lambda path: self.blobs.open(manifest.files[path].sha256, label=f"{ref}: {path}")
