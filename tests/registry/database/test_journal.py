import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from registry import Catalog, open_catalog
from registry.database import connections as sqlite_connections
from registry.database import journal
from registry.database.journal import (
    checkpoint,
    checkpoint_is_due,
    file_system,
    has_wal_reset_fix,
    is_network,
    journal_mode,
    log_path,
)

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 7, 0), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 9), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_safe_only_with_the_fix(version: tuple[int, int, int], safe: bool) -> None:
    assert has_wal_reset_fix(version) == safe


@pytest.mark.parametrize(
    ("kind", "network"),
    [("ext4", False), ("btrfs", False), ("tmpfs", False), ("", False), ("nfs4", True)]
    + [(kind, True) for kind in ("nfs", "cifs", "smb3", "9p", "fuse.sshfs", "lustre")],
)
def test_the_journal_is_wal_save_over_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, network: bool
) -> None:
    assert is_network(kind) == network
    monkeypatch.setattr(journal, "file_system", lambda folder: kind)
    with open_catalog(tmp_path / "home").database.read() as connection:
        mode = connection.scalar(text("PRAGMA journal_mode"))
    assert mode == ("delete" if network else "wal")


def test_a_registry_that_moved_to_a_network_is_taken_out_of_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_catalog(tmp_path).close()
    monkeypatch.setattr(journal, "file_system", lambda folder: "nfs4")
    with open_catalog(tmp_path).database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "delete"


def test_the_file_system_is_the_one_the_system_names(tmp_path: Path) -> None:
    assert file_system(Path("/proc")) == "proc"
    assert journal_mode(tmp_path / "hubkit.db") == "wal"
    assert file_system(tmp_path / "absent") == ""


@pytest.mark.parametrize(("fixed", "pages"), [(True, 1000), (False, 0)])
def test_sqlite_makes_no_checkpoint_of_its_own_where_that_could_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixed: bool, pages: int
) -> None:
    monkeypatch.setattr(sqlite_connections, "has_wal_reset_fix", lambda version: fixed)
    with open_catalog(tmp_path).database.read() as connection:
        assert connection.scalar(text("PRAGMA wal_autocheckpoint")) == pages


def fill(catalog: Catalog, kilobytes: int) -> None:
    for _ in range(kilobytes // 100):
        with catalog.database.write() as connection:
            connection.execute(
                text("INSERT INTO revision_text (name) VALUES (hex(randomblob(50000)))")
            )


def test_a_log_that_grew_is_moved_into_the_database_and_starts_anew(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "has_wal_reset_fix", lambda version: False)
    monkeypatch.setattr(sqlite_connections, "has_wal_reset_fix", lambda version: False)
    path = catalog.database.path
    with sqlite3.connect(path) as keeper:  # else closing the last connection moves it
        keeper.execute("SELECT * FROM log_head").fetchall()
        fill(catalog, 12_000)
        assert log_path(path).stat().st_size < 2 * journal.CHECKPOINT_BYTES
        checkpoint(path)
        fill(catalog, 100)
        assert not checkpoint_is_due(path)
        assert path.stat().st_size > journal.CHECKPOINT_BYTES
    keeper.close()


def test_no_checkpoint_is_made_while_somebody_writes(catalog: Catalog) -> None:
    path = catalog.database.path
    with catalog.database.write() as connection:
        fill_row = "INSERT INTO revision_text (name) VALUES ('x')"
        connection.execute(text(fill_row))
        before = path.read_bytes()
        checkpoint(path)
        assert path.read_bytes() == before
