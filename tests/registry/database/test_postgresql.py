"""What only PostgreSQL does."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from registry import Catalog, DatabaseError, StorageError
from registry.database import postgresql as module
from registry.database.database import Database

pytestmark = pytest.mark.postgresql


@pytest.fixture
def catalog(open_registry: Callable[[str], Catalog]) -> Catalog:
    return open_registry("only-postgresql")


def url_of(catalog: Catalog) -> str:
    url = catalog.database.backend.engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def failing(connection: Connection, state: str) -> None:
    connection.execute(text(f"DO $$ BEGIN RAISE 'on purpose' USING ERRCODE = '{state}'; END $$"))


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_collided_is_run_again(catalog: Catalog, state: str) -> None:
    tries = []

    def work(connection: Connection) -> int:
        tries.append(1)
        connection.execute(text("INSERT INTO condemned VALUES (repeat('a', 64), now())"))
        if len(tries) < 3:
            failing(connection, state)
        return len(tries)

    assert catalog.database.transact(work) == 3
    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM condemned")) == 1


def test_another_failure_is_not_tried_again(catalog: Catalog) -> None:
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        failing(connection, "22012")

    with pytest.raises(DatabaseError, match="on purpose"):
        catalog.database.transact(work)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("state", "error", "cure"),
    [
        ("53100", StorageError, "Free some space on the server"),
        ("42501", StorageError, "Check what this user may do"),
        ("55P03", DatabaseError, "another process has been writing"),
    ],
)
def test_what_the_server_refuses_is_said_with_a_cure(
    catalog: Catalog, state: str, error: type[Exception], cure: str
) -> None:
    with pytest.raises(error, match=cure), catalog.database.write() as connection:
        failing(connection, state)


def test_writers_take_turns(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    other = Database(url_of(catalog))
    with (
        catalog.database.write(),
        pytest.raises(DatabaseError, match="another process has been writing to it"),
        other.write(),
    ):
        pass
    other.close()


def test_a_read_changes_nothing(catalog: Catalog) -> None:
    with (
        pytest.raises(StorageError, match="read-only transaction"),
        catalog.database.read() as connection,
    ):
        connection.execute(text("DELETE FROM tags"))


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    database = Database("postgresql://somebody:secret@127.0.0.1:1/none")
    with pytest.raises(DatabaseError, match="Check that the server runs") as caught:
        database.upgrade()
    assert "secret" not in str(caught.value)
    assert "somebody" in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://host/x", "nonsense", "sqlite:///x", "postgresql://a:b:c"])
def test_a_url_that_names_no_postgresql_database_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="Check HUBKIT_DATABASE_URL"):
        Database(url)


def test_somebody_elses_tables_are_left_alone(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("CREATE SCHEMA theirs"))
        connection.execute(text("CREATE TABLE theirs.songs (title text)"))
    other = Database(f"{url_of(catalog)}?options=-csearch_path%3Dtheirs")
    with pytest.raises(DatabaseError, match="not one of hubkit's"):
        other.upgrade()
    other.close()
    with catalog.database.write() as connection:
        connection.execute(text("DROP SCHEMA theirs CASCADE"))
