import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateTable

from registry import AdapterRef, Catalog, DatabaseError, Folder, open_catalog
from registry.tables.database import (
    VERSION_TABLE,
    alembic_config,
    is_model_table,
    known_revisions,
    migrations_folder,
)
from registry.tables.models import Base


def schema(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"))
    return {name: sql for name, sql in rows if name != VERSION_TABLE}


def test_there_is_one_head_and_the_file_names_tell_it() -> None:
    scripts = ScriptDirectory.from_config(Config(migrations_folder() / "alembic.ini"))
    assert scripts.get_heads() == known_revisions()[-1:]
    assert {script.revision for script in scripts.walk_revisions()} == set(known_revisions())


def test_migrations_make_the_tables_that_the_models_describe(catalog: Catalog) -> None:
    with catalog.database.migrating() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "include_name": is_model_table}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_write_the_constraints_that_the_models_describe(catalog: Catalog) -> None:
    # Alembic compares neither the text of CHECKs nor the names of keys.
    with catalog.database.migrating() as connection:
        made = schema(connection)
    for table in Base.metadata.sorted_tables:
        described = str(CreateTable(table))
        assert sorted(_clauses(made[table.name])) == sorted(_clauses(described))


def _clauses(create_table: str) -> list[str]:
    body = create_table.partition("(")[2].rpartition(")")[0]
    return [" ".join(line.split()).rstrip(",") for line in body.splitlines() if line.strip()]


def test_down_and_up_again_with_rows_in_place(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    version = catalog.publish(AdapterRef.parse("alice/sst2"), make_folder(tags=["t"]))
    catalog.set_alias(version.ref, "best")
    with catalog.database.migrating() as connection:
        before = schema(connection)
        command.downgrade(alembic_config(connection), "base")
        assert inspect(connection).get_table_names() == [VERSION_TABLE]
        command.upgrade(alembic_config(connection), "head")
        assert schema(connection) == before
    assert catalog.publish(AdapterRef.parse("alice/sst2"), make_folder()).number == 1


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


def test_two_processes_can_upgrade_at_once(
    tmp_path: Path, start_python: Callable[..., "subprocess.Popen[str]"]
) -> None:
    script = (
        "import sys, pathlib, registry\n"
        "print(registry.open_catalog(pathlib.Path(sys.argv[1])).home)"
    )
    processes = [start_python(script, tmp_path / "new") for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert out.strip() == str(tmp_path / "new")
    with open_catalog(tmp_path / "new").database.read() as session:
        assert (
            session.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()
            == known_revisions()[-1:]
        )


def test_migrations_know_nothing_of_the_models() -> None:
    for file in (migrations_folder() / "versions").glob("*.py"):
        assert "registry" not in file.read_text().replace("registry.tables.models, which", "")
