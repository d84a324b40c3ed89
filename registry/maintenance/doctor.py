"""Checks of the machine and the programs that a registry needs.

Changes nothing but a scratch file, which it removes.
"""

import os
import platform
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from registry.catalog.catalog import Catalog
from registry.database.database import known_revisions
from registry.database.journal import file_system, has_wal_reset_fix, is_network
from registry.errors import (
    DamagedDatabaseError,
    DatabaseError,
    FullDiskError,
    HubkitError,
    StorageError,
)
from registry.home import require_folder
from registry.log.log import START, Log
from registry.maintenance.gc import RUN_GRACE
from registry.maintenance.integrity import table_problems
from registry.runs import RUNS_NAME, abandoned_runs
from registry.storage.durable import flush, fsync_folder, scratch_file
from registry.storage.folder_blobs import QUARANTINE_NAME, SCRATCH_NAME

State = Literal["ok", "note", "problem"]

_LIBRARIES = ("hubkit", "sqlalchemy", "alembic", "pydantic", "filelock", "safetensors")
_LOW_SPACE, _NO_SPACE = 5_000_000_000, 100_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: ``ok``; ``note`` if there is something to know; ``problem`` if hubkit cannot work.
        text: What was found, and what follows.
        about: The class of error that has the same cure; a command line looks the cure up by it.
            Default: None, where `text` says what to do.
    """

    name: str
    state: State
    text: str
    about: type[HubkitError] | None = None


def examine(catalog: Catalog) -> list[Check]:
    """Check everything that a registry needs; the registry need not exist yet.

    Args:
        catalog: The result of `registry.home.find_catalog`, which touches nothing.
    """
    home = catalog.home
    checks = [_programs(), _sqlite(), *_folder(home)]
    if all(check.state != "problem" for check in checks) and home.is_dir():
        checks += [_file_system(home), _space(home), _fsync(home)]
        checks += [_storage(catalog), *_database(catalog), _leftovers(home), _quarantine(home)]
    return checks


def _programs() -> Check:
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return Check("programs", "ok", f"{', '.join(found)} on {platform.platform()}.")


def _sqlite() -> Check:
    found = f"SQLite {sqlite3.sqlite_version}"
    if has_wal_reset_fix(sqlite3.sqlite_version_info):
        return Check("sqlite", "ok", f"{found}, which has the fix of the WAL-reset bug.")
    return Check(
        "sqlite",
        "note",
        f"{found} has the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6): programs that use "
        "one database at once can corrupt it. hubkit avoids it, so there is nothing to do; but "
        "open hubkit.db with another program only while no hubkit runs.",
    )


def _folder(home: Path) -> Iterator[Check]:
    try:
        require_folder(home)
    except StorageError as error:
        yield Check("folder", "problem", str(error))
        return
    if not home.exists():
        yield Check("folder", "note", f"{home} does not exist; it is made when it is first needed.")
        return
    state = home.stat()
    link = f" (a link to {home.resolve()})" if home.is_symlink() else ""
    mode = stat.filemode(state.st_mode)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        whose = f"{home}{link} belongs to {_owner(home)} ({mode}), and you can"
        if os.access(home, os.R_OK | os.X_OK):
            text = f"{whose} only read it: pulling from it works, publishing to it does not."
            yield Check("folder", "note", text)
        else:
            text = f"{whose}not read it. Ask them for the right to, or set HUBKIT_HOME."
            yield Check("folder", "problem", text)
        return
    if state.st_mode & stat.S_IWOTH:
        text = f"{home}{link} can be written by everybody ({mode}): run chmod o-w on it."
        yield Check("folder", "note", text)
        return
    yield Check("folder", "ok", f"{home}{link}, of {_owner(home)} ({mode}).")


def _owner(home: Path) -> str:
    try:
        return home.owner()
    except (KeyError, NotImplementedError):
        return f"user {home.stat().st_uid}"


def _file_system(home: Path) -> Check:
    kind = file_system(home)
    if is_network(kind):
        return Check(
            "file system",
            "note",
            f"{kind}, which machines share. SQLite's write-ahead log is not safe there, so hubkit "
            "uses a rollback journal, which is slower. File locks must work. If several machines "
            "publish, keep the database in PostgreSQL.",
        )
    return Check("file system", "ok", f"{kind or 'of a kind that this system does not name'}.")


def _space(home: Path) -> Check:
    free = shutil.disk_usage(home).free
    text = f"{free / 1e9:.1f} GB free." if free > 1e9 else f"{free / 1e6:.1f} MB free."
    if free < _NO_SPACE:
        return Check("space", "problem", f"{text} Free some.", FullDiskError)
    if free < _LOW_SPACE:
        return Check("space", "note", f"{text} That is little.")
    return Check("space", "ok", text)


def _fsync(home: Path) -> Check:
    if not os.access(home, os.W_OK):
        return Check("writing", "note", "Nothing can be written there; see above.")
    scratch = home / SCRATCH_NAME  # where gc finds what a killed process leaves
    if not scratch.is_dir():
        scratch = home
    try:
        start = time.perf_counter()
        with scratch_file(scratch) as file:
            file.write(b"x")
            flush(file)
            fsync_folder(scratch)
            seconds = time.perf_counter() - start
    except OSError as error:
        text = f"Cannot write in {home}: {error.strerror}. Nothing can be published until it can."
        return Check("writing", "problem", text)
    return Check("writing", "ok", f"A file is on the disk after {seconds * 1000:.1f} ms.")


def _storage(catalog: Catalog) -> Check:
    try:
        catalog.blobs.size(START)  # no blob has this digest
    except StorageError as error:
        return Check("storage", "problem", str(error))
    return Check("storage", "ok", f"{catalog.blobs.location()} can be read.")


def _database(catalog: Catalog) -> Iterator[Check]:
    database = catalog.database
    label = database.backend.label
    try:
        found = database.migration() if database.backend.exists() else None
        if found is None:
            yield _no_database(catalog)
            return
        current = database.is_current()  # refuses one of a newer hubkit
        with database.read() as connection:
            journal = database.backend.journal(connection)
            broken = table_problems(connection) if current else []
            sequence, hash = Log.head(connection) if current and not broken else (0, "")
    except (DatabaseError, StorageError) as error:
        yield Check("database", "problem", str(error), type(error))
        return
    text = f"{label}, migration {found}"
    if journal is not None:
        text += f", {database.path.stat().st_size / 1e6:.1f} MB, journal {journal}"
    if not current:
        newest = known_revisions()[-1]
        cure = f"The next command brings it to migration {newest} and to the journal safe here."
        yield Check("database", "note", f"{text}. {cure}")
        return
    if broken:
        text = f"{text}, but {'; '.join(broken)}."
        yield Check("database", "problem", text, DamagedDatabaseError)
        return
    yield Check("database", "ok", f"{text}.")
    yield Check("log", "ok", f"{sequence} entries; the hash of the last is {hash}.")


def _no_database(catalog: Catalog) -> Check:
    if not catalog.blobs.is_new() or catalog.log.records.has(1):
        text = f"{catalog.database.backend.label} is lost, but there are blobs and records."
        return Check("database", "problem", text, DamagedDatabaseError)
    return Check("database", "note", f"There is none in {catalog.home} yet.")


def _leftovers(home: Path) -> Check:
    """Files that garbage collection will remove."""
    parts = []
    if scratch := len([*(home / SCRATCH_NAME).glob(".*.tmp")]):
        parts.append(f"{_files(scratch)} {'was' if scratch == 1 else 'were'} never finished.")
    if runs := abandoned_runs(home):
        count = "1 training run" if len(runs) == 1 else f"{len(runs)} training runs"
        parts.append(
            f"{count} broke off, in {home / RUNS_NAME}: the same training resumes from there, for "
            f"{RUN_GRACE.days} days."
        )
    return Check("leftovers", "note" if parts else "ok", " ".join(parts) or "None.")


def _quarantine(home: Path) -> Check:
    place = home / QUARANTINE_NAME
    damaged = len([*place.glob("*")])
    if not damaged:
        return Check("quarantine", "ok", "Nothing.")
    text = f"{_files(damaged)} found damaged once, in {place}: delete them at will."
    return Check("quarantine", "note", text)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
