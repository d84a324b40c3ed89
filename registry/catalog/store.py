"""What holds a registry, as one value: the steps of a change are handed this."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from registry.database.database import Database
from registry.log.log import Log
from registry.log.open import open_records
from registry.storage.blobs import BlobStore
from registry.storage.open import open_blobs

DATABASE_NAME = "hubkit.db"


@dataclass(frozen=True, slots=True)
class Store:
    """What holds a registry.

    Attributes:
        home: The registry's folder.
        database: The rows.
        blobs: The bytes.
        log: Who changed what.
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
        return cls(
            home,
            Database(database or home / DATABASE_NAME),
            open_blobs(home, storage),
            Log(open_records(home, storage)),
        )
