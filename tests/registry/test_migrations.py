import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateTable

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.database.database import (
    VERSION_TABLE,
    alembic_config,
    is_model_table,
    known_revisions,
    migrations_folder,
)
from registry.errors import DatabaseError, NewerDatabaseError
from registry.home import find_catalog
from registry.maintenance.fsck import check_registry
from registry.maintenance.schema import differences
from registry.search.search import search
from registry.tables.models import METADATA
from tests.support.crowd import at_once
from tests.support.measurements import measurement
from tests.support.sweeps import on_one_each

pytestmark = pytest.mark.from_nothing


def schema(connection: Connection) -> dict[str, object]:
    """Everything that a database says about its tables."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"))
        return {name: sql for name, sql in rows if name != VERSION_TABLE}
    found = inspect(connection)
    return {
        name: [
            str(found.get_columns(name)),
            str(found.get_pk_constraint(name)),
            *sorted(map(str, found.get_foreign_keys(name))),
            *sorted(map(str, found.get_unique_constraints(name))),
            *sorted(map(str, found.get_check_constraints(name))),
            *sorted(map(str, found.get_indexes(name))),
        ]
        for name in found.get_table_names()
        if name != VERSION_TABLE
    }


def test_there_is_one_head_and_the_file_names_tell_it() -> None:
    scripts = ScriptDirectory.from_config(Config(migrations_folder() / "alembic.ini"))
    assert scripts.get_heads() == known_revisions()[-1:]
    assert {script.revision for script in scripts.walk_revisions()} == set(known_revisions())


def test_migrations_make_the_tables_that_the_models_describe(catalog: Catalog) -> None:
    with catalog.database.migrating() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "include_name": is_model_table}
        )
        assert compare_metadata(context, METADATA) == []


@pytest.mark.sqlite
def test_migrations_write_the_constraints_that_the_models_describe(catalog: Catalog) -> None:
    # Alembic compares neither the text of CHECKs nor the names of keys.
    with catalog.database.migrating() as connection:
        made = schema(connection)
    for table in METADATA.sorted_tables:
        described = str(CreateTable(table))
        assert sorted(_clauses(made[table.name])) == sorted(_clauses(described))


def _clauses(create_table: str) -> list[str]:
    body = create_table.partition("(")[2].rpartition(")")[0]
    # A column that was added later stands behind the constraints, on their line.
    return [" ".join(clause.split()) for clause in re.split(r",(?![^(]*\))", body)]


def test_down_to_nothing_and_up_again_makes_the_same_tables(catalog: Catalog) -> None:
    with catalog.database.migrating() as connection:
        before = schema(connection)
        command.downgrade(alembic_config(connection), "base")
        assert inspect(connection).get_table_names() == [VERSION_TABLE]
        command.upgrade(alembic_config(connection), "head")
        assert schema(connection) == before
    catalog.database.close()  # connections remember statements about the old tables


@on_one_each("target", [(target,) for target in known_revisions()[:-1]])
def test_down_and_up_again_with_rows_in_place(
    catalog: Catalog, make_folder: Callable[..., Folder], target: str
) -> None:
    metric = {"dataset": "d", "split": "s", "name": "n", "value": 0.5, "higher_is_better": True}
    for ref in ("Alice/SST2", "Alice/SST2", "plain", "yanked"):
        fields = {"tags": ["Café"], "metrics": [metric], "description": f"About {ref}."}
        version = catalog.publish(AdapterRef.parse(ref), make_folder(**fields))
    catalog.yank(version.ref, "bad")
    catalog.set_alias(AdapterRef.parse("alice/sst2@1"), "best")
    if target >= "0002":  # below, there is no log, which alone knows what was measured
        catalog.record(AdapterRef.parse("plain"), [measurement(), measurement(value=0.25)])
    queries: list[dict[str, Any]] = [
        {},
        {"owner": "alice"},
        {"text": "cafe about"},
        {"sort": "score"},
        {"sort": "downloads"},
    ]
    before = [search(catalog, **query).items for query in queries]
    assert [len(found) for found in before] == [2, 1, 2, 2, 2]
    measured = catalog.measurements(before[0])
    assert [*map(len, measured.values())] == ([2] if target >= "0002" else [])
    with catalog.database.migrating() as connection:
        tables = schema(connection)
        command.downgrade(alembic_config(connection), target)
        command.upgrade(alembic_config(connection), "head")
        assert schema(connection) == tables
    catalog.database.close()
    assert [search(catalog, **query).items for query in queries] == before
    if target >= "0002":  # below, there is no log, without which nothing is published
        assert catalog.measurements(before[0]) == measured
        assert catalog.publish(AdapterRef.parse("alice/sst2"), make_folder()).number == 3


def test_an_upgrade_says_once_what_versions_of_before_do_not_record(
    catalog: Catalog, make_folder: Callable[..., Folder], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        catalog.publish(AdapterRef.parse(name), make_folder(schema=1))
    with catalog.database.migrating() as connection:
        command.downgrade(alembic_config(connection), "0003")
    catalog.database.close()
    assert not caplog.records
    catalog.database.upgrade()
    catalog.database.upgrade()
    (record,) = caplog.records
    assert "Of its 2 versions, the configuration and the tokenizer" in record.getMessage()
    assert catalog.manifest(catalog.resolve(AdapterRef.parse("two"))).schema_version == 1


def test_an_upgrade_finds_versions_of_before_by_the_family_of_their_base(
    open_registry: Callable[[str], Catalog], make_folder: Callable[..., Folder]
) -> None:
    catalog = open_registry("registry")
    catalog.publish(AdapterRef.parse("one"), make_folder())
    with catalog.database.migrating() as connection:
        command.downgrade(alembic_config(connection), "0002")
    catalog.database.close()
    again = open_registry("registry")
    assert [str(version.ref) for version in search(again, base="bert").items] == ["one@1"]
    assert check_registry(again, full=True).status == 0


def test_a_new_registry_has_nothing_to_say(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    with catalog.database.migrating() as connection:
        command.downgrade(alembic_config(connection), "base")
        command.upgrade(alembic_config(connection), "head")
    catalog.database.close()
    assert not caplog.records


def test_a_failed_migration_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_after_the_first_tables(config: Config, revision: str) -> None:
        upgrade(config, revision)
        config.attributes["connection"].exec_driver_sql("SELECT * FROM no_such_table")

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", fail_after_the_first_tables)
    with pytest.raises(DatabaseError, match="no such table"):
        open_catalog(tmp_path)
    monkeypatch.undo()
    catalog = Catalog(tmp_path)
    with catalog.database.migrating() as connection:
        assert schema(connection) == {}
    assert open_catalog(tmp_path).find_digest("0" * 64) is None


@pytest.mark.sqlite
def test_a_migration_that_orphans_rows_is_undone(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    ref = catalog.publish(AdapterRef.parse("sst2"), make_folder()).ref
    with (
        pytest.raises(DatabaseError, match="rows that refer to nothing"),
        catalog.database.migrating() as connection,
    ):
        connection.execute(text("DELETE FROM repositories"))
    assert catalog.resolve(ref).ref == ref


@pytest.fixture
def nothing(
    tmp_path: Path, open_registry: Callable[[str], Catalog]
) -> Iterator[tuple[Path, str | None]]:
    """A registry without a database yet: its folder, and the URL of an empty schema, or None."""
    backend = open_registry("neighbour").database.backend
    if backend.engine.dialect.name == "sqlite":
        yield tmp_path / "new", None
        return
    url = backend.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with backend.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA fresh"))
    yield tmp_path / "new", f"{url}?options=-csearch_path%3Dfresh"
    with backend.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA fresh CASCADE"))


def test_processes_can_upgrade_at_once(nothing: tuple[Path, str | None]) -> None:
    home, database = nothing

    def upgrade(_: int) -> None:
        assert open_catalog(home, database=database).home == home

    at_once(upgrade, 3)
    catalog = open_catalog(home, database=database)
    with catalog.database.read() as connection:
        assert (
            connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()
            == known_revisions()[-1:]
        )
    assert differences(catalog.database) == []
    catalog.close()


def test_a_newer_database_is_refused(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE hubkit_version SET version_num = '9999'"))
    url = catalog.database.backend.engine.url.set(drivername="postgresql")
    server = catalog.database.backend.engine.dialect.name == "postgresql"
    database = url.render_as_string(hide_password=False) if server else None
    told = f"is at migration 9999, but this hubkit only knows up to {known_revisions()[-1]}"
    other = find_catalog(catalog.home, database=database)
    with pytest.raises(NewerDatabaseError, match=f"{told}.*Upgrade hubkit"):
        other.database.upgrade()
    other.close()


def test_migrations_know_nothing_of_the_models() -> None:
    for file in (migrations_folder() / "versions").glob("*.py"):
        assert not re.search(r"(from|import) (registry|hubkit)", file.read_text()), file
