import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from registry import Catalog, open_catalog
from registry.database.database import Database, known_revisions
from registry.errors import DatabaseError, NewerDatabaseError, RegistryNotFoundError
from registry.tables.models import REPOSITORIES


@pytest.mark.sqlite
def test_an_error_in_a_write_undoes_all_of_it(catalog: Catalog) -> None:
    def write_and_fail() -> None:
        with catalog.database.write() as connection:
            connection.execute(text("INSERT INTO revision_text (name) VALUES ('x')"))
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        write_and_fail()
    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM revision_text")) == 0


def test_a_read_sees_one_state_while_another_process_writes(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    count = text("SELECT count(*) FROM revision_text")
    with catalog.database.read() as connection:
        assert connection.scalar(count) == 0
        with catalog.database.write() as writer:
            writer.execute(text("INSERT INTO revision_text (name) VALUES ('x')"))
        assert connection.scalar(count) == 0
    with catalog.database.read() as connection:
        assert connection.scalar(count) == 1


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "hubkit.db")
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    with pytest.raises(DatabaseError, match="not one of hubkit's"):
        open_catalog(tmp_path)


def test_a_newer_database_is_refused_with_both_revisions(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE hubkit_version SET version_num = '9999'"))
    newest = known_revisions()[-1]
    with pytest.raises(NewerDatabaseError, match=rf"migration 9999, .* up to {newest}: .* Upgrade"):
        catalog.database.upgrade()


def test_home_is_hubkit_home_by_default(hubkit_home: Path) -> None:
    assert open_catalog().home == hubkit_home
    assert (hubkit_home / "hubkit.db").is_file()


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RegistryNotFoundError, match=r"expected hubkit\.db there"):
        open_catalog(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()


def test_foreign_keys_hold(catalog: Catalog) -> None:
    with (
        pytest.raises(DatabaseError, match=r"(?i)foreign key constraint"),
        catalog.database.write() as connection,
    ):
        connection.execute(text("INSERT INTO refs VALUES (1, 'best', 1)"))


def test_columns_hold_aware_times(catalog: Catalog) -> None:
    from datetime import UTC, datetime, timedelta, timezone

    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    with catalog.database.write() as connection:
        connection.execute(insert(REPOSITORIES), {"name": "a", "folded": "a", "created_at": noon})
    with catalog.database.read() as connection:
        kept = connection.scalar(select(REPOSITORIES.c.created_at))
        assert kept == noon
        assert kept.tzinfo is UTC


def test_opening_nothing_does_not_touch_the_disk(tmp_path: Path) -> None:
    Database(tmp_path / "hubkit.db")
    assert list(tmp_path.iterdir()) == []
