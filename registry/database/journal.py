"""SQLite's journals, and where each is safe; checkpoints.

A write-ahead log (WAL) lets readers and a writer work at once and costs one fsync a commit, but

- it needs memory that all processes share, so over a network it corrupts the database;
- SQLite 3.7.0 to 3.51.2 (save 3.50.7 and 3.44.6) can corrupt it when one connection moves the log
  into the database while the commit of another starts the log anew (the "WAL-reset" bug). There
  hubkit switches SQLite's own checkpoints off, and makes its own while a second connection holds
  the write lock, so that no process can commit. The checkpoint that SQLite makes when the last
  connection closes is safe: it holds the whole database locked.
"""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

JournalMode = Literal["wal", "delete"]

CHECKPOINT_BYTES = 4 * 1024 * 1024
"""The size from which a write-ahead log is moved into the database: SQLite's own default."""

_NETWORK = re.compile(
    r"9p|afs|beegfs|ceph|cifs|fuse\..*|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|panfs|smb.*|vboxsf"
)


def has_wal_reset_fix(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite makes checkpoints without risk to the data.

    The bug came with WAL in 3.7.0 and was fixed in 3.51.3, 3.50.7 and 3.44.6.
    """
    major, minor, patch = version
    fixed_in = {(3, 44): 6, (3, 50): 7, (3, 51): 3}.get((major, minor))
    return patch >= fixed_in if fixed_in is not None else (major, minor) > (3, 51)


def journal_mode(database: Path) -> JournalMode:
    """Return the journal that is safe for a path: WAL, unless it is on a network."""
    return "delete" if is_network(file_system(database.parent)) else "wal"


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds a folder, such as ``ext4``.

    Only Linux has this; elsewhere the answer is empty, except for a network path of Windows.
    """
    if str(folder).startswith("\\\\"):
        return "smb3"
    try:
        device = folder.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        # "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
        mount, _, kind = line.partition(" - ")
        if mount.split()[2:3] == [wanted]:
            return kind.split()[0]
    return ""


def is_network(file_system: str) -> bool:
    """Whether machines share files on this type of file system."""
    return _NETWORK.fullmatch(file_system) is not None


def log_path(database: Path) -> Path:
    """Return the path of the write-ahead log of a database."""
    return database.with_name(f"{database.name}-wal")


def checkpoint_is_due(database: Path) -> bool:
    """Whether the log has grown, and this SQLite must not make checkpoints itself."""
    if has_wal_reset_fix(sqlite3.sqlite_version_info):
        return False
    try:
        return log_path(database).stat().st_size >= CHECKPOINT_BYTES
    except OSError:
        return False


def checkpoint(database: Path) -> None:
    """Move the write-ahead log into the database while no process can commit.

    Does nothing while another process writes: the next one that commits tries again.
    """
    with (
        closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as guard,
        closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as mover,
    ):
        try:
            # Before the lock: this connection must make no checkpoint by itself.
            for connection in (guard, mover):
                connection.execute("PRAGMA wal_autocheckpoint=0")
                connection.execute("PRAGMA synchronous=FULL")
            guard.execute("BEGIN IMMEDIATE")
            mover.execute("PRAGMA wal_checkpoint(PASSIVE)")
            guard.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return
