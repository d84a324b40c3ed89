"""The place of a registry, and how to open it."""

import os
from pathlib import Path

from registry.catalog.catalog import Catalog
from registry.catalog.complete import complete_rows
from registry.errors import DamagedDatabaseError, RegistryNotFoundError, StorageError
from registry.storage.durable import make_folders, storage_errors
from registry.store import DATABASE_NAME

DATABASE_VARIABLE = "HUBKIT_DATABASE_URL"
"""Names the PostgreSQL database of the user's registry, in place of a file in its folder."""

STORAGE_VARIABLE = "HUBKIT_STORAGE_URL"
"""Names the object storage of the user's registry, in place of a folder in its folder."""


def default_home() -> Path:
    """Return the folder of the user's registry: HUBKIT_HOME, else where the system keeps data."""
    home = os.environ.get("HUBKIT_HOME")
    if not home:
        from platformdirs import user_data_dir

        home = user_data_dir("hubkit")
    return Path(home).expanduser()


def open_catalog(
    home: Path | None = None,
    *,
    create: bool = True,
    database: str | None = None,
    storage: str | None = None,
) -> Catalog:
    """Open a registry, and bring its database up to date.

    Args:
        home: Its folder; default: `default_home()`, with the database and the storage that the
            environment variables HUBKIT_DATABASE_URL and HUBKIT_STORAGE_URL name.
        create: Whether to make an empty registry if there is none; default: yes.
        database: URL of a PostgreSQL database; default: a SQLite file in `home`.
        storage: URL of an object storage, such as ``s3://bucket/folder``; default: a folder in
            `home`.

    Raises:
        RegistryNotFoundError: There is none, and `create` is False.
        DatabaseError: Its database is of a newer hubkit, or not a database.
        StorageError: As `require_folder`, or it cannot be written.
    """
    catalog = find_catalog(home, database=database, storage=storage)
    home = catalog.home
    require_folder(home)
    _require_database(catalog)
    if create:
        with storage_errors("make a registry in", home):
            make_folders(home)
    elif not catalog.database.exists():
        raise RegistryNotFoundError(
            f"There is no registry in {home}: expected {DATABASE_NAME} there, found none. "
            "Check the path: it is the value of HUBKIT_HOME when the adapters were published.",
            home,
        )
    if catalog.database.upgrade():
        from registry.history.versions import complete_commits

        complete_rows(catalog.store)
        complete_commits(catalog.store)
    return catalog


def find_catalog(
    home: Path | None = None, *, database: str | None = None, storage: str | None = None
) -> Catalog:
    """Return a registry without touching it: it may be missing, or of an earlier hubkit."""
    if home is None:
        database = database or os.environ.get(DATABASE_VARIABLE) or None
        storage = storage or os.environ.get(STORAGE_VARIABLE) or None
    return Catalog(home or default_home(), database=database, storage=storage)


def require_folder(home: Path) -> None:
    """Refuse a path that cannot be a registry; a missing folder is accepted.

    Raises:
        StorageError: It is a file, below a file, or a link to nowhere, or cannot be looked at.
    """
    with storage_errors("look at", home):
        paths = (home, *home.absolute().parents)
        nearest = next(path for path in paths if path.exists() or path.is_symlink())
        if nearest.is_dir():
            return
        if not nearest.exists():
            text = (
                f"{nearest} is a link to {os.readlink(nearest)}, which does not exist. Make that "
            )
            raise StorageError(f"{text}folder, or set HUBKIT_HOME to another one.", home)
    if nearest == home:
        text = f"{home} is a file, but a registry is a folder."
    else:
        text = f"Cannot make a registry in {home}: {nearest} is a file."
    raise StorageError(f"{text} Set HUBKIT_HOME to another folder.", home)


def _require_database(catalog: Catalog) -> None:
    """Refuse to start an empty database beside the bytes of one that was lost.

    It would use names and numbers again, and write over the records of the lost one.
    """
    if catalog.database.exists():
        return
    label, records = catalog.database.backend.label, catalog.log.records
    if (recorded := records.has(1)) or not catalog.blobs.is_new():
        found = "an empty one" if catalog.database.backend.exists() else "none"
        kind, store = ("records", records) if recorded else ("blobs", catalog.blobs)
        raise DamagedDatabaseError(
            f"{catalog.home} has lost its database: expected {label}, found {found}, but there "
            f"are {kind} in {store.location()}. For a new registry, choose a place without one.",
            label,
        )
