"""Where a registry is, and how to open it."""

import os
from pathlib import Path

from platformdirs import user_data_dir

from registry.catalog import DATABASE_NAME, Catalog
from registry.errors import DatabaseError, RegistryNotFoundError, StorageError
from registry.storage.durable import make_folders, storage_errors


def default_home() -> Path:
    """Return the folder of the user's registry: HUBKIT_HOME, else where the system keeps data."""
    return Path(os.environ.get("HUBKIT_HOME") or user_data_dir("hubkit")).expanduser()


def open_catalog(home: Path | None = None, *, create: bool = True) -> Catalog:
    """Open a registry, bringing its database up to date.

    Args:
        home: Its folder; default: `default_home()`.
        create: Whether to start an empty registry where there is none; default: yes.

    Raises:
        RegistryNotFoundError: There is none, and `create` is False.
        DatabaseError: Its database is of a newer hubkit, or not a database.
        StorageError: It is a file, or a folder that cannot be written.
    """
    home = default_home() if home is None else home
    if home.is_file():
        raise StorageError(
            f"{home} is a file, but a registry is a folder. Set HUBKIT_HOME to a folder.", home
        )
    catalog = Catalog(home)
    _require_database(catalog)
    if create:
        with storage_errors("make a registry in", home):
            make_folders(home)
    elif not (home / DATABASE_NAME).is_file():
        raise RegistryNotFoundError(
            f"There is no registry in {home}: expected {DATABASE_NAME} there, found none. "
            "Check the path: it is what HUBKIT_HOME was when the adapters were published.",
            home,
        )
    catalog.database.upgrade()
    return catalog


def _require_database(catalog: Catalog) -> None:
    """Refuse to start an empty database beside the bytes of one that was lost.

    It would give out names and numbers again, and write over the records of the lost one.
    """
    path = catalog.database.path
    with storage_errors("read", path):
        if path.exists() and path.stat().st_size > 0:
            return
    if catalog.log.records.has(1) or catalog.blobs.root.exists():
        found = "an empty file" if path.exists() else "none"
        raise DatabaseError(
            f"{catalog.home} has lost its database: expected {path.name} there, found {found}, but "
            "there are blobs. `hubkit rebuild` makes it anew from them and the records; `hubkit "
            "restore` brings back a backup.",
            path,
        )
