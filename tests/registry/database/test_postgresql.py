"""What only PostgreSQL does."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from registry import Catalog
from registry.database import postgresql as module
from registry.database.database import Database
from registry.errors import (
    BusyDatabaseError,
    DamagedDatabaseError,
    DatabaseError,
    InvalidNameError,
    StorageError,
    UnreachableDatabaseError,
)

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
        ("42501", StorageError, "Check the rights of this user"),
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


def end_connections(catalog: Catalog) -> None:
    """Do what an administrator does who restarts the server."""
    import psycopg

    url = url_of(catalog)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("transaction", ["read", "write"])
def test_a_connection_that_an_administrator_ended_is_told_as_that(
    catalog: Catalog, transaction: str
) -> None:
    def run() -> None:
        with getattr(catalog.database, transaction)() as connection:
            connection.execute(text("SELECT 1"))
            end_connections(catalog)
            connection.execute(text("SELECT 1"))

    ended = r"ended the connection: .*Try again"
    with pytest.raises(UnreachableDatabaseError, match=ended) as caught:
        run()
    assert "bug" not in str(caught.value)
    with catalog.database.write() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_a_lock_that_was_lost_with_its_connection_is_told(catalog: Catalog) -> None:
    with (
        pytest.raises(UnreachableDatabaseError, match="ended the connection"),
        catalog.database.keeping_blobs(),
    ):
        end_connections(catalog)


def test_every_error_of_the_driver_is_told_as_what_it_is(catalog: Catalog) -> None:
    """Those that are hubkit's own mistakes, and no others, ask to be reported."""
    from psycopg import errors

    backend = catalog.database.backend
    for kind in (errors.InterfaceError, errors.DataError, errors.OperationalError):
        assert "bug" not in str(backend.translate(kind("x"))), kind
    for state in ("08006", "57P01", "57P02", "57P03", "57P05", "25P03", "28P01", "3D000"):
        assert isinstance(backend.translate(errors.lookup(state)("x")), UnreachableDatabaseError)
    for state in ("22003", "22021", "54000"):
        assert isinstance(backend.translate(errors.lookup(state)("x")), InvalidNameError)
    for state in ("40001", "40P01", "53300", "55P03", "57014"):
        assert isinstance(backend.translate(errors.lookup(state)("x")), BusyDatabaseError)
    for state in ("42P01", "42703", "XX001", "XX002"):
        assert isinstance(backend.translate(errors.lookup(state)("x")), DamagedDatabaseError)
    for state in ("53100", "58030", "42501", "25006"):
        assert isinstance(backend.translate(errors.lookup(state)("x")), StorageError)
    states = {
        kind.sqlstate
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.Error) and kind.sqlstate
    }
    reported = {s for s in states if "bug" in str(backend.translate(errors.lookup(s)("x")))}
    assert len(states) > 200
    assert "23505" in reported  # a row that is there twice
    of_the_server = ("08", "28", "3D", "40", "53", "54", "57", "58")
    assert not {state for state in reported if state.startswith(of_the_server)}
